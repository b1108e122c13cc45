//! The wall clock of a host's agent, which can be set.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("clock/clock.c");

/// A wall clock that is the machine's but for an offset. It counts for agents that are started
/// afterwards; it is set while they run, too.
#[derive(Debug)]
pub struct Clock {
    offset: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// Makes one; its files are in this directory.
    ///
    /// # Panics
    /// Without a compiler of C, which whatever links Rust has.
    pub fn make(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let [source, library] = ["clock.c", "clock.so"].map(|name| directory.join(name));
        std::fs::write(&source, SOURCE).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        let made = compiler.output().expect("cc starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let clock = Self { offset: directory.join("offset"), library };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds before the machine's, or behind it.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn set(&self, offset_s: i64) {
        // In place of the old one at once: it is read at any time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, offset_s.to_string()).expect("a file");
        std::fs::rename(&new, &self.offset).expect("a file");
    }

    /// What a program needs in its environment to see it; one without shared libraries does not.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("TEST_CLOCK_OFFSET", &self.offset)]
    }
}
