//! `weft key`.

use clap::{Args, Subcommand};

use crate::cli::{Connection, Output};

/// Shows and rotates the key that the members speak with.
///
/// The key is in every join token, so whoever has a token has it. After a token was lost: rotate,
/// see in `weft members` that nobody is there who should not be, and remove the old key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft key ls
  weft key rotate")]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// The commands of `weft key`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    Ls(KeyLsArgs),
    Rotate(KeyRotateArgs),
    Rm(KeyRmArgs),
}

/// Lists the keys by their fingerprints, which tell nothing of them.
///
/// The primary is what members speak with and what new tokens carry; an accepted one was the
/// primary before; a pending one is on its way to the members. WAITS FOR names those that have not
/// said yet that they use the primary, or have not taken a pending one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft key ls
  weft key ls --json | jq -r '.[] | select(.role == \"accepted\").id'")]
pub struct KeyLsArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Lets every member speak with a new key, and loses no message.
///
/// Every member has to take it first, also those that are away; `--force` goes on without these.
/// The key before is accepted until it is removed or the next rotation, so tokens that carry it go
/// on to work until then. Tokens from now on carry the new one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft key rotate
  weft key rotate --force      # members that are away may have to join again by a new token")]
pub struct KeyRotateArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Go on without members that are away
    #[arg(long)]
    pub force: bool,
}

/// Removes a key that was the primary: nobody accepts it any more, nor tokens that carry it.
///
/// It is refused while members have not said that they use a newer one; `--force` cuts these off,
/// until they join again by a new token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft key rm 5f0c91d2
  weft key rm 5f0c91d2 --force")]
pub struct KeyRmArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// Also where members are not known to have a newer key
    #[arg(long)]
    pub force: bool,
    /// Which: its fingerprint, or a prefix of it
    #[arg(value_name = "KEY")]
    pub key: String,
}
