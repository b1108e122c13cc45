//! `weft doctor`.

use weft_api::control::{Check, CheckStatus, DoctorReport};

use crate::cli::DoctorArgs;
use crate::client::{Client, ClientError};
use crate::commands::output::{self, printable};
use crate::commands::progress::patiently;
use crate::doctor;
use crate::failure::Failure;

/// Looks for what could be wrong. Where no agent answers, that is the first finding, and the
/// checks that need none are made here.
pub(crate) async fn exec(args: DoctorArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let report = match patiently("looking", client.doctor()).await {
        Ok(report) => report,
        Err(error @ ClientError::Socket { .. }) => without_agent(&error),
        Err(error) => return Err(error.into()),
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

fn without_agent(error: &ClientError) -> DoctorReport {
    let agent = Check::fail("agent", error.to_string(), error.hint().unwrap_or_default());
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
