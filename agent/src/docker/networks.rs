//! `CreateNetwork` and `DeleteNetwork`: an engine's network and the cluster's.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_api::Definition;
use weft_api::control::ControlError;
use weft_api::driver::{IpamData, Scope};
use weft_api::plugin::network::{Capabilities, CreateNetworkRequest, NetworkRequest};
use weft_ipam::Want;

use super::agreement::{Described, SWARM_NETWORK, contradicts, is_dockers, swarms_id};
use super::books::{Insist, Origin};
use super::settings::{NETWORK, Settings};
use super::{DEFINED_PATIENCE, Plugin, checked_id, is_swarms};
use crate::control::{Answer, ErrorKind};
use crate::controller::inventory::{AttachedFor, Hold};
use crate::ipam_driver::{GLOBAL_SPACE, LOCAL_SPACE};

/// How address spaces of the engine's own IPAM driver end.
const ENGINE_SPACES: [&str; 2] = ["LocalDefault", "GlobalDefault"];
/// Attempts to settle on a network that others make or delete at the same time.
const ATTEMPTS: u32 = 5;

/// Who gave the pools of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PoolsFrom {
    /// This plugin.
    Weft,
    /// Another IPAM plugin.
    Another,
}

impl Plugin {
    /// Asked by an engine that starts, and now and then.
    pub(super) fn network_capabilities(&self) -> Capabilities {
        self.engine_started();
        Capabilities {
            scope: self.scope.to_string(),
            connectivity_scope: Scope::Global.to_string(),
            gw_alloc_checker: false,
        }
    }

    pub(super) async fn create_network(&self, request: CreateNetworkRequest) -> Answer<()> {
        let id = checked_id("NetworkID", &request.network_id)?.to_owned();
        self.check_mode(&id)?;
        let described = Described {
            data: request.ipv4_data.into_iter().chain(request.ipv6_data).collect(),
            settings: Settings::of_network(&request.options)?,
        };
        let options = serde_json::to_value(&request.options)
            .map_err(|error| ControlError::internal(error.to_string()))?;
        if let Some(hold) = self.controller.hold_of(&id)
            && self.controller.definition_of(hold.network).await?.is_some()
        {
            return repeated(&hold, &options);
        }
        let from = pools_from(&described, &self.name)?;
        let definition = self.settle(&id, &described, from).await?;
        let attached_for =
            if is_swarms(&id) { AttachedFor::Endpoints } else { AttachedFor::TheNetwork };
        let hold = Hold {
            engine_network: id,
            network: definition.id,
            way_out: described.settings.way_out,
            attached_for,
            options,
        };
        let id = hold.engine_network.clone();
        self.controller.hold_network(&definition, hold).await?;
        if from == PoolsFrom::Weft
            && !is_swarms(&id)
            && let Err(error) = self.set_aside_again(&definition, &described).await
        {
            self.controller.release_hold(&id).await?;
            return Err(error);
        }
        for pool in described.data.iter().filter_map(|data| data.pool) {
            self.end_reservation(pool).await?;
        }
        Ok(())
    }

    /// Sets the auxiliary addresses aside that this engine asked for before it had the network: the
    /// last other engine may have given the network up in between, and them with it.
    async fn set_aside_again(&self, definition: &Definition, described: &Described) -> Answer<()> {
        for data in &described.data {
            let Some(pool) = data.pool else { continue };
            for address in data.aux_addresses.values() {
                self.set_aside(definition, pool, Want::Replay(address.ip())).await?;
            }
        }
        Ok(())
    }

    /// Refuses what the engine would refuse a moment later, in words that help.
    fn check_mode(&self, id: &str) -> Answer<()> {
        match (self.scope, is_swarms(id)) {
            (Scope::Local, false) | (Scope::Global, true) => Ok(()),
            (Scope::Global, false) => Err(ControlError::forbidden(
                "this plugin says scope `global`, which is for engines in a Swarm, and the \
                 network is one engine's",
            )
            .with_hint(
                "for this engine set docker_scope = \"local\" (WEFT_DOCKER_SCOPE=local) and \
                 restart the agent; in a Swarm make the network on a manager",
            )),
            (Scope::Local, true) => Err(ControlError::forbidden(
                "this plugin says scope `local`, and the network is a Swarm's",
            )
            .with_hint(
                "for a Swarm use the managed plugin, or set docker_scope = \"global\" \
                 (WEFT_DOCKER_SCOPE=global) and restart the agent",
            )),
        }
    }

    /// Finds the cluster's network that an engine describes, or makes it.
    async fn settle(&self, id: &str, described: &Described, from: PoolsFrom) -> Answer<Definition> {
        if let Some(cluster) = described.settings.cluster_network {
            let definition = self
                .controller
                .awaited(DEFINED_PATIENCE, move |definition| definition.id == cluster)
                .await?;
            let definition = definition.ok_or_else(|| {
                ControlError::not_found(format!("network `{cluster}` of the Swarm is not known"))
                    .with_hint("`weft doctor` tells how this node is; try again when it is ready")
            })?;
            return agreed(definition, described);
        }
        let name = self.name_of(id, described, from).await?;
        self.get_or_make(&name, described, None).await
    }

    /// The name of the cluster's network: the one asked for, or one of the engine's network alone.
    async fn name_of(&self, id: &str, described: &Described, from: PoolsFrom) -> Answer<String> {
        let own = own_name(id);
        let asked = described.settings.network.clone();
        let pools = described.data.iter().filter_map(|data| data.pool);
        let mut names = Vec::new();
        for pool in pools {
            let reserved = self.books().reservation(pool).map(|known| known.origin.clone());
            match reserved {
                Some(Origin::Named(name)) => {
                    if asked.as_ref().is_some_and(|asked| *asked != name) {
                        return Err(two_names(&name, asked.as_deref()));
                    }
                    names.push(name);
                }
                Some(Origin::Found(_) | Origin::Asked | Origin::Default) | None => {
                    let theirs = self.controller.definition_with(pool).await?;
                    match (theirs, &asked) {
                        (Some(theirs), Some(asked)) if theirs.name == *asked => {}
                        (Some(theirs), None) if theirs.name == own => {}
                        (Some(theirs), _) if from == PoolsFrom::Weft => {
                            return Err(anothers(&theirs, pool));
                        }
                        (Some(theirs), Some(_)) => return Err(anothers(&theirs, pool)),
                        (Some(theirs), None) => return Err(foreign_without_name(&theirs, pool)),
                        (None, Some(asked)) => self.check_late(asked, pool).await?,
                        (None, None) => {}
                    }
                }
            }
        }
        Ok(names.into_iter().next().or(asked).unwrap_or(own))
    }

    /// `-o network=NAME` comes after the pool is chosen: it fits only where the pool does.
    async fn check_late(&self, name: &str, pool: ipnetwork::IpNetwork) -> Answer<()> {
        let Some(definition) = self.controller.definition_named(name).await? else { return Ok(()) };
        let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
        Err(ControlError::conflict(format!(
            "network `{name}` exists, and subnet `{pool}` is not one of its ({})",
            pools.join(", ")
        ))
        .with_hint(format!(
            "say --ipam-opt {NETWORK}={name}, which comes in time to choose the subnet, or give \
             --subnet {}",
            pools.first().map_or("", String::as_str)
        )))
    }

    /// Finds the network of this name where it agrees, or makes it. One that was made for an
    /// engine in another shape, and that nobody uses yet, is made anew. For a network of a Swarm
    /// its id is given, `swarm`: what is another's of them is neither taken nor made anew.
    pub(super) async fn get_or_make(
        &self,
        name: &str,
        described: &Described,
        swarm: Option<&str>,
    ) -> Answer<Definition> {
        let mark = |id: &str| (SWARM_NETWORK.to_owned(), id.to_owned());
        let more: BTreeMap<_, _> = swarm.into_iter().map(mark).collect();
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            if let Some(definition) = self.controller.definition_named(name).await? {
                not_anothers(&definition, swarm)?;
                let contradictions = described.contradictions(&definition);
                let marked = swarm.is_none() || swarms_id(&definition) == swarm;
                if contradictions.is_empty() && marked {
                    return Ok(definition);
                }
                if !self.replace(&definition, swarm).await? {
                    if contradictions.is_empty() {
                        return Ok(definition);
                    }
                    return Err(contradicts(&definition, &contradictions));
                }
            }
            match self.controller.get_or_create(described.request(name, more.clone())).await {
                Ok(definition) => return agreed(definition, described),
                // Another node was quicker: what it made is looked at anew.
                Err(error) if error.kind == ErrorKind::Conflict => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            ControlError::unavailable(format!("network `{name}` changes all the time"))
                .with_hint("try again in a moment")
        }))
    }

    pub(super) async fn delete_network(&self, request: NetworkRequest) -> Answer<()> {
        let id = checked_id("NetworkID", &request.network_id)?;
        // Endpoints of an engine that crashed: it knows nothing of them any more.
        for endpoint in self.controller.engine_endpoints(id) {
            if let Some(engine) = &endpoint.engine {
                self.controller.end_engine_endpoint(&engine.engine_endpoint).await?;
            }
        }
        let Some(network) = self.controller.release_hold(id).await? else { return Ok(()) };
        let definition = self.controller.definition_of(network).await?;
        if definition.is_some_and(|definition| is_dockers(&definition)) && !is_swarms(id) {
            self.retire(network, Insist::Briefly).await?;
        }
        Ok(())
    }
}

/// The name of a network that an engine shares with nobody: its id, cut as the engine cuts it. A
/// Swarm's is known by its whole id on all nodes.
pub(super) fn own_name(id: &str) -> String {
    if is_swarms(id) { id.to_owned() } else { format!("docker-{}", &id[..12]) }
}

fn agreed(definition: Definition, described: &Described) -> Answer<Definition> {
    let contradictions = described.contradictions(&definition);
    if contradictions.is_empty() {
        return Ok(definition);
    }
    Err(contradicts(&definition, &contradictions))
}

/// Refuses a Swarm's network for another one of a Swarm. It may have its name only because its
/// last tasks still stop.
pub(super) fn not_anothers(definition: &Definition, swarm: Option<&str>) -> Answer<()> {
    match (swarm, swarms_id(definition)) {
        (Some(id), Some(theirs)) if id != theirs => Err(ControlError::unavailable(format!(
            "network `{}` is still that of the Swarm's network `{theirs}`",
            definition.name
        ))
        .with_hint(
            "if that is being removed, try again when its last tasks have stopped; else take \
             another name",
        )),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn repeated(hold: &Hold, options: &Value) -> Answer<()> {
    if hold.options == *options {
        return Ok(());
    }
    Err(ControlError::conflict(format!(
        "network `{}` exists already with other options",
        hold.engine_network
    )))
}

fn pools_from(described: &Described, plugin: &str) -> Answer<PoolsFrom> {
    let mut from = None;
    if described.data.is_empty() {
        return Err(ControlError::invalid("a network of Weft's needs a subnet")
            .with_hint(format!("leave out --ipam-driver null, and give --ipam-driver {plugin}")));
    }
    for data in &described.data {
        let space = data.address_space.as_str();
        if ENGINE_SPACES.contains(&space) {
            return Err(engines_own(described, data, plugin));
        }
        let Some(pool) = data.pool else {
            return Err(ControlError::invalid("a subnet of the network has no pool"));
        };
        if pool.prefix() == 0 {
            return Err(engines_own(described, data, plugin));
        }
        from = Some(match space {
            LOCAL_SPACE | GLOBAL_SPACE | "" => PoolsFrom::Weft,
            _ => PoolsFrom::Another,
        });
    }
    Ok(from.unwrap_or(PoolsFrom::Weft))
}

/// The engine's own IPAM driver gives each engine addresses without regard to the others.
fn engines_own(described: &Described, data: &IpamData, plugin: &str) -> ControlError {
    let name = described.settings.network.as_deref();
    ControlError::invalid(format!(
        "the network's addresses come from the engine's own IPAM driver (`{}`), which does not \
         know of other hosts",
        if data.address_space.is_empty() { "null" } else { &data.address_space }
    ))
    .with_hint(create_hint(plugin, name))
}

/// The command that makes a network of this plugin, by the cluster's network where it is named.
pub(super) fn create_hint(plugin: &str, network: Option<&str>) -> String {
    let option = network.map_or_else(String::new, |name| format!(" --ipam-opt {NETWORK}={name}"));
    format!("docker network create -d {plugin} --ipam-driver {plugin}{option} NETWORK")
}

fn two_names(reserved: &str, asked: Option<&str>) -> ControlError {
    ControlError::invalid(format!(
        "--ipam-opt {NETWORK}={reserved} and -o {NETWORK}={} name two networks",
        asked.unwrap_or_default()
    ))
    .with_hint("leave -o out")
}

fn anothers(theirs: &Definition, pool: ipnetwork::IpNetwork) -> ControlError {
    let name = &theirs.name;
    ControlError::conflict(format!("subnet `{pool}` is that of network `{name}`")).with_hint(
        format!("say --ipam-opt {NETWORK}={name} to take part in it, or choose another subnet"),
    )
}

fn foreign_without_name(theirs: &Definition, pool: ipnetwork::IpNetwork) -> ControlError {
    let name = &theirs.name;
    ControlError::conflict(format!("subnet `{pool}` is that of network `{name}`"))
        .with_hint(format!("say -o {NETWORK}={name} to take part in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(spaces: &[&str]) -> Described {
        let data = spaces.iter().map(|space| IpamData {
            address_space: (*space).to_owned(),
            pool: Some("10.1.0.0/24".parse().unwrap()),
            ..IpamData::default()
        });
        let settings = Settings { network: Some("blue".into()), ..Settings::default() };
        Described { data: data.collect(), settings }
    }

    #[test]
    fn the_engines_own_addresses_are_refused_with_the_right_command() {
        for spaces in [&["LocalDefault"][..], &["GlobalDefault"], &[LOCAL_SPACE, "LocalDefault"]] {
            for plugin in ["weft", "weft:latest"] {
                let hint = pools_from(&described(spaces), plugin).unwrap_err().hint.unwrap();
                let command = format!("-d {plugin} --ipam-driver {plugin} --ipam-opt network=blue");
                assert!(hint.contains(&command), "{hint}");
            }
        }
        let from = |spaces| pools_from(&described(spaces), "weft");
        assert!(from(&[]).is_err());
        assert_eq!(from(&["theirs"]).unwrap(), PoolsFrom::Another);
        assert_eq!(from(&[LOCAL_SPACE]).unwrap(), PoolsFrom::Weft);
    }

    #[test]
    fn a_network_of_its_own_is_called_as_the_engine_shows_it() {
        let id = "24b65d5d04ed7da927de56e66a2f630e5f37a43dc2d8c0cfd20fe82511627044";
        assert_eq!(own_name(id), "docker-24b65d5d04ed");
        assert_eq!(own_name("ur8tmux5x1o7sl8c5ckjx1a5d"), "ur8tmux5x1o7sl8c5ckjx1a5d");
    }
}
