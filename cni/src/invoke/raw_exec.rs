//! Running a plugin as a process, asynchronously.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::outcome::{BUSY_TRIES, StderrSink, judge, kill_group};
use super::{BoxFuture, Call, Exec};
use crate::error::Error;

/// Runs plugins as processes on tokio. Needs a runtime with I/O and time enabled.
#[derive(Clone, Debug, Default)]
pub struct RawExec {
    /// Where the standard error of plugins that succeed goes.
    pub stderr: StderrSink,
    /// How long one plugin may take before it is killed; no limit by default.
    pub timeout: Option<Duration>,
}

impl Exec for RawExec {
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move {
            let run = run(call);
            let output = match self.timeout {
                None => run.await,
                Some(after) => tokio::time::timeout(after, run)
                    .await
                    .map_err(|_| Error::TimedOut { path: call.path.to_owned(), after })?,
            };
            let output =
                output.map_err(|cause| Error::Execute { path: call.path.to_owned(), cause })?;
            judge(output, &self.stderr)
        })
    }
}

/// A plugin that runs, and ends with all it started when this is dropped before it was waited
/// for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.0.id() {
            kill_group(id);
        }
    }
}

async fn run(call: Call<'_>) -> io::Result<Output> {
    let mut running = Running(spawn(call).await?);
    let child = &mut running.0;
    let stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A plugin that does not read, as on VERSION, closes the pipe: no failure of ours.
            let _closed = stdin.write_all(call.stdin).await;
        }
    };
    let read_out = async {
        match &mut stdout {
            Some(pipe) => pipe.read_to_end(&mut out).await,
            None => Ok(0),
        }
    };
    let read_err = async {
        match &mut stderr {
            Some(pipe) => pipe.read_to_end(&mut err).await,
            None => Ok(0),
        }
    };
    let ((), read_out, read_err) = tokio::join!(feed, read_out, read_err);
    read_out?;
    read_err?;
    let status = child.wait().await?;
    Ok(Output { status, stdout: out, stderr: err })
}

async fn spawn(call: Call<'_>) -> io::Result<Child> {
    let mut command = Command::new(call.path);
    command
        .process_group(0)
        .env_clear()
        .envs(call.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            spawned => return spawned,
        }
    }
}
