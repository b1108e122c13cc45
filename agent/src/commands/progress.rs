//! A word to whoever waits: on standard error, and only after two seconds.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

/// How long a command may take without a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work`. When that takes long it says what is waited for: once into a file, and on a
/// terminal with the seconds that go by.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let start = Instant::now();
    if let Ok(done) = tokio::time::timeout(PATIENCE, work.as_mut()).await {
        return done;
    }
    if !io::stderr().is_terminal() {
        show(&format!("{what} ...\n"));
        return work.await;
    }
    let mut tick = interval_at(Instant::now(), Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => {
                show("\r\x1b[K");
                return done;
            }
            now = tick.tick() => show(&format!("\r{what} ... {} s", (now - start).as_secs())),
        }
    }
}

fn show(text: &str) {
    let mut out = io::stderr().lock();
    // Progress that cannot be shown is no reason to stop the work.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
