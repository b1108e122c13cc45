//! `weft doctor`.

use std::path::Path;
use std::time::Duration;

use weft_api::control::{Check, CheckStatus, DoctorReport};

use crate::cli::DoctorArgs;
use crate::client::{Client, ClientError};
use crate::commands::output::{self, printable};
use crate::commands::progress::patiently;
use crate::doctor;
use crate::failure::Failure;
use crate::last_end::LastEnd;

/// How long an agent may take to look: many times of what it needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for what could be wrong. Where no agent answers, that is the first finding, and the
/// checks that need none are made here.
pub(crate) async fn exec(args: DoctorArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let asked = tokio::time::timeout(PATIENCE, client.doctor());
    let report = match patiently("looking", asked).await {
        Ok(Ok(report)) => report,
        Ok(Err(error @ ClientError::Socket { .. })) => without_agent(absent(&client, &error)),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => without_agent(silent(client.socket())),
    };
    if args.output.json {
        output::json(&report)?;
    } else {
        output::bytes(render(&report).as_bytes())?;
    }
    match report.worst() {
        CheckStatus::Ok | CheckStatus::Warn => Ok(()),
        CheckStatus::Fail => Err(Failure::failed("something will not work: see above")),
    }
}

/// Nobody is at the socket; the last one may have left word why.
fn absent(client: &Client, error: &ClientError) -> Check {
    let last = LastEnd::read(client.socket());
    doctor::absent(&error.to_string(), &error.hint().unwrap_or_default(), last.as_ref())
}

/// Somebody is at the socket, and says nothing.
fn silent(socket: &Path) -> Check {
    Check::fail(
        "agent",
        format!("the agent at `{}` did not answer in {} s", socket.display(), PATIENCE.as_secs()),
        "it stands still, is overloaded or still starts: look at its process and its log. Traffic \
         does not need it",
    )
}

fn without_agent(agent: Check) -> DoctorReport {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    DoctorReport { checks: vec![agent, doctor::privileges(&status)] }
}

fn render(report: &DoctorReport) -> String {
    let width = report.checks.iter().map(|check| check.check.chars().count()).max().unwrap_or(0);
    report
        .checks
        .iter()
        .map(|check| {
            let mark = match check.status {
                CheckStatus::Ok => "ok  ",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "FAIL",
            };
            let name = printable(&check.check);
            let line = format!("{mark}  {name:width$}  {}\n", printable(&check.detail));
            match &check.hint {
                Some(hint) => format!("{line}      {:width$}  hint: {}\n", "", printable(hint)),
                None => line,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_that_is_not_well_has_its_hint_below() {
        let report = DoctorReport {
            checks: vec![
                Check::ok("clock", "monotonic"),
                Check::fail("kernel vxlan", "missing", "load the module vxlan"),
            ],
        };
        let text = "ok    clock         monotonic\n\
                    FAIL  kernel vxlan  missing\n\
                    \x20                   hint: load the module vxlan\n";
        assert_eq!(render(&report), text);
    }
}
