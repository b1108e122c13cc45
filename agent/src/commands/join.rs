//! `weft join`.

use std::io::{self, IsTerminal};

use weft_api::control::{JoinRequest, Secret};

use crate::cli::JoinArgs;
use crate::client::Client;
use crate::commands::output;
use crate::commands::progress::patiently;
use crate::failure::Failure;
use crate::token::{TokenSource, read_token};

/// Joins a cluster.
pub(crate) async fn exec(args: JoinArgs) -> Result<(), Failure> {
    let source = TokenSource::given(args.token_file);
    if source == TokenSource::Stdin && io::stdin().is_terminal() {
        output::say("paste the token, then press Enter and Ctrl-D:");
    }
    let (token, warning) = read_token(&source)?;
    if let Some(warning) = warning {
        output::say(&format!("warning: {warning}"));
    }
    let mut seeds = Vec::new();
    for seed in &args.seeds {
        seeds.extend(patiently(&format!("looking up {seed}"), seed.resolve()).await?);
    }
    let request = JoinRequest { token: Secret::new(token.to_text()), seeds };
    let client = Client::new(args.connection.socket);
    let cluster = patiently("joining", client.join(&request)).await?;
    if args.output.json {
        return output::json(&cluster);
    }
    output::line(&cluster.id.to_string())?;
    output::say(&format!("`{}` is a member now; `weft members` lists all", cluster.name));
    Ok(())
}
