//! Networks of the cluster, as calls of engines look for them.

use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_api::control::NetworkCreate;
use weft_api::{Definition, NetworkId, NodeId};
use weft_ipam::{Block, BlockWant, Fate, Granted, Purpose, Request, Space, Want};
use weft_networkdb::MemberState;

use crate::control::{Answer, ErrorKind, NetworkRef};
use crate::controller::{Controller, no_cluster};

/// Members that take part in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TakingPart {
    /// Those that run, as far as this node knows.
    pub(crate) here: Vec<String>,
    /// Those that do not: their part stays until they are back.
    pub(crate) away: Vec<String>,
}

impl Controller {
    /// Lists the networks in force.
    pub(crate) async fn definitions(&self) -> Answer<Vec<Definition>> {
        self.node(|node, _| node.db().definitions().cloned().collect()).await
    }

    /// Finds a network by its id.
    pub(crate) async fn definition_of(&self, network: NetworkId) -> Answer<Option<Definition>> {
        self.node(move |node, _| node.db().definition(network).cloned()).await
    }

    /// Finds a network by its name.
    pub(crate) async fn definition_named(&self, name: &str) -> Answer<Option<Definition>> {
        let name = name.to_owned();
        self.node(move |node, _| node.db().definition_by_name(&name).cloned()).await
    }

    /// Finds the network that has exactly this subnet. Two have it where two halves of the cluster
    /// met: then the one that this host's engine has goes first.
    pub(crate) async fn definition_with(&self, pool: IpNetwork) -> Answer<Option<Definition>> {
        let held: Vec<NetworkId> = self.inventory().holds().map(|hold| hold.network).collect();
        self.node(move |node, _| {
            let has = |d: &&Definition| d.subnets.iter().any(|subnet| subnet.pool == pool);
            let definitions = node.db().definitions().filter(has);
            definitions.max_by_key(|definition| held.contains(&definition.id)).cloned()
        })
        .await
    }

    /// Finds a network, and waits for it where it was defined elsewhere a moment ago.
    pub(crate) async fn awaited(
        &self,
        patience: Duration,
        find: impl Fn(&Definition) -> bool + Send + Sync + Clone + 'static,
    ) -> Answer<Option<Definition>> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            // Listening starts before the look, so that what comes between is not missed.
            let defined = self.defined.notified();
            let look = find.clone();
            let found = self
                .node(move |node, _| node.db().definitions().find(|d| look(d)).cloned())
                .await?;
            if found.is_some() || tokio::time::timeout_at(deadline, defined).await.is_err() {
                return Ok(found);
            }
        }
    }

    /// Makes a network, or joins the one of that name that agrees.
    pub(crate) async fn get_or_create(&self, request: NetworkCreate) -> Answer<Definition> {
        let made = self.define_network(request).await?;
        self.definition(&NetworkRef::new(made.id.to_string())).await
    }

    /// Tells which members take part in a network, this one included.
    pub(crate) async fn attached_members(&self, network: NetworkId) -> Answer<Vec<NodeId>> {
        self.node(move |node, _| node.db().attached(network).into_iter().collect()).await
    }

    /// Tells by name which members take part in a network, this one included.
    pub(crate) async fn taking_part(&self, network: NetworkId) -> Answer<TakingPart> {
        self.node(move |node, _| {
            let mut part = TakingPart::default();
            for id in node.db().attached(network) {
                let member = node.db().member(id);
                let name = member.map_or_else(|| id.short(), |member| member.name.clone());
                match member.map(|member| member.state) {
                    Some(MemberState::Alive | MemberState::Suspect) => part.here.push(name),
                    Some(MemberState::Failed | MemberState::Left | MemberState::Forgotten)
                    | None => part.away.push(name),
                }
            }
            part
        })
        .await
    }

    /// Deletes a network that nothing uses; `false` when it is in use, here or elsewhere.
    pub(crate) async fn retire_network(&self, network: NetworkId) -> Answer<bool> {
        if self.inventory().in_use(network) {
            return Ok(false);
        }
        match self.undefine_network(&NetworkRef::new(network.to_string())).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind == ErrorKind::Forbidden => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a block of the default pools that overlaps none of `avoid` and no host's routes.
    pub(crate) async fn reserve_pool(
        &self,
        want: BlockWant,
        avoid: Vec<IpNetwork>,
    ) -> Answer<IpNetwork> {
        let granted = self
            .core
            .call_later(move |core, answer, now| {
                let mut avoid = avoid;
                avoid.extend(core.node().map(crate::host_routes::of_all).unwrap_or_default());
                core.take_block(want, &avoid, answer, now);
            })
            .await
            .map_err(|_| no_cluster())?;
        match granted {
            Ok(Granted::Block(Block::Pool(pool))) => Ok(pool),
            Ok(Granted::Block(Block::Vni(_)) | Granted::Address(_)) => {
                Err(weft_api::control::ControlError::internal("asked for a pool and got another"))
            }
            Err(error) => Err(weft_api::control::ControlError::unavailable(error.to_string())
                .with_hint("name a subnet with --subnet, or see `weft ipam ls`")),
        }
    }

    /// Gives a block back that no network came to use.
    pub(crate) async fn return_pool(&self, pool: IpNetwork) -> Answer<()> {
        self.node(move |node, now| {
            node.with_ipam(now, |ipam| ipam.return_block(Block::Pool(pool), Fate::Unused, now));
        })
        .await
    }

    /// Allocates an address that no endpoint has.
    pub(crate) async fn allocate_held(
        &self,
        network: NetworkId,
        pool: IpNetwork,
        want: Want,
        within: Option<IpNetwork>,
        purpose: Purpose,
    ) -> Answer<IpNetwork> {
        let request = Request { space: Space::Subnet { network, pool }, want, within, purpose };
        let granted = self
            .core
            .call_later(move |core, answer, now| core.request(request, answer, now))
            .await
            .map_err(|_| no_cluster())?;
        match granted {
            Ok(Granted::Address(address)) => Ok(address),
            Ok(Granted::Block(_)) => {
                Err(weft_api::control::ControlError::internal("asked for an address, got a block"))
            }
            Err(error) => Err(super::super::ipam_error(crate::ipam_driver::ipam_error(error))),
        }
    }

    /// Lists the addresses of a pool that are held for a purpose.
    pub(crate) async fn held_for(
        &self,
        network: NetworkId,
        pool: IpNetwork,
        purpose: &Purpose,
    ) -> Answer<Vec<std::net::IpAddr>> {
        let held = self.allocations(network, pool).await?;
        Ok(held.into_iter().filter(|(_, one)| one == purpose).map(|(address, _)| address).collect())
    }

    /// Lists the addresses of a pool that are set aside, each under its own text.
    pub(crate) async fn set_aside(
        &self,
        network: NetworkId,
        pool: IpNetwork,
    ) -> Answer<Vec<std::net::IpAddr>> {
        let held = self.allocations(network, pool).await?;
        let under_own_text = held.into_iter().filter_map(|(address, purpose)| match purpose {
            Purpose::Auxiliary(text) => (text == address.to_string()).then_some(address),
            Purpose::Endpoint(_) | Purpose::Gateway | Purpose::Swarm => None,
        });
        Ok(under_own_text.collect())
    }

    async fn allocations(
        &self,
        network: NetworkId,
        pool: IpNetwork,
    ) -> Answer<Vec<(std::net::IpAddr, Purpose)>> {
        let space = Space::Subnet { network, pool };
        self.node(move |node, _| node.ipam().allocations(space)).await
    }

    /// Releases an address that no endpoint has, if it is held for this purpose.
    pub(crate) async fn release_held(
        &self,
        network: NetworkId,
        pool: IpNetwork,
        address: std::net::IpAddr,
        purpose: Purpose,
    ) -> Answer<()> {
        let space = Space::Subnet { network, pool };
        self.node(move |node, now| {
            node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
        })
        .await
    }
}
