//! The program `weft`, run as a user runs it.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde::de::DeserializeOwned;

/// Returns the program under test: `WEFT_BIN`, or what stands next to the executable that runs, a
/// test's or a program's.
///
/// # Panics
/// When it was not built.
pub fn weft_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEFT_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("it has an executable");
    // target/debug/deps/test-0123, target/debug/soak, and target/debug/weft
    let mut beside = own.ancestors().skip(1).take(2).map(|directory| directory.join("weft"));
    beside.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!(
            "no `weft` beside `{}`: build it with `cargo build -p weft-agent` first",
            own.display()
        )
    })
}

/// A command of `weft`, with no variable of this process that it would read.
pub(super) fn command() -> Command {
    let mut command = Command::new(weft_binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEFT_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    pub(super) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Returns the first line of standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn line(&self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.lines().next().unwrap_or_default().to_owned()
    }

    /// Checks that a command succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn done(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }

    /// Reads standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it failed, or wrote something else.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that a command failed, and said all of these words on standard error.
    ///
    /// # Panics
    /// When it did not.
    pub fn refuses(&self, words: &[&str]) {
        assert_ne!(self.code, 0, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in {self:?}");
        }
    }

    /// Checks that a command failed in the house's form: a sentence with `words`, then a hint.
    ///
    /// # Panics
    /// When it did not.
    pub fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        assert!(self.stderr.contains(words), "`{words}` is not in {self:?}");
        let hinted = self.stderr.lines().any(|line| line.starts_with("hint: "));
        assert!(hinted, "no hint in {self:?}");
    }
}
