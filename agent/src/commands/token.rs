//! `weft token`.

use std::io::{self, IsTerminal};

use crate::cli::TokenArgs;
use crate::client::Client;
use crate::commands::output;
use crate::failure::Failure;
use crate::token::write_token;

/// Prints the join token, or writes it into a file.
pub(crate) async fn exec(args: TokenArgs) -> Result<(), Failure> {
    let answer = Client::new(args.connection.socket).token().await?;
    if args.output.json {
        return output::json(&answer);
    }
    let seed = answer.seeds.first().map_or_else(|| "ADDR".to_owned(), ToString::to_string);
    match args.file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            write_token(&file, answer.token.reveal())?;
            output::say(&format!(
                "on the other node: weft join --token-file {} {seed}",
                file.display()
            ));
        }
        None => {
            output::line(answer.token.reveal())?;
            if io::stdout().is_terminal() {
                output::say(&format!("on the other node: weft join {seed} (and paste it there)"));
            }
        }
    }
    Ok(())
}
