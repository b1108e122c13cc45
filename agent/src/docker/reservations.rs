//! Pools: which network's it is, or a new one kept until its network is made.

use ipnetwork::IpNetwork;
use weft_api::control::{ControlError, NetworkCreate, SubnetRequest};
use weft_api::{Definition, Write};
use weft_ipam::BlockWant;

use super::Plugin;
use super::agreement::{DOCKER, MADE_BY, is_dockers, swarms_id};
use super::books::{Insist, Origin, Reservation};
use crate::control::Answer;
use crate::controller::engine::now_s;
use crate::controller::engine::only_built_in;
use crate::controller::engine::validate_subnet;
use crate::doctor::overlap;
use crate::overlay_driver::options::VXLAN_IDS;

/// Attempts to settle on a network that others make or delete at the same time.
const ATTEMPTS: u32 = 5;

/// A pool that is asked for.
#[derive(Debug, Clone)]
pub(super) struct PoolWanted {
    /// The cluster's network.
    pub(super) network: Option<String>,
    pub(super) pool: Option<IpNetwork>,
    pub(super) v6: bool,
    /// A Swarm's leader asks.
    pub(super) swarm: bool,
}

impl Plugin {
    /// Finds or takes a pool. The caller holds `pools`.
    pub(super) async fn take_pool(&self, wanted: &PoolWanted) -> Answer<IpNetwork> {
        if let Some(pool) = wanted.pool {
            validate_subnet(&SubnetRequest::of(pool))?;
        }
        // Default pools avoid the routes of all hosts; this one's may have changed just now.
        self.controller.publish_host_routes().await;
        let (pool, origin) = match (&wanted.network, wanted.pool) {
            (Some(name), _) => {
                (self.pool_of_named(name, wanted).await?, Origin::Named(name.clone()))
            }
            (None, Some(pool)) => (pool, self.origin_of(pool).await?),
            (None, None) => (self.default_pool(wanted.v6).await?, Origin::Default),
        };
        let known = self.books().reservation(pool).is_some_and(|known| known.origin == origin);
        if !known {
            let since_s = now_s();
            let gateway = None;
            let swarm = wanted.swarm;
            self.keep_reservation(Reservation { pool, origin, gateway, since_s, swarm }).await?;
        }
        Ok(pool)
    }

    pub(super) async fn keep_reservation(&self, reservation: Reservation) -> Answer<()> {
        let write = self.books().reserve(reservation);
        self.controller.keep([write]).await?;
        self.shared_chores.notify_one();
        Ok(())
    }

    /// Strikes a reservation out of the books: its network is made, or will not be.
    pub(super) async fn end_reservation(&self, pool: IpNetwork) -> Answer<Option<Reservation>> {
        let Some((reservation, write)) = self.books().unreserve(pool) else { return Ok(None) };
        self.controller.keep([write]).await?;
        Ok(Some(reservation))
    }

    /// Gives up a pool whose network is not made: what was taken for it goes back.
    pub(super) async fn give_up_pool(&self, pool: IpNetwork) -> Answer<()> {
        let Some(reservation) = self.end_reservation(pool).await? else { return Ok(()) };
        match reservation.origin {
            Origin::Default => {
                if self.controller.definition_with(pool).await?.is_none() {
                    self.controller.return_pool(pool).await?;
                }
            }
            Origin::Named(name) => {
                if let Some(definition) = self.controller.definition_named(&name).await?
                    && is_dockers(&definition)
                    // Whether a node's creation failed is nothing to the Swarm.
                    && swarms_id(&definition).is_none()
                    && !self.controller.is_held(definition.id)
                {
                    self.retire(definition.id, Insist::Briefly).await?;
                }
            }
            Origin::Found(_) | Origin::Asked => {}
        }
        Ok(())
    }

    /// Notes a network to be deleted as soon as nobody uses it.
    pub(super) async fn retire(&self, network: weft_api::NetworkId, insist: Insist) -> Answer<()> {
        let write: Write = self.books().retire(network, insist);
        self.controller.keep([write]).await?;
        self.shared_chores.notify_one();
        Ok(())
    }

    /// The subnet of a network, which is made where there is none of that name.
    async fn pool_of_named(&self, name: &str, wanted: &PoolWanted) -> Answer<IpNetwork> {
        for _ in 0..ATTEMPTS {
            let definition = match self.controller.definition_named(name).await? {
                Some(definition) => definition,
                None => {
                    let request = self.first_request(name, wanted).await?;
                    match self.controller.get_or_create(request).await {
                        Ok(definition) => definition,
                        // Another engine was quicker, with another shape: it is looked at anew.
                        Err(error) if error.kind == crate::control::ErrorKind::Conflict => continue,
                        Err(error) => return Err(error),
                    }
                }
            };
            let of_family = |pool: &IpNetwork| pool.is_ipv6() == wanted.v6;
            let mut pools = definition.subnets.iter().map(|subnet| subnet.pool).filter(of_family);
            let found = match wanted.pool {
                Some(pool) => pools.find(|theirs| *theirs == pool),
                None => pools.next(),
            };
            if let Some(pool) = found {
                return self.offered(pool, &definition, wanted).await;
            }
            let grown = self.grown_request(&definition, wanted).await?;
            if !self.replace(&definition, None).await? {
                return Err(no_such_subnet(&definition, wanted));
            }
            match self.controller.get_or_create(grown).await {
                Ok(_) => {}
                Err(error) if error.kind == crate::control::ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(ControlError::unavailable(format!("network `{name}` changes all the time"))
            .with_hint("try again in a moment"))
    }

    /// An engine refuses a pool that overlaps a route of its host, and asks again without end;
    /// one its user named it takes.
    async fn offered(
        &self,
        pool: IpNetwork,
        definition: &Definition,
        wanted: &PoolWanted,
    ) -> Answer<IpNetwork> {
        only_built_in(definition)?;
        if wanted.pool.is_some() || wanted.swarm {
            return Ok(pool);
        }
        let routes = crate::host_routes::read().await;
        match routes.into_iter().find(|route| overlap(*route, pool)) {
            None => Ok(pool),
            Some(route) => Err(ControlError::conflict(format!(
                "subnet `{pool}` of network `{}` overlaps `{route}`, a route or name server of \
                 this host",
                definition.name
            ))
            .with_hint(format!("give `--subnet {pool}` to take it all the same"))),
        }
    }

    /// What makes a network of this name.
    async fn first_request(&self, name: &str, wanted: &PoolWanted) -> Answer<NetworkCreate> {
        let mut request = NetworkCreate::named(name);
        request.options.insert(MADE_BY.to_owned(), DOCKER.to_owned());
        match wanted.pool {
            Some(pool) => request.subnets.push(SubnetRequest::of(pool)),
            None if wanted.v6 => {
                let pool = self.default_pool(true).await?;
                request.subnets.push(SubnetRequest::of(pool));
            }
            // The definition takes a block by itself, and joins another's of the same name.
            None => {}
        }
        Ok(request)
    }

    /// What makes the network anew with one subnet more.
    async fn grown_request(
        &self,
        definition: &Definition,
        wanted: &PoolWanted,
    ) -> Answer<NetworkCreate> {
        let has_family = definition.subnets.iter().any(|s| s.pool.is_ipv6() == wanted.v6);
        if has_family || !is_dockers(definition) {
            return Err(no_such_subnet(definition, wanted));
        }
        let mut request = request_of(definition);
        let pool = match wanted.pool {
            Some(pool) => pool,
            None => self.default_pool(wanted.v6).await?,
        };
        request.subnets.push(SubnetRequest::of(pool));
        Ok(request)
    }

    /// Deletes a network that was made for engines and that nobody has come to use, so that it
    /// can be made in another shape; `false` when it is in use or not an engine's. Of a Swarm's,
    /// nodes come and go: only for the Swarm's network of that id, `swarm`, is it made anew.
    pub(super) async fn replace(
        &self,
        definition: &Definition,
        swarm: Option<&str>,
    ) -> Answer<bool> {
        let is_anothers = swarms_id(definition).is_some_and(|theirs| Some(theirs) != swarm);
        if !is_dockers(definition) || is_anothers || self.controller.is_held(definition.id) {
            return Ok(false);
        }
        if !self.controller.attached_members(definition.id).await?.is_empty() {
            return Ok(false);
        }
        self.controller.retire_network(definition.id).await
    }

    /// Where a pool given with `--subnet` comes from.
    async fn origin_of(&self, pool: IpNetwork) -> Answer<Origin> {
        let definitions = self.controller.definitions().await?;
        for definition in &definitions {
            for subnet in &definition.subnets {
                if subnet.pool == pool {
                    return Ok(Origin::Found(definition.name.clone()));
                }
            }
        }
        let overlapping = definitions.iter().find_map(|definition| {
            let subnet = definition.subnets.iter().find(|s| overlap(s.pool, pool))?;
            Some((definition.name.clone(), subnet.pool))
        });
        match overlapping {
            None => Ok(Origin::Asked),
            Some((name, theirs)) => Err(ControlError::forbidden(format!(
                "Pool overlaps with other one on this address space: `{pool}` and `{theirs}` of \
                 network `{name}`"
            ))
            .with_hint(format!(
                "to join that network give --ipam-opt network={name}; `weft network ls` shows \
                 the pools in use"
            ))),
        }
    }

    async fn default_pool(&self, v6: bool) -> Answer<IpNetwork> {
        let want = if v6 { BlockWant::Default6 } else { BlockWant::Default4 };
        let avoid = self.books().reservations().map(|reservation| reservation.pool).collect();
        self.controller.reserve_pool(want, avoid).await
    }
}

/// The request that makes a network like this one.
pub(super) fn request_of(definition: &Definition) -> NetworkCreate {
    let subnets = definition.subnets.iter().map(|subnet| SubnetRequest {
        pool: subnet.pool,
        gateway: subnet.gateway,
        range: subnet.range,
        auxiliary: subnet.auxiliary.clone(),
    });
    let mut options = definition.options.clone();
    // VNIs are never used again.
    options.remove(VXLAN_IDS);
    NetworkCreate {
        subnets: subnets.collect(),
        internal: definition.internal,
        mtu: definition.mtu,
        options,
        ..NetworkCreate::named(definition.name.clone())
    }
}

fn no_such_subnet(definition: &Definition, wanted: &PoolWanted) -> ControlError {
    let name = &definition.name;
    let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
    let what = match (wanted.pool, wanted.v6) {
        (Some(pool), _) => format!("no subnet `{pool}`"),
        (None, true) => "no IPv6 subnet".to_owned(),
        (None, false) => "no IPv4 subnet".to_owned(),
    };
    ControlError::conflict(format!("network `{name}` exists and has {what}"))
        .with_hint(format!("its subnets are {}; agree, or take another name", pools.join(", ")))
}
