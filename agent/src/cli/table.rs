//! `weft table`.

use clap::{Args, Subcommand};

use crate::cli::value::name;
use crate::cli::{Connection, Output};

/// Reads, watches and writes the tables that the nodes of a network share.
///
/// `overlay_peer_table` holds the endpoints of the overlay driver, which decodes it. Any table that
/// no driver registered can be written by hand; an entry belongs to the node that wrote it. Only
/// nodes with an endpoint on the network hold its tables.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft table ls blue
  weft table ls blue overlay_peer_table
  weft table watch blue
  weft table create blue names www 10.128.0.7
  weft table get blue names www")]
pub struct TableArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TableCommand,
}

/// The commands of `weft table`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    Ls(TableLsArgs),
    Watch(TableWatchArgs),
    /// Writes a new entry
    ///
    /// The key must be free. The entry belongs to this node, and goes when this node leaves.
    Create(TableWriteArgs),
    /// Rewrites an entry
    ///
    /// The key must be there. This node owns the entry from now on.
    Update(TableWriteArgs),
    Delete(TableDeleteArgs),
    Get(TableGetArgs),
}

/// Lists the tables of a network or, with TABLE, the entries of one, decoded where a driver can.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weft table ls blue\n  weft table ls blue overlay_peer_table --json"
)]
pub struct TableLsArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// The table
    #[arg(value_parser = name)]
    pub table: Option<String>,
}

/// Prints what is in the tables, then each change as it happens, until interrupted.
///
/// With --json each line is one object.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft table watch blue
  weft table watch blue overlay_peer_table --json | jq -c '{event, key}'")]
pub struct TableWatchArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// Only this table
    #[arg(value_parser = name)]
    pub table: Option<String>,
}

/// Writes an entry: `create` where none is, `update` where one is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft table create blue names www 10.128.0.7
  weft table update blue names www - < value          # - reads standard input")]
pub struct TableWriteArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// The table
    #[arg(value_parser = name)]
    pub table: String,
    /// The key
    #[arg(value_parser = name)]
    pub key: String,
    /// The value; - reads standard input
    #[arg(allow_hyphen_values = true)]
    pub value: String,
}

/// Deletes an entry that this node owns.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft table delete blue names www")]
pub struct TableDeleteArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// The table
    #[arg(value_parser = name)]
    pub table: String,
    /// The key
    #[arg(value_parser = name)]
    pub key: String,
}

/// Prints the value of an entry, byte for byte.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft table get blue names www
  weft table get blue names www --json | jq -r .owner")]
pub struct TableGetArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// The table
    #[arg(value_parser = name)]
    pub table: String,
    /// The key
    #[arg(value_parser = name)]
    pub key: String,
}
