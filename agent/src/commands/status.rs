//! `weft status`.

use weft_api::control::{ClusterState, StatusResource};

use crate::cli::StatusArgs;
use crate::client::Client;
use crate::commands::output::{self, or_dash};
use crate::failure::Failure;

/// Shows how this node is.
pub(crate) async fn exec(args: StatusArgs) -> Result<(), Failure> {
    let status = Client::new(args.connection.socket).status().await?;
    if args.output.json {
        return output::json(&status);
    }
    output::fields(&summary(&status))?;
    let counted = status.counters.iter().filter(|(_, count)| **count > 0);
    let rows: Vec<_> =
        counted.map(|(cause, count)| vec![cause.clone(), count.to_string()]).collect();
    if rows.is_empty() {
        return Ok(());
    }
    output::line("")?;
    output::table(&["COUNTED SINCE START", "TIMES"], rows)
}

fn summary(status: &StatusResource) -> Vec<(&'static str, String)> {
    let members = status.members;
    vec![
        ("name", status.name.clone()),
        ("node", or_dash(status.node)),
        ("cluster", or_dash(status.cluster)),
        ("state", state(status.state).to_owned()),
        ("address", status.advertise.to_string()),
        (
            "members",
            format!(
                "{} alive, {} suspect, {} failed",
                members.alive, members.suspect, members.failed
            ),
        ),
        ("networks", status.networks.to_string()),
        ("endpoints", status.endpoints.to_string()),
        ("running for", duration(status.uptime_ms)),
        ("version", status.version.clone()),
    ]
}

const fn state(state: ClusterState) -> &'static str {
    match state {
        ClusterState::None => "in no cluster (next: weft init, or weft join)",
        ClusterState::Joining => "joining",
        ClusterState::Syncing => "syncing with the other members",
        ClusterState::Ready => "ready",
        ClusterState::Leaving => "leaving",
    }
}

fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        let rows = [
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (milliseconds, text) in rows {
            assert_eq!(duration(milliseconds), text);
        }
    }
}
