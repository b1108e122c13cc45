//! `weft table`.

use std::collections::BTreeMap;
use std::io::{self, Read};

use weft_api::control::{
    EntryCreate, EntryResource, EntryUpdate, TableEvent, TableEventKind, TableValue, WatchQuery,
};

use crate::cli::{
    TableCommand, TableDeleteArgs, TableGetArgs, TableLsArgs, TableWatchArgs, TableWriteArgs,
};
use crate::client::Client;
use crate::commands::output::{self, or_dash, printable};
use crate::failure::Failure;

/// Bytes read as a value, at most; the agent's own bound is smaller and its own to name.
const VALUE_BYTES_MAX: u64 = 1 << 20;

/// Reads, watches and writes tables.
pub(crate) async fn exec(command: TableCommand) -> Result<(), Failure> {
    match command {
        TableCommand::Ls(args) => list(args).await,
        TableCommand::Watch(args) => watch(args).await,
        TableCommand::Create(args) => create(args).await,
        TableCommand::Update(args) => update(args).await,
        TableCommand::Delete(args) => delete(args).await,
        TableCommand::Get(args) => get(args).await,
    }
}

async fn list(args: TableLsArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let Some(table) = &args.table else {
        let tables = client.tables(&args.network).await?;
        if args.output.json {
            return output::json(&tables);
        }
        let rows = tables.iter().map(|table| {
            vec![table.name.clone(), table.entries.to_string(), or_dash(table.driver.as_ref())]
        });
        return output::table(&["TABLE", "ENTRIES", "DRIVER"], rows);
    };
    let entries = client.entries(&args.network, table).await?;
    if args.output.json {
        return output::json(&entries);
    }
    if entries.is_empty() {
        let tables = client.tables(&args.network).await?;
        if !tables.iter().any(|known| known.name == *table) {
            let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            output::say(&format!("no table `{table}` has entries here; those that do: {known}"));
        }
    }
    output::table(&["KEY", "VALUE", "OWNER"], entries.iter().map(row))
}

async fn watch(args: TableWatchArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let mut events = client.watch(&args.network, &WatchQuery { table: args.table }).await?;
    while let Some(event) = events.next().await? {
        if args.output.json {
            output::json_line(&event)?;
        } else {
            output::line(&describe(&event))?;
        }
    }
    Ok(())
}

async fn create(args: TableWriteArgs) -> Result<(), Failure> {
    let request = EntryCreate { key: args.key, value: read_value(&args.value)? };
    let client = Client::new(args.connection.socket);
    client.create_entry(&args.network, &args.table, &request).await?;
    Ok(())
}

async fn update(args: TableWriteArgs) -> Result<(), Failure> {
    let request = EntryUpdate { value: read_value(&args.value)? };
    let client = Client::new(args.connection.socket);
    client.update_entry(&args.network, &args.table, &args.key, &request).await?;
    Ok(())
}

async fn delete(args: TableDeleteArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    client.delete_entry(&args.network, &args.table, &args.key).await?;
    Ok(())
}

async fn get(args: TableGetArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let entry = client.entry(&args.network, &args.table, &args.key).await?;
    if args.output.json {
        return output::json(&entry);
    }
    let value = entry.value.to_bytes().map_err(|error| Failure::failed(error.to_string()))?;
    output::value(&value)
}

/// Takes the value as it was given, or standard input for `-`.
fn read_value(given: &str) -> Result<TableValue, Failure> {
    if given != "-" {
        return Ok(TableValue::Text(given.to_owned()));
    }
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "the value on standard input is larger than {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(TableValue::from_bytes(&bytes))
}

fn row(entry: &EntryResource) -> Vec<String> {
    let owner = entry.owner_name.clone().unwrap_or_else(|| entry.owner.short());
    vec![entry.key.clone(), show(Some(&entry.value), &entry.decoded), owner]
}

/// Shows a value as its driver reads it, else as text, else in hexadecimal digits.
fn show(value: Option<&TableValue>, decoded: &BTreeMap<String, String>) -> String {
    if !decoded.is_empty() {
        let each: Vec<String> =
            decoded.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return each.join(" ");
    }
    match value {
        Some(TableValue::Text(text)) => text.clone(),
        Some(TableValue::Hex(hex)) => format!("0x{hex}"),
        None => "-".to_owned(),
    }
}

fn describe(event: &TableEvent) -> String {
    let kind = match event.event {
        TableEventKind::Create => "create",
        TableEventKind::Update => "update",
        TableEventKind::Delete => "delete",
    };
    let value = event.value.as_ref().or(event.prev.as_ref());
    printable(&format!(
        "{kind}  {}/{}  {}  by {}",
        event.table,
        event.key,
        show(value, &event.decoded),
        event.owner.short()
    ))
}

#[cfg(test)]
mod tests {
    use weft_api::{NetworkId, NodeId};

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let event = TableEvent {
            event: TableEventKind::Delete,
            network: NetworkId::default(),
            table: "names".to_owned(),
            key: "a\nb".to_owned(),
            value: None,
            prev: Some(TableValue::Text("v".to_owned())),
            owner: NodeId::default(),
            decoded: BTreeMap::new(),
        };
        assert_eq!(describe(&event), "delete  names/a\\nb  v  by 00000000");
    }

    #[test]
    fn a_value_shows_as_its_driver_reads_it_first() {
        let decoded = BTreeMap::from([("vtep".to_owned(), "192.0.2.1".to_owned())]);
        let hex = TableValue::Hex("ff".to_owned());
        assert_eq!(show(Some(&hex), &decoded), "vtep=192.0.2.1");
        assert_eq!(show(Some(&hex), &BTreeMap::new()), "0xff");
    }
}
