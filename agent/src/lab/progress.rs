//! Tells on standard error how far a lab is: a live line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME: Duration = Duration::from_millis(80);

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A line that moves while a step is under way.
    Live,
    /// One line a step, when it is done.
    Plain,
    /// Nowhere.
    Quiet,
}

impl Progress {
    /// Returns what suits standard error.
    pub fn for_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stderr().is_terminal() && !dumb { Self::Live } else { Self::Plain }
    }

    /// Begins a step. It ends as failed unless [`Step::done`] is called. Needs a tokio runtime.
    pub(super) fn step(self, what: impl Into<String>) -> Step {
        let shown = Arc::new(Shown {
            what: what.into(),
            total: AtomicUsize::new(0),
            reached: AtomicUsize::new(0),
            begin: Instant::now(),
            ended: Mutex::new(false),
        });
        let spinner = match self {
            Self::Live => {
                let shown = shown.clone();
                Some(tokio::spawn(async move {
                    for frame in FRAMES.iter().cycle() {
                        if !shown.spin(frame) {
                            break;
                        }
                        tokio::time::sleep(FRAME).await;
                    }
                }))
            }
            Self::Plain | Self::Quiet => None,
        };
        Step { progress: self, shown, spinner, outcome: Outcome::Failed(String::new()) }
    }

    /// Says a line of its own.
    pub(super) fn note(self, text: &str) {
        match self {
            Self::Live | Self::Plain => say(&format!("{text}\n")),
            Self::Quiet => {}
        }
    }
}

struct Shown {
    what: String,
    total: AtomicUsize,
    reached: AtomicUsize,
    begin: Instant,
    ended: Mutex<bool>,
}

impl Shown {
    /// Shows the line with a frame of the spinner; false once the step has ended, whose last line
    /// must not be written over.
    fn spin(&self, frame: &str) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ended {
            say(&format!("\r\x1b[K\x1b[36m{frame}\x1b[0m {}", self.line()));
        }
        !*ended
    }

    fn line(&self) -> String {
        let (reached, total) =
            (self.reached.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        match total {
            0 => self.what.clone(),
            total => format!("{} {reached}/{total}", self.what),
        }
    }
}

/// One step under way.
pub(super) struct Step {
    progress: Progress,
    shown: Arc<Shown>,
    spinner: Option<JoinHandle<()>>,
    outcome: Outcome,
}

enum Outcome {
    Done(String),
    Failed(String),
}

impl Step {
    /// Says how many parts the step has.
    pub(super) fn of(self, total: usize) -> Self {
        self.shown.total.store(total, Ordering::Relaxed);
        self
    }

    /// Counts one part as reached.
    pub(super) fn tick(&self) {
        self.shown.reached.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the step well; `found` says what came of it.
    pub(super) fn done(mut self, found: impl Into<String>) {
        self.outcome = Outcome::Done(found.into());
    }

    /// Ends the step, well or not; `found` says what came of it.
    pub(super) fn judged(mut self, good: Verdict, found: impl Into<String>) {
        self.outcome = match good {
            Verdict::Held => Outcome::Done(found.into()),
            Verdict::Broken => Outcome::Failed(found.into()),
        };
    }
}

/// Whether what a step looked at is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Held,
    /// It is not.
    Broken,
}

impl Verdict {
    /// Judges by how many things are not as they should be.
    pub(super) const fn of(broken: usize) -> Self {
        if broken == 0 { Self::Held } else { Self::Broken }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        *self.shown.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Some(spinner) = self.spinner.take() {
            spinner.abort();
        }
        let took = self.shown.begin.elapsed().as_millis();
        let (mark, colour, found) = match &self.outcome {
            Outcome::Done(found) => ("✓", 32, found.as_str()),
            Outcome::Failed(found) => ("✗", 31, found.as_str()),
        };
        let line = self.shown.line();
        match self.progress {
            Progress::Live => say(&format!(
                "\r\x1b[K\x1b[{colour}m{mark}\x1b[0m {line:<32} \x1b[2m{took:>6} ms\x1b[0m  {found}\n"
            )),
            Progress::Plain => {
                let text = format!("{mark} {line:<32} {took:>6} ms  {found}");
                say(&format!("{}\n", text.trim_end()));
            }
            Progress::Quiet => {}
        }
    }
}

/// Writes talk. Nobody listening is no reason to stop.
fn say(text: &str) {
    let mut stderr = stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
