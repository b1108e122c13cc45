//! A network namespace that ends with its thread, and so with the test, however that ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Sandbox {
    path: PathBuf,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let (jobs, waiting) = channel::<Job>();
        let (told, path) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root");
            let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid());
            told.send(PathBuf::from(path)).expect("somebody waits");
            while let Ok(job) = waiting.recv() {
                job();
            }
        });
        let path = path.recv().expect("a namespace");
        Self { path, jobs: Some(jobs), thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> &str {
        self.path.to_str().expect("made of ASCII")
    }

    /// Runs something inside.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = Box::new(move || drop(done.send(work())));
        self.jobs.as_ref().expect("open").send(job).expect("the thread lives");
        result.recv().expect("the work did not panic")
    }

    /// Runs `ip` inside and gives what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let output = self.run(move || Command::new("ip").args(arguments).output());
        let output = output.expect("iproute2 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // One that panicked has failed the test already.
            let _panicked = thread.join();
        }
    }
}
