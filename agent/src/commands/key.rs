//! `weft key`.

use weft_api::control::{KeyQuery, KeyResource, KeyRole, RotateRequest};

use crate::cli::{KeyCommand, KeyLsArgs, KeyRmArgs, KeyRotateArgs};
use crate::client::Client;
use crate::commands::output::{self, or_dash};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Shows, rotates and removes keys.
pub(crate) async fn exec(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Ls(args) => list(args).await,
        KeyCommand::Rotate(args) => rotate(args).await,
        KeyCommand::Rm(args) => remove(args).await,
    }
}

async fn list(args: KeyLsArgs) -> Result<(), Failure> {
    let keys = Client::new(args.connection.socket).keys().await?;
    if args.output.json {
        return output::json(&keys);
    }
    output::table(&["KEY", "ROLE", "ROTATION", "BY", "WAITS FOR"], keys.iter().map(row))
}

async fn rotate(args: KeyRotateArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let request = RotateRequest { force: args.force };
    let keys = patiently("waiting for the other members", client.rotate_key(&request)).await?;
    if args.output.json {
        return output::json(&keys);
    }
    let of = |role| keys.iter().find(|key| key.role == role);
    if let Some(key) = of(KeyRole::Primary) {
        output::say(&format!("key {} is the primary; `weft token` carries it from now on", key.id));
    }
    if let Some(key) = of(KeyRole::Accepted) {
        output::say(&format!("key {0} is still accepted: `weft key rm {0}` ends that", key.id));
    }
    Ok(())
}

async fn remove(args: KeyRmArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    client.retire_key(&args.key, &KeyQuery { force: args.force }).await?;
    output::say("the key is removed: nobody accepts it, nor a token that carries it, any more");
    Ok(())
}

fn row(key: &KeyResource) -> Vec<String> {
    let missing = (!key.missing.is_empty()).then(|| key.missing.join(", "));
    vec![
        key.id.clone(),
        role(key.role).to_owned(),
        key.rotation.to_string(),
        or_dash(key.claimant.clone()),
        or_dash(missing),
    ]
}

const fn role(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Primary => "primary",
        KeyRole::Accepted => "accepted",
        KeyRole::Pending => "pending",
    }
}
