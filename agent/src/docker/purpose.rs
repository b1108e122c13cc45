//! What an address is requested for: an engine does not say it outright.

use std::collections::BTreeMap;

use weft_api::Mac;
use weft_api::control::ControlError;
use weft_api::ipam::{ALLOC_SERIAL_PREFIX, GATEWAY, REQUEST_ADDRESS_TYPE};

use super::pool_id::AddressSpace;
use crate::control::Answer;
use crate::ipam_driver::MAC_ADDRESS;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The network's gateway.
    Gateway,
    /// An endpoint on this node.
    Endpoint(Option<Mac>),
    /// A task or virtual address of a Swarm, wherever it runs.
    Swarm,
    /// Set aside by the engine's user.
    Auxiliary,
}

/// Whether a request names the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Yes,
    No,
}

/// Infers the purpose from space, options and form of a request.
pub(super) fn infer(
    space: AddressSpace,
    options: &BTreeMap<String, String>,
    named: Named,
) -> Answer<Purpose> {
    if options.get(REQUEST_ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY) {
        return Ok(Purpose::Gateway);
    }
    if let Some(text) = options.get(MAC_ADDRESS).filter(|text| !text.is_empty()) {
        let mac: Mac = text.parse().map_err(|_| {
            ControlError::invalid(format!("`{text}` is not the MAC address of an interface"))
        })?;
        return Ok(Purpose::Endpoint(Some(mac)));
    }
    Ok(match (space, named) {
        (AddressSpace::Global, Named::Yes | Named::No) => Purpose::Swarm,
        (AddressSpace::Local, Named::Yes) => Purpose::Auxiliary,
        // Engines send the MAC, since the driver says that it needs it; others may not.
        (AddressSpace::Local, Named::No) => Purpose::Endpoint(None),
    })
}

/// Tells whether addresses are to follow the last one given out, as a Swarm's leader wants it.
pub(super) fn is_serial(options: &BTreeMap<String, String>) -> bool {
    options.get(ALLOC_SERIAL_PREFIX).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recorded_form_has_one_purpose() {
        use AddressSpace::{Global, Local};
        let mac: Mac = "02:42:1c:32:34:28".parse().unwrap();
        let gateway = (REQUEST_ADDRESS_TYPE, GATEWAY);
        let serial = (ALLOC_SERIAL_PREFIX, "true");
        let with_mac = (MAC_ADDRESS, "02:42:1c:32:34:28");
        let table = [
            (Local, vec![gateway], Named::No, Purpose::Gateway),
            (Global, vec![gateway, serial, ("io", "1")], Named::Yes, Purpose::Gateway),
            (Local, vec![with_mac], Named::Yes, Purpose::Endpoint(Some(mac))),
            (Local, vec![with_mac], Named::No, Purpose::Endpoint(Some(mac))),
            (Local, vec![], Named::Yes, Purpose::Auxiliary),
            (Local, vec![], Named::No, Purpose::Endpoint(None)),
            (Global, vec![serial, ("io", "1")], Named::No, Purpose::Swarm),
            (Global, vec![serial], Named::Yes, Purpose::Swarm),
        ];
        for (space, options, named, purpose) in table {
            let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(infer(space, &options, named).unwrap(), purpose, "{options:?}");
        }
    }

    #[test]
    fn a_malformed_mac_is_refused() {
        let options = BTreeMap::from([(MAC_ADDRESS.to_owned(), "02:42".to_owned())]);
        assert!(infer(AddressSpace::Local, &options, Named::No).is_err());
    }
}
