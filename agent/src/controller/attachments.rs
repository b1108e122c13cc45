//! Attachments: endpoints of CNI containers, found by configuration, container and interface.
//!
//! A runtime may repeat and break off what it asks, and may ask for the end of what it never heard
//! the beginning of. So whatever is done to one key takes turns; different keys do not wait for
//! each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::sync::OwnedMutexGuard;
use weft_api::control::{
    AttachmentAdd, AttachmentAddresses, AttachmentGc, AttachmentKey, AttachmentRef,
    AttachmentResource, AttachmentsGone, Bandwidth, ControlError, EndpointCreate, EndpointJoin,
    NetworkCreate,
};
use weft_api::{Definition, EndpointId};
use weft_overlay::netlink::Namespace;

mod arrivals;
mod detached;
mod faults;
mod status;

use super::Controller;
use super::endpoints::{Making, Unasked};
use super::inventory::{Container, Endpoint};
use super::sandboxes::{check_join, interfaces, open};
use crate::control::{Answer, ErrorKind, NetworkRef};
use crate::overlay_driver::options::{EGRESS_BURST, EGRESS_RATE, INGRESS_BURST, INGRESS_RATE};

/// Longest id of a container, in bytes.
const CONTAINER_BYTES_MAX: usize = 256;

impl Controller {
    /// Waits for the turn of the attachments with one key, whose-ever they are.
    pub(crate) async fn attachment_turn(&self, key: &AttachmentKey) -> OwnedMutexGuard<()> {
        self.locks.lock(format!("attachment/{}/{}", key.container_id, key.ifname)).await
    }

    pub(super) async fn add_attachment(
        &self,
        request: AttachmentAdd,
    ) -> Answer<AttachmentResource> {
        check_key(&request.key)?;
        let _turn = self.attachment_turn(&request.key).await;
        self.end_if_detached(&named_by(&request)).await?;
        self.add_attachment_in_turn(request).await
    }

    /// The caller has the attachment's turn.
    async fn add_attachment_in_turn(&self, request: AttachmentAdd) -> Answer<AttachmentResource> {
        let own = named_by(&request);
        let AttachmentAdd { network, key, configuration, netns, addresses, mac, bandwidth } =
            request;
        let namespace = open(&netns).map_err(of_request)?;
        self.make_way(&own, &namespace).await?;
        let join = EndpointJoin { netns, ifname: Some(key.ifname.clone()) };
        check_join(&join).await.map_err(of_request)?;
        let definition = self.network_for(network).await?;
        let (asked, ranges, unasked) = match addresses {
            AttachmentAddresses::Network { wanted, ranges } => (wanted, ranges, Unasked::Given),
            AttachmentAddresses::Given { addresses } => {
                let addresses = addresses.iter().map(ipnetwork::IpNetwork::ip).collect();
                (addresses, Vec::new(), Unasked::LeftOut)
            }
        };
        let container = Container { key, configuration, named: asked_by_name(&definition, &asked) };
        let options = bandwidth.map(limits).unwrap_or_default();
        let request = EndpointCreate { name: None, addresses: asked, mac, options };
        let making = Making { request, ranges, unasked, container: Some(container) };
        let endpoint = self.make_endpoint_in(&definition, making).await?;
        let joined = self.join_made(endpoint, join).await?;
        attachment_of(&joined)
            .ok_or_else(|| ControlError::internal("an attachment was made without its key"))
    }

    /// Ends what is left under a key of a container that is gone. An attachment that stands is a
    /// conflict: CNI has no second ADD without a DEL between.
    async fn make_way(&self, own: &AttachmentRef, namespace: &Namespace) -> Answer<()> {
        for there in self.attached(own) {
            if stands_in(&there, namespace).await? {
                return Err(ControlError::conflict(format!(
                    "container `{}` is attached to network `{}` as `{}` already",
                    own.key.container_id, there.network_name, own.key.ifname
                ))
                .with_hint("delete that attachment first"));
            }
            tracing::info!(endpoint = %there.id, "attachment of a container that is gone is ended");
            self.end_attached(there.id).await?;
        }
        Ok(())
    }

    /// Finds the network; makes it where there is none.
    async fn network_for(&self, request: NetworkCreate) -> Answer<Definition> {
        if let Some(known) = self.known_network(&request).await? {
            return Ok(known);
        }
        let _turn = self.locks.lock(format!("define/{}", request.name)).await;
        // Whoever had the turn before may have made it.
        if let Some(known) = self.known_network(&request).await? {
            return Ok(known);
        }
        let made = self.define_network(request).await?;
        self.definition(&NetworkRef::new(made.id.to_string())).await
    }

    /// Returns the network of that name that this node knows.
    async fn known_network(&self, request: &NetworkCreate) -> Answer<Option<Definition>> {
        let name = request.name.clone();
        let known = self.node(move |node, _| node.db().definition_by_name(&name).cloned()).await?;
        let Some(known) = known else { return Ok(None) };
        if let Err(what) = agree(&known, request) {
            return Err(ControlError::conflict(format!(
                "network `{}` exists already with another {what}",
                known.name
            ))
            .with_hint(format!(
                "`weft network inspect {}` shows it; take another name or agree",
                known.name
            )));
        }
        Ok(Some(known))
    }

    fn attached(&self, of: &AttachmentRef) -> Vec<Endpoint> {
        let inventory = self.inventory();
        let named = inventory.of_containers().filter(|(endpoint, container)| {
            of.names(&endpoint.network_name, &container.configuration, &container.key)
        });
        named.map(|(endpoint, _)| endpoint.clone()).collect()
    }

    async fn end_attached(&self, id: EndpointId) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{id}")).await;
        if self.current(id).is_err() {
            // It went with this node's membership.
            return Ok(());
        }
        self.keep_network(self.current(id)?.network).await;
        let endpoint = self.leave_in_memory(id, None).await?;
        self.end_endpoint(endpoint).await
    }

    /// Ends an attachment. Of one that is not there: nothing.
    pub(crate) async fn end_attachment(&self, of: &AttachmentRef) -> Answer<()> {
        let _turn = self.attachment_turn(&of.key).await;
        self.end_attachment_in_turn(of).await
    }

    /// The caller has the attachment's turn.
    pub(crate) async fn end_attachment_in_turn(&self, of: &AttachmentRef) -> Answer<()> {
        for there in self.attached(of) {
            self.end_attached(there.id).await?;
        }
        Ok(())
    }

    pub(super) fn list_attachments(&self, network: Option<String>) -> Vec<AttachmentResource> {
        let inventory = self.inventory();
        let wanted = |name: &str| network.as_ref().is_none_or(|network| network == name);
        let all = inventory.of_containers().filter(|(e, _)| wanted(&e.network_name));
        let mut found: Vec<_> = all.filter_map(|(endpoint, _)| attachment_of(endpoint)).collect();
        found.sort_by(|a, b| (&a.endpoint.network, &a.key).cmp(&(&b.endpoint.network, &b.key)));
        found
    }

    pub(super) async fn inspect_attachment(
        &self,
        of: &AttachmentRef,
    ) -> Answer<AttachmentResource> {
        let AttachmentRef { network, key, .. } = of;
        let absent = || {
            ControlError::not_found(format!(
                "container `{}` is not attached to network `{network}` as `{}`",
                key.container_id, key.ifname
            ))
        };
        let endpoint = self.attached(of).pop().ok_or_else(absent)?;
        let found = attachment_of(&endpoint).ok_or_else(absent)?;
        let faults = self.faults_of(&endpoint).await?;
        Ok(AttachmentResource { faults, ..found })
    }

    /// Ends the attachments of a configuration that its runtime does not name. What engines and
    /// people made is none.
    pub(super) async fn collect_attachments(
        &self,
        request: AttachmentGc,
    ) -> Answer<AttachmentsGone> {
        let valid: BTreeSet<&AttachmentKey> = request.valid.iter().collect();
        // A configuration may have had another network before; one without a name has only that.
        let named = !request.configuration.is_empty();
        let unused: Vec<(EndpointId, AttachmentKey)> = {
            let inventory = self.inventory();
            let all = inventory.of_containers();
            let own = all.filter(|(endpoint, container)| {
                container.configuration == request.configuration
                    && (named || endpoint.network_name == request.network)
                    && !valid.contains(&container.key)
            });
            own.map(|(endpoint, container)| (endpoint.id, container.key.clone())).collect()
        };
        let mut gone = AttachmentsGone::default();
        for (id, key) in unused {
            let _turn = self.attachment_turn(&key).await;
            // It may have ended meanwhile, and another have taken up its address and id.
            let is_it = self.inventory().get(id).is_some_and(|endpoint| {
                let container = endpoint.container.as_ref();
                container
                    .is_some_and(|of| of.key == key && of.configuration == request.configuration)
            });
            if !is_it {
                continue;
            }
            match self.end_attached(id).await {
                Ok(()) => gone.removed.push(key),
                Err(error) => gone.failed.push(format!(
                    "container `{}`, interface `{}`: {error}",
                    key.container_id, key.ifname
                )),
            }
        }
        Ok(gone)
    }
}

fn attachment_of(endpoint: &Endpoint) -> Option<AttachmentResource> {
    let key = endpoint.container.as_ref()?.key.clone();
    Some(AttachmentResource { key, endpoint: endpoint.resource(), faults: Vec::new() })
}

/// What is to be made, as the end of it will name it.
fn named_by(request: &AttachmentAdd) -> AttachmentRef {
    AttachmentRef {
        network: request.network.name.clone(),
        configuration: request.configuration.clone(),
        key: request.key.clone(),
    }
}

/// The addresses that linger for whoever names them again; a plugin's are its own affair.
fn asked_by_name(definition: &Definition, asked: &[IpAddr]) -> Vec<IpAddr> {
    let is_ours = definition.ipam == crate::ipam_driver::NAME;
    if is_ours { asked.to_vec() } else { Vec::new() }
}

/// Puts limits into the driver's options.
fn limits(bandwidth: Bandwidth) -> BTreeMap<String, String> {
    let Bandwidth { ingress_rate, ingress_burst, egress_rate, egress_burst } = bandwidth;
    let all = [
        (INGRESS_RATE, ingress_rate),
        (INGRESS_BURST, ingress_burst),
        (EGRESS_RATE, egress_rate),
        (EGRESS_BURST, egress_burst),
    ];
    let given = all.into_iter().filter(|(_, bits)| *bits > 0);
    given.map(|(label, bits)| (label.to_owned(), bits.to_string())).collect()
}

/// Tells whether an attachment is whole in this namespace. The MAC does not matter: a plugin
/// chained behind may have set another.
async fn stands_in(endpoint: &Endpoint, namespace: &Namespace) -> Answer<bool> {
    let Some(sandbox) = &endpoint.sandbox else { return Ok(false) };
    let same = Namespace::open(&sandbox.key).is_ok_and(|own| own.inode() == namespace.inode());
    Ok(same && interfaces(namespace).await?.contains(&sandbox.ifname))
}

/// What the request names and is not there is the request's fault.
fn of_request(error: ControlError) -> ControlError {
    match error.kind {
        ErrorKind::NotFound => ControlError { kind: ErrorKind::InvalidParameter, ..error },
        ErrorKind::Forbidden
        | ErrorKind::InvalidParameter
        | ErrorKind::Conflict
        | ErrorKind::NotImplemented
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Internal => error,
    }
}

/// Checks the container's id. What an interface may be called is the join's to say.
fn check_key(key: &AttachmentKey) -> Answer<()> {
    let id = &key.container_id;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && id.len() <= CONTAINER_BYTES_MAX && id.chars().all(fits) {
        return Ok(());
    }
    Err(ControlError::invalid(format!("`{id}` is no id of a container")).with_hint(format!(
        "use 1 to {CONTAINER_BYTES_MAX} letters, digits, `_`, `.` and `-`, and begin with a letter \
         or digit"
    )))
}

/// Compares what a request says about its network with the network there is; what it leaves out
/// agrees with anything.
///
/// # Errors
/// What differs, in one word.
fn agree(known: &Definition, request: &NetworkCreate) -> Result<(), &'static str> {
    let left_out = NetworkCreate::named(request.name.clone());
    let holds = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    let same = |asked: &str, default: &str, is: &str| asked == default || asked == is;
    holds(same(&request.driver, &left_out.driver, &known.driver), "driver")?;
    holds(same(&request.ipam, &left_out.ipam, &known.ipam), "IPAM driver")?;
    holds(!request.internal || known.internal, "way out")?;
    holds(request.mtu.is_none() || request.mtu == known.mtu, "MTU")?;
    let has_v6 = known.subnets.iter().any(|subnet| subnet.pool.is_ipv6());
    holds(!request.ipv6 || has_v6, "address family")?;
    for asked in &request.subnets {
        let subnet = known.subnets.iter().find(|subnet| subnet.pool == asked.pool);
        let subnet = subnet.ok_or("subnet")?;
        holds(asked.gateway.is_none() || asked.gateway == subnet.gateway, "gateway")?;
        holds(asked.range.is_none() || asked.range == subnet.range, "range")?;
        let aside = |(name, address)| subnet.auxiliary.get(name) == Some(address);
        holds(asked.auxiliary.iter().all(aside), "auxiliary address")?;
    }
    let has = |(key, value)| known.options.get(key) == Some(value);
    holds(request.options.iter().all(has), "option")
}

#[cfg(test)]
mod tests;
