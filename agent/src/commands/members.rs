//! `weft members`.

use weft_api::control::{MemberResource, MemberState};

use crate::cli::MembersArgs;
use crate::client::Client;
use crate::commands::output::{self, or_dash};
use crate::failure::Failure;

/// Lists the members.
pub(crate) async fn exec(args: MembersArgs) -> Result<(), Failure> {
    let members = Client::new(args.connection.socket).members().await?;
    if args.output.json {
        return output::json(&members);
    }
    output::table(&["NAME", "ID", "ADDRESS", "STATE", "STARTS"], members.iter().map(row))
}

fn row(member: &MemberResource) -> Vec<String> {
    let mark = if member.this { " (this)" } else { "" };
    // One that was gone before this node came is known by its id alone.
    let name = Some(&member.name).filter(|name| !name.is_empty());
    let address = Some(member.address).filter(|address| !address.ip().is_unspecified());
    vec![
        format!("{}{mark}", or_dash(name)),
        member.id.short(),
        or_dash(address),
        state(member.state).to_owned(),
        member.boot.to_string(),
    ]
}

const fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Failed => "failed",
        MemberState::Left => "left",
        MemberState::Forgotten => "forgotten",
    }
}
