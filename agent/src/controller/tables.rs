//! Tables: read by anybody, written by hand where no driver registered them.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use weft_api::control::{
    ControlError, EntryCreate, EntryResource, EntryUpdate, TableEvent, TableEventKind,
    TableResource, TableValue, WatchLine, WatchQuery,
};
use weft_api::{Definition, NodeId};
use weft_networkdb::{Change, Entry, WatchFilter};

use super::{Controller, table_error};
use crate::control::{Answer, NetworkRef};

/// Longest name of a table, in bytes.
const TABLE_BYTES_MAX: usize = 64;
/// Lines that may wait for a watcher.
const LINES_QUEUED_MAX: usize = 256;

impl Controller {
    pub(super) async fn list_tables(&self, network: &NetworkRef) -> Answer<Vec<TableResource>> {
        let definition = self.attached_definition(network).await?;
        let id = definition.id;
        let tables = self
            .node(move |node, _| {
                let db = node.db();
                db.tables(id)
                    .into_iter()
                    .map(|table| (table.to_string(), db.walk(id, &table).count() as u64))
                    .collect::<BTreeMap<_, _>>()
            })
            .await?;
        let mut rows: BTreeMap<_, _> = tables
            .into_iter()
            .map(|(name, entries)| (name.clone(), TableResource { name, entries, driver: None }))
            .collect();
        for name in self.registrations.tables(id) {
            let row = rows.entry(name.clone());
            row.or_insert(TableResource { name, entries: 0, driver: None }).driver =
                Some(definition.driver.clone());
        }
        Ok(rows.into_values().collect())
    }

    pub(super) async fn list_entries(
        &self,
        network: &NetworkRef,
        table: String,
    ) -> Answer<Vec<EntryResource>> {
        let definition = self.attached_definition(network).await?;
        let id = definition.id;
        let entries =
            self.node(move |node, _| node.db().walk(id, &table).collect::<Vec<_>>()).await?;
        let names = self.node_names().await;
        Ok(entries.iter().map(|entry| self.entry_resource(&definition, entry, &names)).collect())
    }

    pub(super) async fn read_entry(
        &self,
        network: &NetworkRef,
        table: String,
        key: String,
    ) -> Answer<EntryResource> {
        let definition = self.attached_definition(network).await?;
        let id = definition.id;
        let missing = format!("entry `{key}` in table `{table}` does not exist");
        let entry = self
            .node(move |node, _| node.db().entry(id, &table, &key))
            .await?
            .ok_or_else(|| ControlError::not_found(missing))?;
        Ok(self.entry_resource(&definition, &entry, &self.node_names().await))
    }

    pub(super) async fn write_new_entry(
        &self,
        network: &NetworkRef,
        table: String,
        request: EntryCreate,
    ) -> Answer<EntryResource> {
        let definition = self.writable(network, &table).await?;
        let id = definition.id;
        let value = bytes_of(&request.value)?;
        let _turn = self.lock_network(id).await;
        let key = request.key.clone();
        let in_table = table.clone();
        let created = self
            .node(move |node, now| {
                node.with_db(now, |db| {
                    db.attach(id, now)?;
                    db.create_entry(id, &in_table, &key, value, now)
                })
            })
            .await?;
        if let Err(error) = created {
            // The attachment was for this entry, unless something else needs it.
            self.stop_using(&definition).await;
            return Err(table_error(error));
        }
        drop(_turn);
        self.read_entry(network, table, request.key).await
    }

    pub(super) async fn rewrite_entry(
        &self,
        network: &NetworkRef,
        table: String,
        key: String,
        request: EntryUpdate,
    ) -> Answer<EntryResource> {
        let id = self.writable(network, &table).await?.id;
        let value = bytes_of(&request.value)?;
        let (in_table, of_key) = (table.clone(), key.clone());
        self.node(move |node, now| {
            node.with_db(now, |db| db.update_entry(id, &in_table, &of_key, value, now))
        })
        .await?
        .map_err(table_error)?;
        self.read_entry(network, table, key).await
    }

    pub(super) async fn remove_entry(
        &self,
        network: &NetworkRef,
        table: String,
        key: String,
    ) -> Answer<()> {
        let definition = self.writable(network, &table).await?;
        let id = definition.id;
        self.node(move |node, now| node.with_db(now, |db| db.delete_entry(id, &table, &key, now)))
            .await?
            .map_err(table_error)?;
        let _turn = self.lock_network(id).await;
        self.stop_using(&definition).await;
        Ok(())
    }

    pub(super) async fn watch_network(
        self: std::sync::Arc<Self>,
        network: &NetworkRef,
        query: WatchQuery,
    ) -> Answer<mpsc::Receiver<WatchLine>> {
        let definition = self.attached_definition(network).await?;
        let filter = WatchFilter {
            network: Some(definition.id),
            table: query.table.clone(),
            ..WatchFilter::default()
        };
        let network = definition.id;
        // One call, so no change falls between what there is and what follows.
        let (id, mut events, present) = self
            .core(move |core, _| {
                let (id, events) = core.watch(filter)?;
                let db = core.node()?.db();
                let tables = query.table.map_or_else(
                    || db.tables(network).iter().map(ToString::to_string).collect(),
                    |table| vec![table],
                );
                let present: Vec<_> =
                    tables.iter().flat_map(|table| db.walk(network, table)).collect();
                Some((id, events, present))
            })
            .await?
            .ok_or_else(super::no_cluster)?;
        let (lines, receiver) = mpsc::channel(LINES_QUEUED_MAX);
        tokio::spawn(async move {
            for entry in present {
                let line = WatchLine::Event(self.present_resource(&definition, &entry));
                if lines.send(line).await.is_err() {
                    break;
                }
            }
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = lines.closed() => break,
                };
                let line = match event {
                    Some(event) => WatchLine::Event(self.event_resource(&definition, &event)),
                    None => WatchLine::Error(ControlError::unavailable(
                        "the watch fell behind or the node left its cluster",
                    )),
                };
                let ended = matches!(line, WatchLine::Error(_));
                if lines.send(line).await.is_err() || ended {
                    break;
                }
            }
            // The agent is stopping if the core does not take it.
            let _ = self.core.call(move |core, _| core.unwatch(id)).await;
        });
        Ok(receiver)
    }

    /// Finds a network whose tables this node holds.
    async fn attached_definition(&self, network: &NetworkRef) -> Answer<Definition> {
        let definition = self.definition(network).await?;
        let id = definition.id;
        if self.node(move |node, _| node.db().is_attached(id)).await? {
            return Ok(definition);
        }
        Err(ControlError::forbidden(format!(
            "this node takes no part in network `{}` and holds none of its tables",
            definition.name
        ))
        .with_hint(format!(
            "attach an endpoint or create an entry here first, or ask a node that takes part \
             (`weft network inspect {} --verbose` lists them)",
            definition.name
        )))
    }

    async fn writable(&self, network: &NetworkRef, table: &str) -> Answer<Definition> {
        let definition = self.definition(network).await?;
        let fits = |c: char| c.is_ascii_graphic() && c != '/';
        if table.is_empty() || table.len() > TABLE_BYTES_MAX || !table.chars().all(fits) {
            return Err(ControlError::invalid(format!("table name `{table}` is not allowed"))
                .with_hint(format!(
                    "use 1 to {TABLE_BYTES_MAX} printable letters, without a slash"
                )));
        }
        if table == super::endpoints::NAMES_TABLE {
            return Err(ControlError::forbidden(format!("table `{table}` belongs to Weft"))
                .with_hint("write to a table of another name"));
        }
        if table == weft_overlay::PEER_TABLE
            || self.registrations.tables(definition.id).iter().any(|name| name == table)
        {
            return Err(ControlError::forbidden(format!(
                "table `{table}` belongs to network driver `{}`",
                definition.driver
            ))
            .with_hint("write to a table of another name"));
        }
        Ok(definition)
    }

    fn entry_resource(
        &self,
        definition: &Definition,
        entry: &Entry,
        names: &BTreeMap<NodeId, String>,
    ) -> EntryResource {
        EntryResource {
            table: entry.table.to_string(),
            key: entry.key.to_string(),
            value: TableValue::from_bytes(&entry.value),
            owner: entry.owner,
            owner_name: names.get(&entry.owner).cloned(),
            decoded: self.decoded(definition, &entry.table, &entry.key, &entry.value),
        }
    }

    fn present_resource(&self, definition: &Definition, entry: &Entry) -> TableEvent {
        TableEvent {
            event: TableEventKind::Create,
            network: entry.network,
            table: entry.table.to_string(),
            key: entry.key.to_string(),
            value: Some(TableValue::from_bytes(&entry.value)),
            prev: None,
            owner: entry.owner,
            decoded: self.decoded(definition, &entry.table, &entry.key, &entry.value),
        }
    }

    fn event_resource(
        &self,
        definition: &Definition,
        event: &weft_networkdb::TableEvent,
    ) -> TableEvent {
        let (kind, value, prev) = match event.change {
            Change::Create => (TableEventKind::Create, Some(&event.value), None),
            Change::Update => (TableEventKind::Update, Some(&event.value), event.prev.as_ref()),
            Change::Delete => (TableEventKind::Delete, None, Some(&event.value)),
        };
        TableEvent {
            event: kind,
            network: event.network,
            table: event.table.to_string(),
            key: event.key.to_string(),
            value: value.map(|value| TableValue::from_bytes(value)),
            prev: prev.map(|value| TableValue::from_bytes(value)),
            owner: event.owner,
            decoded: self.decoded(definition, &event.table, &event.key, &event.value),
        }
    }

    fn decoded(
        &self,
        definition: &Definition,
        table: &str,
        key: &str,
        value: &[u8],
    ) -> BTreeMap<String, String> {
        if !self.registrations.tables(definition.id).iter().any(|name| name == table)
            && table != weft_overlay::PEER_TABLE
        {
            return BTreeMap::new();
        }
        // A plugin has no tables, so only drivers that are registered are asked.
        self.registry
            .registered_network(&definition.driver)
            .map(|driver| driver.driver.decode_table_entry(table, key, value).1)
            .unwrap_or_default()
    }
}

fn bytes_of(value: &TableValue) -> Answer<Vec<u8>> {
    value.to_bytes().map_err(|error| ControlError::invalid(error.to_string()))
}
