//! `weft forget`.

use weft_api::control::{ForgetRequest, MemberResource};

use crate::cli::ForgetArgs;
use crate::client::Client;
use crate::commands::output;
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Lets the cluster forget members.
pub(crate) async fn exec(args: ForgetArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let request = ForgetRequest { nodes: args.nodes, force: args.force };
    let forgotten = patiently("waiting for the other members", client.forget(&request)).await?;
    if args.output.json {
        return output::json(&forgotten);
    }
    forgotten.iter().for_each(|member| output::say(&what_happened(member)));
    Ok(())
}

fn what_happened(member: &MemberResource) -> String {
    format!(
        "{} ({}) is forgotten: this node has its addresses now, which rest before they are used",
        output::printable(&member.name),
        member.id.short()
    )
}
