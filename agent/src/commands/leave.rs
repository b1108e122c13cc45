//! `weft leave`.

use weft_api::control::LeaveRequest;

use crate::cli::LeaveArgs;
use crate::client::Client;
use crate::commands::output;
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Leaves the cluster.
pub(crate) async fn exec(args: LeaveArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let request = LeaveRequest { force: args.force };
    patiently("handing addresses over", client.leave(&request)).await?;
    output::say("this node is in no cluster any more");
    Ok(())
}
