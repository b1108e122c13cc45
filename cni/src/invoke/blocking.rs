//! Running plugins without an asynchronous runtime.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::{BUSY_TRIES, StderrSink, judge, kill_group};
use super::{BoxFuture, Call, CniArgs};
use crate::error::Error;
use crate::types::CniResult;
use crate::version::PluginInfo;

/// Runs plugins, blocking the thread; the counterpart of [`super::Exec`].
pub trait Exec: Send + Sync {
    /// Runs a plugin and gives its standard output.
    ///
    /// # Errors
    /// The plugin's own error, or why it could not run.
    fn exec_plugin(&self, call: Call<'_>) -> Result<Vec<u8>, Error>;

    /// Finds a plugin's file.
    ///
    /// # Errors
    /// As [`find_in_path`](super::find_in_path), which it is unless overridden.
    fn find_in_path(&self, plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
        super::find_in_path(plugin, paths)
    }

    /// Decodes an answer to VERSION.
    ///
    /// # Errors
    /// As [`PluginInfo::decode`], which it is unless overridden.
    fn decode(&self, bytes: &[u8]) -> Result<PluginInfo, Error> {
        PluginInfo::decode(bytes)
    }
}

impl<E: Exec + ?Sized> Exec for std::sync::Arc<E> {
    fn exec_plugin(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        (**self).exec_plugin(call)
    }

    fn find_in_path(&self, plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
        (**self).find_in_path(plugin, paths)
    }

    fn decode(&self, bytes: &[u8]) -> Result<PluginInfo, Error> {
        (**self).decode(bytes)
    }
}

/// Lets a blocking exec stand where an asynchronous one is wanted. Its futures are ready at the
/// first poll, having blocked the thread that made them.
#[derive(Clone, Debug, Default)]
pub struct Adapter<E>(pub E);

impl<E: Exec> super::Exec for Adapter<E> {
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(std::future::ready(self.0.exec_plugin(call)))
    }

    fn find_in_path(&self, plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
        self.0.find_in_path(plugin, paths)
    }

    fn decode(&self, bytes: &[u8]) -> Result<PluginInfo, Error> {
        self.0.decode(bytes)
    }
}

/// Runs a future that rests on nothing but an [`Adapter`].
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
    .expect("a future over a blocking exec is ready at the first poll")
}

/// [`super::exec_plugin_with_result`], blocking.
///
/// # Errors
/// As there.
pub fn exec_plugin_with_result(
    path: &Path,
    net_conf: &[u8],
    args: &CniArgs,
    exec: &dyn Exec,
) -> Result<CniResult, Error> {
    now(super::exec_plugin_with_result(path, net_conf, args, &Adapter(Borrowed(exec))))
}

/// [`super::exec_plugin_without_result`], blocking.
///
/// # Errors
/// As there.
pub fn exec_plugin_without_result(
    path: &Path,
    net_conf: &[u8],
    args: &CniArgs,
    exec: &dyn Exec,
) -> Result<(), Error> {
    now(super::exec_plugin_without_result(path, net_conf, args, &Adapter(Borrowed(exec))))
}

/// [`super::get_version_info`], blocking.
///
/// # Errors
/// As there.
pub fn get_version_info(path: &Path, exec: &dyn Exec) -> Result<PluginInfo, Error> {
    now(super::get_version_info(path, &Adapter(Borrowed(exec))))
}

/// [`super::delegate_add`], blocking: what a plugin written with [`crate::skel`] calls.
///
/// # Errors
/// As there.
pub fn delegate_add(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<CniResult, Error> {
    now(super::delegate_add(plugin, net_conf, &Adapter(Borrowed(exec))))
}

/// [`super::delegate_check`], blocking.
///
/// # Errors
/// As there.
pub fn delegate_check(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    now(super::delegate_check(plugin, net_conf, &Adapter(Borrowed(exec))))
}

/// [`super::delegate_del`], blocking.
///
/// # Errors
/// As there.
pub fn delegate_del(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    now(super::delegate_del(plugin, net_conf, &Adapter(Borrowed(exec))))
}

/// [`super::delegate_gc`], blocking.
///
/// # Errors
/// As there.
pub fn delegate_gc(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    now(super::delegate_gc(plugin, net_conf, &Adapter(Borrowed(exec))))
}

/// [`super::delegate_status`], blocking.
///
/// # Errors
/// As there.
pub fn delegate_status(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    now(super::delegate_status(plugin, net_conf, &Adapter(Borrowed(exec))))
}

/// A reference that is an exec, for the free functions.
struct Borrowed<'a>(&'a dyn Exec);

impl Exec for Borrowed<'_> {
    fn exec_plugin(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        self.0.exec_plugin(call)
    }

    fn find_in_path(&self, plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
        self.0.find_in_path(plugin, paths)
    }

    fn decode(&self, bytes: &[u8]) -> Result<PluginInfo, Error> {
        self.0.decode(bytes)
    }
}

/// Runs plugins as processes, with a thread for each pipe.
#[derive(Clone, Debug, Default)]
pub struct RawExec {
    /// Where the standard error of plugins that succeed goes.
    pub stderr: StderrSink,
    /// How long one plugin may take before it is killed; no limit by default.
    pub timeout: Option<Duration>,
}

impl Exec for RawExec {
    fn exec_plugin(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        let execute = |cause| Error::Execute { path: call.path.to_owned(), cause };
        let deadline = self.timeout.map(|after| Instant::now() + after);
        let mut child = spawn(call).map_err(execute)?;
        let output = collect(&mut child, call.stdin, deadline);
        if let Ok(Some(output)) = output {
            return judge(output, &self.stderr);
        }
        // Too late, or a broken pipe: the plugin must not go on.
        kill_group(child.id());
        child.wait().map_err(execute)?;
        match (output, self.timeout) {
            (Err(cause), _) => Err(execute(cause)),
            (Ok(_), after) => Err(Error::TimedOut {
                path: call.path.to_owned(),
                after: after.unwrap_or_default(),
            }),
        }
    }
}

fn spawn(call: Call<'_>) -> io::Result<Child> {
    let mut command = Command::new(call.path);
    command
        .process_group(0)
        .env_clear()
        .envs(call.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                thread::sleep(Duration::from_secs(1));
            }
            spawned => return spawned,
        }
    }
}

/// Feeds a plugin and waits for its end; `None` when the deadline passed first.
fn collect(
    child: &mut Child,
    stdin: &[u8],
    deadline: Option<Instant>,
) -> io::Result<Option<Output>> {
    if let Some(mut pipe) = child.stdin.take() {
        let stdin = stdin.to_vec();
        // A thread, for a plugin that does not read would block us; one that closes the pipe
        // is no failure of ours.
        thread::spawn(move || drop(pipe.write_all(&stdin)));
    }
    let (stdout, stderr) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
    let Some(stdout) = received(stdout, deadline)? else { return Ok(None) };
    let Some(stderr) = received(stderr, deadline)? else { return Ok(None) };
    loop {
        let status = match deadline {
            None => Some(child.wait()?),
            Some(_) => child.try_wait()?,
        };
        if let Some(status) = status {
            return Ok(Some(Output { status, stdout, stderr }));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        // Its pipes are closed, so it is about to end: this loop turns once or twice.
        thread::sleep(Duration::from_micros(200));
    }
}

/// Reads a pipe to its end on a thread of its own, which ends with the last process that has
/// the pipe.
fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens any more when the plugin was killed.
        let _unheard = sender.send(read);
    });
    receiver
}

fn received(
    receiver: Option<Receiver<io::Result<Vec<u8>>>>,
    deadline: Option<Instant>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(receiver) = receiver else { return Ok(Some(Vec::new())) };
    let outcome = match deadline {
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    match outcome {
        Ok(read) => read.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a reading thread failed")),
    }
}
