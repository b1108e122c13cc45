//! `weft ipam`.

use weft_api::control::IpamPool;

use crate::cli::{IpamCommand, IpamLsArgs};
use crate::client::Client;
use crate::commands::output::{self, or_dash};
use crate::failure::Failure;

/// Shows the pools.
pub(crate) async fn exec(command: IpamCommand) -> Result<(), Failure> {
    match command {
        IpamCommand::Ls(args) => list(args).await,
    }
}

async fn list(args: IpamLsArgs) -> Result<(), Failure> {
    let pools = Client::new(args.connection.socket).ipam().await?;
    if args.output.json {
        return output::json(&pools);
    }
    let header =
        ["NETWORK", "SPACE", "POOL", "SIZE", "USED HERE", "RESTING", "FREE HERE", "SHARES"];
    output::table(&header, pools.iter().map(row))
}

fn row(pool: &IpamPool) -> Vec<String> {
    let shares: Vec<String> = pool
        .shares
        .iter()
        .map(|share| {
            let node = share.name.clone().unwrap_or_else(|| share.node.short());
            format!("{node} {}", share.addresses)
        })
        .collect();
    vec![
        or_dash(pool.network_name.clone().or_else(|| pool.network.map(|network| network.short()))),
        pool.space.clone(),
        pool.pool.clone(),
        pool.size.to_string(),
        pool.used.to_string(),
        pool.resting.to_string(),
        pool.free.to_string(),
        shares.join(", "),
    ]
}
