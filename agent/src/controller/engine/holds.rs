//! Networks that an engine has: this node stays attached to them without an endpoint.

use weft_api::control::ControlError;
use weft_api::{Definition, NetworkId, NodeId, Space, Write};

use crate::control::{Answer, NetworkRef};
use crate::controller::Controller;
use crate::controller::inventory::{AttachedFor, Hold};

impl Controller {
    /// Makes records durable that a way in keeps beside the controller's.
    pub(crate) async fn keep(&self, writes: impl IntoIterator<Item = Write>) -> Answer<()> {
        let writes: Vec<Write> = writes.into_iter().collect();
        self.core(move |core, _| core.persist(writes)).await
    }

    /// Reads the records whose keys begin so.
    pub(crate) async fn kept(&self, prefix: &'static [u8]) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        let records = self
            .core(|core, _| core.load(Space::Controller))
            .await?
            .map_err(|error| ControlError::internal(error.to_string()))?;
        Ok(records.into_iter().filter(|(key, _)| key.starts_with(prefix)).collect())
    }

    /// Returns the id of this node, which must be in a cluster.
    pub(crate) async fn node_id(&self) -> Answer<NodeId> {
        self.node(|node, _| node.id()).await
    }

    /// Returns a network as the engine has it.
    pub(crate) fn hold_of(&self, engine_network: &str) -> Option<Hold> {
        self.inventory().hold(engine_network).cloned()
    }

    /// Tells whether an engine on this host keeps this node attached to the network.
    pub(crate) fn is_held(&self, network: NetworkId) -> bool {
        self.inventory().is_held(network)
    }

    /// Attaches this node to a network for as long as the engine has it.
    pub(crate) async fn hold_network(&self, definition: &Definition, hold: Hold) -> Answer<()> {
        if self.leaving.is_under_way() {
            return Err(ControlError::unavailable("this node is leaving its cluster")
                .with_hint("make the network on another node"));
        }
        only_built_in(definition)?;
        let _turn = self.lock_network(definition.id).await;
        let write = hold.to_write();
        let engine_network = hold.engine_network.clone();
        let attached_for = hold.attached_for;
        // Known first: whoever stops using the network meanwhile must not detach this node.
        self.inventory().put_hold(hold);
        let held = async {
            if attached_for == AttachedFor::TheNetwork {
                self.use_network(definition).await?;
            }
            self.core(move |core, _| core.persist([write])).await
        };
        let outcome = held.await;
        if outcome.is_err() {
            self.inventory().remove_hold(&engine_network);
            self.stop_using(definition).await;
        }
        outcome
    }

    /// Ends a hold, and this node's part in the network with the last use of it. Returns the
    /// network; `None` when there was no hold.
    pub(crate) async fn release_hold(&self, engine_network: &str) -> Answer<Option<NetworkId>> {
        let Some(hold) = self.hold_of(engine_network) else { return Ok(None) };
        let network = hold.network;
        let _turn = self.lock_network(network).await;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        let removal = Hold::removal(engine_network);
        self.core(move |core, _| core.persist([removal])).await?;
        self.inventory().remove_hold(engine_network);
        self.stop_using_with(network, definition.as_ref()).await;
        Ok(Some(network))
    }

    /// Ends this host's holds of a network, and endpoints that are in no container: its engine
    /// forgot them, or could not tell of their end. Nothing ends while a container uses it.
    pub(in crate::controller) async fn forget_holds(&self, network: &NetworkRef) -> Answer<()> {
        let definition = self.definition(network).await?;
        for endpoint in self.engine_endpoints_apart() {
            if let (true, Some(engine)) = (endpoint.network == definition.id, &endpoint.engine) {
                self.end_endpoint_apart(&engine.engine_endpoint, |_| true).await?;
            }
        }
        if self.inventory().of(definition.id).next().is_some() {
            // The deletion is refused for them, in its own words.
            return Ok(());
        }
        let of = |hold: &&Hold| hold.network == definition.id;
        let engines: Vec<String> =
            self.inventory().holds().filter(of).map(|hold| hold.engine_network.clone()).collect();
        for engine_network in engines {
            tracing::warn!(network = %definition.id, engine_network, "the engine's part is ended");
            self.release_hold(&engine_network).await?;
        }
        Ok(())
    }

    /// Takes up the holds of an earlier start.
    pub(in crate::controller) async fn restore_holds(&self) -> Answer<()> {
        let holds: Vec<Hold> = self.inventory().holds().cloned().collect();
        for hold in holds {
            let network = hold.network;
            let definition =
                self.node(move |node, _| node.db().definition(network).cloned()).await?;
            let Some(definition) = definition else {
                tracing::info!(%network, engine_network = hold.engine_network, "it is deleted");
                self.inventory().remove_hold(&hold.engine_network);
                self.keep([Hold::removal(&hold.engine_network)]).await?;
                continue;
            };
            if hold.attached_for == AttachedFor::Endpoints {
                continue;
            }
            let _turn = self.lock_network(network).await;
            if let Err(error) = self.use_network(&definition).await {
                tracing::warn!(%network, %error, "network of an engine was not taken up");
            }
        }
        Ok(())
    }
}

/// An engine's network is the overlay's, with addresses of ours: what is a plugin's, the engine can
/// have of the plugin itself.
pub(crate) fn only_built_in(definition: &Definition) -> Answer<()> {
    let foreign = [
        ("network", &definition.driver, crate::overlay_driver::NETWORK_TYPE),
        ("IPAM", &definition.ipam, crate::ipam_driver::NAME),
    ];
    match foreign.into_iter().find(|(_, name, own)| name.as_str() != *own) {
        None => Ok(()),
        Some((what, name, _)) => Err(ControlError::forbidden(format!(
            "network `{}` is served by {what} driver `{name}`, and engines are not let in",
            definition.name
        ))
        .with_hint("attach containers with `weft attach`, or take another network")),
    }
}
