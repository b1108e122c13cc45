//! Judges what a Docker Engine on this host has of the cluster. The engine itself is never asked:
//! what it forgot shows only in what is left here.

use std::collections::BTreeMap;
use std::path::Path;

use weft_api::control::Check;
use weft_api::driver::Scope;

/// Names told of each finding; the others are counted.
const NAMES_TOLD_MAX: usize = 5;

/// Who answers at the plugin's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// This agent.
    Us,
    /// Another process took its place.
    Another,
    /// Nobody; what the operating system said when it was tried.
    Nobody(String),
}

/// A network that an engine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineNetwork {
    /// Its name in the cluster; none when the cluster has deleted it.
    pub name: Option<String>,
    /// Endpoints in containers.
    pub in_containers: usize,
    /// Endpoints in no container that the engine may be about to join, or to end.
    pub apart: usize,
    /// Names of endpoints whose interface is gone.
    pub gone: Vec<String>,
}

/// Networks of engines by the engine's id.
pub type EngineNetworks = BTreeMap<String, EngineNetwork>;

/// Judges whether an engine finds its plugin; `served` is where it is and what it says of its
/// networks. Without it, what an engine has here has nobody to end it.
pub fn plugin(served: Option<(&Path, Scope, &Answers)>, networks: &EngineNetworks) -> Check {
    let name = "docker plugin";
    let Some((socket, scope, answers)) = served else {
        if networks.is_empty() {
            return Check::ok(name, "not served: `docker_socket` is not set");
        }
        return Check::warn(
            name,
            "not served, and there are networks of an engine",
            "set `docker_socket` again, or end what the engine had: `weft network rm --force`",
        );
    };
    let place = format!("`{}`, scope {scope}", socket.display());
    let hint = "restart the agent: an engine finds it there and nowhere else";
    match answers {
        Answers::Us => Check::ok(name, format!("served at {place}")),
        Answers::Another => Check::fail(name, format!("another process answers at {place}"), hint),
        Answers::Nobody(error) => Check::fail(name, format!("{place}: {error}"), hint),
    }
}

/// Counts what engines have, and judges what nobody seems to end.
pub fn networks(networks: &EngineNetworks) -> Vec<Check> {
    if networks.is_empty() {
        return Vec::new();
    }
    let mut checks = vec![Check::ok("docker networks", counted(networks))];
    for (id, network) in networks {
        let id: String = id.chars().take(12).collect();
        let Some(name) = &network.name else {
            checks.push(Check::warn(
                format!("docker network {id}"),
                "the cluster deleted it, and the engine did not",
                format!("`docker network rm {id}`; then make it anew where it is needed"),
            ));
            continue;
        };
        if !network.gone.is_empty() {
            checks.push(Check::warn(
                format!("docker network {name}"),
                format!("endpoints without an interface: {}", told(&network.gone)),
                "they end two minutes after the engine's next call; `weft endpoint rm` ends one \
                 at once, `weft network rm --force` all of a network that the engine forgot",
            ));
        }
    }
    checks
}

fn counted(networks: &EngineNetworks) -> String {
    let joined: usize = networks.values().map(|network| network.in_containers).sum();
    let apart: usize = networks.values().map(|network| network.apart).sum();
    let mut detail = format!("{} held, {joined} endpoints in containers", networks.len());
    if apart > 0 {
        detail += &format!(", {apart} in none at the moment");
    }
    let unused = |n: &&EngineNetwork| n.in_containers + n.apart + n.gone.len() == 0;
    let unused: Vec<String> =
        networks.values().filter(unused).filter_map(|n| n.name.clone()).collect();
    if !unused.is_empty() {
        detail += &format!("; without endpoints: {}", told(&unused));
    }
    detail
}

fn told(names: &[String]) -> String {
    let shown: Vec<String> =
        names.iter().take(NAMES_TOLD_MAX).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use weft_api::control::CheckStatus;

    use super::*;

    fn blue(in_containers: usize, apart: usize, gone: &[&str]) -> EngineNetworks {
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        let network = EngineNetwork { name: Some("blue".to_owned()), in_containers, apart, gone };
        EngineNetworks::from([("24b65d5d04ed7da9".to_owned(), network)])
    }

    #[test]
    fn a_plugin_that_no_engine_finds_fails() {
        let (path, none) = (Path::new("/run/docker/plugins/weft.sock"), EngineNetworks::new());
        let judge = |answers| plugin(Some((path, Scope::Local, &answers)), &none);
        let served = judge(Answers::Us);
        assert_eq!(served.status, CheckStatus::Ok);
        assert_eq!(served.detail, "served at `/run/docker/plugins/weft.sock`, scope local");
        assert_eq!(judge(Answers::Another).status, CheckStatus::Fail);
        assert_eq!(judge(Answers::Nobody("not found".to_owned())).status, CheckStatus::Fail);
    }

    #[test]
    fn a_plugin_that_is_not_served_is_missed_where_an_engine_has_networks() {
        assert_eq!(plugin(None, &EngineNetworks::new()).status, CheckStatus::Ok);
        assert_eq!(plugin(None, &blue(0, 0, &[])).status, CheckStatus::Warn);
    }

    #[test]
    fn what_engines_have_is_counted_and_no_line_stands_where_they_have_nothing() {
        assert_eq!(networks(&EngineNetworks::new()), []);
        let all = networks(&blue(2, 1, &[]));
        let detail = "1 held, 2 endpoints in containers, 1 in none at the moment";
        assert_eq!(all, [Check::ok("docker networks", detail)]);
        let detail = "1 held, 0 endpoints in containers; without endpoints: `blue`";
        assert_eq!(networks(&blue(0, 0, &[])), [Check::ok("docker networks", detail)]);
    }

    #[test]
    fn endpoints_whose_interface_is_gone_are_named_and_too_many_are_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let [_, orphans] = <[Check; 2]>::try_from(networks(&blue(1, 0, &names))).unwrap();
        assert_eq!((orphans.check.as_str(), orphans.status), ("docker network blue", WARN));
        let said = "endpoints without an interface: `a`, `b`, `c`, `d`, `e` and 2 more";
        assert_eq!(orphans.detail, said);
        assert!(orphans.hint.unwrap().contains("weft network rm --force"));
    }

    #[test]
    fn a_network_that_only_the_engine_has_is_its_to_remove() {
        let gone = EngineNetwork::default();
        let all = networks(&EngineNetworks::from([("24b65d5d04ed7da9".to_owned(), gone)]));
        assert_eq!((all[1].check.as_str(), all[1].status), ("docker network 24b65d5d04ed", WARN));
        assert!(all[1].hint.as_ref().unwrap().contains("docker network rm 24b65d5d04ed"));
    }

    const WARN: CheckStatus = CheckStatus::Warn;
}
