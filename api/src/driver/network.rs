//! What a driver says at `create_network`.

use std::collections::BTreeMap;

use crate::driver::{IpamData, ObjectType, Scope};
use crate::error::Error;

/// Takes from a driver what it wants to hear of, and what it changed about addresses.
pub trait NetworkInfo: Send {
    /// Asks for the events of `table`, whose entries are about `object` things.
    ///
    /// # Errors
    /// Invalid parameter when `table` is empty; forbidden when it is registered for another
    /// sort of object.
    fn table_event_register(&mut self, table: &str, object: ObjectType) -> Result<(), Error>;

    /// Replaces the network's IPv4 configuration by what the driver (or what is below it) chose.
    fn update_ipam_config(&mut self, ipv4_data: &[IpamData]);
}

/// Records what a driver said at `create_network`.
///
/// Registrations of a local-scope driver are ignored: its networks take part in no tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRegistration {
    scope: Scope,
    tables: BTreeMap<String, ObjectType>,
    ipv4_data: Option<Vec<IpamData>>,
}

impl NetworkRegistration {
    /// Starts an empty record for a driver whose data scope is `scope`.
    pub const fn new(scope: Scope) -> Self {
        Self { scope, tables: BTreeMap::new(), ipv4_data: None }
    }

    /// Returns the tables whose events the driver wants.
    pub const fn tables(&self) -> &BTreeMap<String, ObjectType> {
        &self.tables
    }

    /// Returns the IPv4 configuration the driver chose, if it did.
    pub fn ipv4_data(&self) -> Option<&[IpamData]> {
        self.ipv4_data.as_deref()
    }
}

impl NetworkInfo for NetworkRegistration {
    fn table_event_register(&mut self, table: &str, object: ObjectType) -> Result<(), Error> {
        if table.is_empty() {
            return Err(Error::invalid_parameter("table registration lacks a table"));
        }
        if self.scope == Scope::Local {
            return Ok(());
        }
        let registered = *self.tables.entry(table.to_owned()).or_insert(object);
        if registered != object {
            return Err(Error::forbidden(format!(
                "table {table} is registered for another object type"
            )));
        }
        Ok(())
    }

    fn update_ipam_config(&mut self, ipv4_data: &[IpamData]) {
        self.ipv4_data = Some(ipv4_data.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_driver_hears_of_the_tables_it_registers() {
        let mut info = NetworkRegistration::new(Scope::Global);
        info.table_event_register("peers", ObjectType::Endpoint).unwrap();
        info.table_event_register("peers", ObjectType::Endpoint).unwrap();
        assert!(info.table_event_register("peers", ObjectType::Opaque).is_err());
        assert!(info.table_event_register("", ObjectType::Opaque).is_err());
        assert_eq!(info.tables().get("peers"), Some(&ObjectType::Endpoint));
    }

    #[test]
    fn registrations_of_a_local_driver_are_ignored() {
        let mut info = NetworkRegistration::new(Scope::Local);
        info.table_event_register("peers", ObjectType::Endpoint).unwrap();
        assert!(info.tables().is_empty());
    }

    #[test]
    fn the_driver_may_choose_the_addresses() {
        let mut info = NetworkRegistration::new(Scope::Local);
        assert_eq!(info.ipv4_data(), None);
        info.update_ipam_config(&[]);
        assert_eq!(info.ipv4_data(), Some(&[][..]));
    }
}
