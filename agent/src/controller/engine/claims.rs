//! Addresses an engine asks for ahead of their endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use weft_api::control::ControlError;
use weft_api::{Definition, EndpointId, Mac, NetworkId, Subnet};
use weft_ipam::{Ipam, Purpose, Space};
use weft_networkdb::MemberState;
use weft_overlay::{PEER_TABLE, PeerRecord};

use crate::control::Answer;
use crate::controller::inventory::{AllocatedBy, Choice, Claim, Endpoint, Standing};
use crate::controller::{Controller, ipam_error};
use crate::ipam_driver::{ENDPOINT, RANGE};

/// How long an endpoint waits for a network's table to come; an exchange that is not answered is
/// given up before.
const HEARING_MAX: Duration = Duration::from_secs(1);
/// How long an address that was asked for by name stays for whoever names it again, in seconds. A
/// container that is restarted takes a few; whoever wants it on another host waits for it.
pub(crate) const LINGERING_S_MAX: u64 = 30;
/// Pause after an attempt to give addresses back that failed.
const EXPIRY_RETRY: Duration = Duration::from_secs(30);
/// How often it looks whether it came.
const HEARING_LOOK: Duration = Duration::from_millis(2);

/// Which address is wanted.
#[derive(Debug, Clone)]
pub(crate) struct AddressWanted {
    /// Its network.
    pub(crate) definition: Definition,
    /// The pool of that network.
    pub(crate) pool: IpNetwork,
    /// This one, or any.
    pub(crate) address: Option<IpAddr>,
    /// Sub-pool that any address is taken from.
    pub(crate) within: Option<IpNetwork>,
    /// The interface's MAC.
    pub(crate) mac: Option<Mac>,
    /// Who allocates it.
    pub(crate) by: AllocatedBy,
}

impl Controller {
    /// Takes an address for an endpoint to come. A request repeated before that endpoint is made,
    /// which the MAC tells, gets the same address.
    pub(crate) async fn claim_address(&self, wanted: AddressWanted) -> Answer<IpNetwork> {
        let network = wanted.definition.id;
        let key = wanted.mac.map_or_else(String::new, |mac| mac.to_string());
        let _turn = self.locks.lock(format!("claim/{network}/{key}")).await;
        let _address = match wanted.address {
            Some(address) => Some(self.lock_address(network, address).await),
            None => None,
        };
        let earlier: Vec<Claim> = match wanted.mac {
            None => Vec::new(),
            Some(mac) => {
                let of = |claim: &&Claim| claim.network == network && claim.mac == Some(mac);
                self.inventory().claims().filter(of).cloned().collect()
            }
        };
        for claim in &earlier {
            let same = wanted.pool.contains(claim.address.ip())
                && wanted.address.is_none_or(|address| address == claim.address.ip());
            if same && self.renew(claim, wanted.address).await? {
                return Ok(claim.address);
            }
        }
        let endpoint = match earlier.first() {
            Some(claim) => claim.endpoint,
            None => fresh_endpoint()?,
        };
        if let Some(address) = wanted.address
            && let Some(claim) = self.take_over(&wanted, address, endpoint).await?
        {
            return Ok(claim.address);
        }
        self.claim_for(wanted, endpoint).await.map(|claim| claim.address)
    }

    /// Lets a claim wait anew, since it is asked for again; `false` when it is there no more. The
    /// caller holds the lock of `locked`.
    async fn renew(&self, claim: &Claim, locked: Option<IpAddr>) -> Answer<bool> {
        let (network, address) = (claim.network, claim.address.ip());
        let _turn = match locked {
            Some(_) => None,
            None => Some(self.lock_address(network, address).await),
        };
        if self.inventory().claim(network, address) != Some(claim) {
            return Ok(false);
        }
        self.keep_claim(Claim { since_s: now_s(), ..claim.clone() }).await.map(|_| true)
    }

    /// Takes an address for an endpoint of this id.
    pub(super) async fn claim_for(
        &self,
        wanted: AddressWanted,
        endpoint: EndpointId,
    ) -> Answer<Claim> {
        let network = wanted.definition.id;
        let address = match wanted.by {
            AllocatedBy::ThisNode => self.allocate_claim(&wanted, endpoint).await?,
            AllocatedBy::SwarmLeader => self.borrow(&wanted).await?,
        };
        let claim = Claim {
            endpoint,
            network,
            address,
            mac: wanted.mac,
            by: wanted.by,
            since_s: now_s(),
            choice: wanted.address.map_or(Choice::Any, |_| Choice::Named),
            standing: Standing::Waiting,
        };
        self.keep_claim(claim).await
    }

    async fn keep_claim(&self, claim: Claim) -> Answer<Claim> {
        let write = claim.to_write();
        self.inventory().put_claim(claim.clone());
        self.core(move |core, _| core.persist([write])).await?;
        self.engines.notify_one();
        Ok(claim)
    }

    /// Takes over an address that was named before and that no endpoint has: it lingers, or the
    /// call it was named for broke off. It becomes that of `endpoint`, so that what is left of the
    /// other one does not meet it. The caller holds the address's lock.
    async fn take_over(
        &self,
        wanted: &AddressWanted,
        address: IpAddr,
        endpoint: EndpointId,
    ) -> Answer<Option<Claim>> {
        let network = wanted.definition.id;
        let named = self
            .inventory()
            .claim(network, address)
            // One that was given as any is that endpoint's, which would not know why it lost it.
            .filter(|claim| claim.choice == Choice::Named && claim.by == wanted.by)
            .cloned();
        let Some(claim) = named else { return Ok(None) };
        let (mac, standing, since_s) = (wanted.mac, Standing::Waiting, now_s());
        self.rebind(Claim { mac, standing, since_s, ..claim }, endpoint).await
    }

    /// Makes a claim that of another endpoint to come; `None` when that has an address of the
    /// subnet already, and nothing has changed then. The caller holds the address's lock.
    pub(super) async fn rebind(&self, claim: Claim, endpoint: EndpointId) -> Answer<Option<Claim>> {
        let (network, address, by, from) =
            (claim.network, claim.address.ip(), claim.by, claim.endpoint);
        let claim = Claim { endpoint, ..claim };
        let write = claim.to_write();
        let rebound = self
            .core(move |core, now| {
                let is_bound = match by {
                    // Bound to no endpoint's id.
                    AllocatedBy::SwarmLeader => true,
                    AllocatedBy::ThisNode => core.node_mut().is_some_and(|node| {
                        let space = space_of(node.db().definition(network), network, address);
                        let rebind =
                            |ipam: &mut Ipam, space| ipam.rebind(space, address, from, endpoint);
                        space.is_some_and(|space| node.with_ipam(now, |ipam| rebind(ipam, space)))
                    }),
                };
                if is_bound {
                    core.persist([write]);
                }
                is_bound
            })
            .await?;
        if !rebound {
            return Ok(None);
        }
        self.inventory().put_claim(claim.clone());
        self.engines.notify_one();
        Ok(Some(claim))
    }

    /// Held from the look at an address's claim to what comes of it: an endpoint that takes its
    /// place, somebody else's claim, or its end.
    pub(in crate::controller) async fn lock_address(
        &self,
        network: NetworkId,
        address: IpAddr,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        self.locks.lock(format!("address/{network}/{address}")).await
    }

    /// Lets an address go that no endpoint took. One that was asked for by name lingers, so that
    /// whoever names it again here has it at once.
    pub(crate) async fn let_go(&self, network: NetworkId, address: IpAddr) -> Answer<()> {
        let _turn = self.lock_address(network, address).await;
        let Some(claim) = self.inventory().claim(network, address).cloned() else { return Ok(()) };
        match (claim.standing, claim.choice, claim.by) {
            (Standing::Lingering, ..) => Ok(()),
            // Whoever let it go may be another than the one who named it last and still comes.
            (Standing::Waiting, Choice::Named, _) => {
                self.keep_claim(lingering(claim)).await.map(drop)
            }
            (Standing::Waiting, Choice::Any, _) => self.drop_claim(network, address).await,
        }
    }

    /// The claims an endpoint leaves behind.
    pub(in crate::controller) fn claims_left(endpoint: &Endpoint) -> Vec<Claim> {
        let named = |address: &IpNetwork| endpoint.named().contains(&address.ip());
        let addresses = endpoint.address.into_iter().chain(endpoint.address_ipv6).filter(named);
        let claims = addresses.map(|address| Claim {
            endpoint: endpoint.id,
            network: endpoint.network,
            address,
            mac: None,
            by: AllocatedBy::ThisNode,
            since_s: now_s(),
            choice: Choice::Named,
            standing: Standing::Lingering,
        });
        claims.collect()
    }

    async fn allocate_claim(
        &self,
        wanted: &AddressWanted,
        endpoint: EndpointId,
    ) -> Answer<IpNetwork> {
        let definition = &wanted.definition;
        let subnet = subnet_of(definition, wanted.pool)?;
        let ipam = self.ipam_of(definition).await?.driver;
        let mut options = BTreeMap::from([(ENDPOINT.to_owned(), endpoint.to_string())]);
        if let Some(within) = wanted.within.or(subnet.range) {
            options.insert(RANGE.to_owned(), within.to_string());
        }
        let pool = self.pool_id(definition, subnet);
        match ipam.request_address(&pool, wanted.address, &options).await {
            Ok((address, _)) => Ok(address),
            Err(error) => {
                let mut refused = ipam_error(error);
                let subject = match wanted.address {
                    Some(address) => {
                        format!("address `{address}` of network `{}`", definition.name)
                    }
                    None => format!("network `{}`", definition.name),
                };
                refused.error = format!("{subject}: {}", refused.error);
                Err(refused)
            }
        }
    }

    /// Takes an address that a Swarm's leader allocated: it is this node's unless another holds it.
    async fn borrow(&self, wanted: &AddressWanted) -> Answer<IpNetwork> {
        let definition = &wanted.definition;
        let subnet = subnet_of(definition, wanted.pool)?;
        let address = wanted.address.ok_or_else(|| {
            ControlError::invalid("an address of a Swarm's leader has to be named")
        })?;
        let full = IpNetwork::new(address, subnet.pool.prefix())
            .ok()
            .filter(|_| subnet.pool.contains(address))
            .ok_or_else(|| {
                ControlError::invalid(format!(
                    "address `{address}` is not in subnet `{}`",
                    subnet.pool
                ))
            })?;
        let network = definition.id;
        let here = {
            let inventory = self.inventory();
            let has = |one: Option<IpNetwork>| one.is_some_and(|one| one.ip() == address);
            inventory.of(network).any(|e| has(e.address) || has(e.address_ipv6))
                || inventory.claim(network, address).is_some()
        };
        let elsewhere = self.node(move |node, _| live_holder(node, network, address)).await?;
        match elsewhere.or_else(|| here.then(|| "this node".to_owned())) {
            Some(holder) => Err(in_use(definition, address, &holder)),
            None => Ok(full),
        }
    }

    /// Refuses addresses of a Swarm's leader that endpoints elsewhere have. This node takes part in
    /// the network by now, and knows who has what; before its first endpoint it does not.
    pub(super) async fn check_borrowed(
        &self,
        definition: &Definition,
        addresses: &[IpAddr],
    ) -> Answer<()> {
        if addresses.is_empty() {
            return Ok(());
        }
        let network = definition.id;
        let deadline = tokio::time::Instant::now() + HEARING_MAX;
        while self.node(move |node, now| node.db().is_fetching(network, now)).await?
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(HEARING_LOOK).await;
        }
        for address in addresses.iter().copied() {
            let holder = self.node(move |node, _| live_holder(node, network, address)).await?;
            if let Some(holder) = holder {
                return Err(in_use(definition, address, &holder));
            }
        }
        Ok(())
    }

    /// Gives an address back that no endpoint took; one of a Swarm's leader is only unbound. Of one
    /// that is not claimed: nothing. The caller holds the address's lock.
    pub(crate) async fn drop_claim(&self, network: NetworkId, address: IpAddr) -> Answer<()> {
        let Some(claim) = self.inventory().claim(network, address).cloned() else { return Ok(()) };
        let removal = claim.removal();
        self.core(move |core, now| {
            core.persist([removal]);
            let AllocatedBy::ThisNode = claim.by else { return };
            let Some(node) = core.node_mut() else { return };
            let Some(space) = space_of(node.db().definition(network), network, address) else {
                return;
            };
            let purpose = Purpose::Endpoint(claim.endpoint);
            node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
        })
        .await?;
        self.inventory().remove_claim(network, address);
        Ok(())
    }

    /// Gives back what no endpoint took, when it has waited for `waiting_s_max` or lingered for
    /// `lingering_s_max` seconds, or when its network is gone. Returns how many seconds the next
    /// one has left.
    pub(crate) async fn expire_claims(
        &self,
        waiting_s_max: u64,
        lingering_s_max: u64,
    ) -> Answer<Option<u64>> {
        let claims: Vec<Claim> = self.inventory().claims().cloned().collect();
        if claims.is_empty() {
            return Ok(None);
        }
        let networks: BTreeSet<NetworkId> =
            self.definitions().await?.into_iter().map(|definition| definition.id).collect();
        let now = now_s();
        let mut next: Option<u64> = None;
        for claim in claims {
            let age_s_max = match claim.standing {
                Standing::Waiting => waiting_s_max,
                Standing::Lingering => lingering_s_max,
            };
            let left = (claim.since_s + age_s_max).saturating_sub(now);
            let is_gone = !networks.contains(&claim.network);
            if is_gone || left == 0 {
                let why = if is_gone { "its network is gone" } else { "no endpoint took it" };
                self.expire(&claim, why).await?;
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        Ok(next)
    }

    /// Gives back what no endpoint took until `stop`, on a node without a Docker plugin, which does
    /// so among its chores.
    pub(crate) async fn expire_until(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            let pause = match self.expire_claims(LINGERING_S_MAX, LINGERING_S_MAX).await {
                Ok(left) => left.map(|left_s| Duration::from_secs(left_s.max(1))),
                Err(error) => {
                    tracing::debug!(%error, "unused addresses were not given back");
                    Some(EXPIRY_RETRY)
                }
            };
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.engines_changed() => {}
                () = due => {}
            }
        }
    }

    /// Ends a claim, unless somebody took it meanwhile.
    async fn expire(&self, claim: &Claim, why: &str) -> Answer<()> {
        let (network, address) = (claim.network, claim.address.ip());
        let _turn = self.lock_address(network, address).await;
        if self.inventory().claim(network, address) != Some(claim) {
            return Ok(());
        }
        tracing::info!(%network, %address, by = ?claim.by, "{why}; it is given back");
        self.drop_claim(network, address).await
    }

    /// Waits until an address is claimed or a sandbox of an engine is gone.
    pub(crate) async fn engines_changed(&self) {
        self.engines.notified().await;
    }
}

fn in_use(definition: &Definition, address: IpAddr, holder: &str) -> ControlError {
    ControlError::forbidden(format!(
        "address `{address}` of network `{}`: Address already in use by an endpoint on `{holder}`",
        definition.name
    ))
    .with_hint("`weft network inspect --verbose` shows the endpoints")
}

/// The id of an endpoint to come.
pub(super) fn fresh_endpoint() -> Answer<EndpointId> {
    let random = crate::identity::random().map_err(|e| ControlError::internal(e.to_string()))?;
    Ok(EndpointId::from_bytes(random))
}

fn lingering(claim: Claim) -> Claim {
    Claim { mac: None, standing: Standing::Lingering, since_s: now_s(), ..claim }
}

/// Names the live node, other than this one, that has an endpoint with the address.
fn live_holder(node: &crate::node::Node, network: NetworkId, address: IpAddr) -> Option<String> {
    let own = node.id();
    let has = |value: &[u8]| {
        PeerRecord::decode(value).is_ok_and(|record| {
            record.v4.into_iter().chain(record.v6).any(|one| one.ip() == address)
        })
    };
    node.db().walk(network, PEER_TABLE).find_map(|entry| {
        let member = node.db().member(entry.owner)?;
        let lives = matches!(member.state, MemberState::Alive | MemberState::Suspect);
        (entry.owner != own && lives && has(&entry.value)).then(|| member.name.clone())
    })
}

fn space_of(definition: Option<&Definition>, network: NetworkId, address: IpAddr) -> Option<Space> {
    let subnet = definition?.subnets.iter().find(|subnet| subnet.pool.contains(address))?;
    Some(Space::Subnet { network, pool: subnet.pool })
}

fn subnet_of(definition: &Definition, pool: IpNetwork) -> Answer<&Subnet> {
    definition.subnets.iter().find(|subnet| subnet.pool == pool).ok_or_else(|| {
        ControlError::not_found(format!("network `{}` has no subnet `{pool}`", definition.name))
    })
}

/// Seconds since 1970 by the wall clock at this agent's start, and by the monotonic one since: only
/// ages are told from it, and a clock that is set while the agent runs changes none.
pub(crate) fn now_s() -> u64 {
    static START: LazyLock<(u64, Instant)> = LazyLock::new(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        (wall.map_or(0, |since| since.as_secs()), Instant::now())
    });
    START.0 + START.1.elapsed().as_secs()
}

/// What an earlier start kept as a time: where the clock was set back since, it is now. Else what
/// waits would wait until the clock is there again.
pub(crate) fn since_s(kept_s: u64) -> u64 {
    kept_s.min(now_s())
}
