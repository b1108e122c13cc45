//! `weft attach`.

use weft_api::control::AttachRequest;

use crate::cli::AttachArgs;
use crate::client::Client;
use crate::commands::progress::patiently;
use crate::commands::{endpoint, network};
use crate::failure::Failure;

/// Puts a network namespace on a network and prints the endpoint.
pub(crate) async fn exec(args: AttachArgs) -> Result<(), Failure> {
    let request = AttachRequest {
        network: args.network,
        name: args.address.name,
        addresses: args.address.addresses,
        mac: args.address.mac,
        netns: endpoint::namespace(&args.sandbox)?,
        ifname: args.sandbox.ifname,
        options: network::options(args.address.options)?,
    };
    let client = Client::new(args.connection.socket);
    let made = patiently("attaching", client.attach(&request)).await?;
    endpoint::print_made(&made, &args.output)
}
