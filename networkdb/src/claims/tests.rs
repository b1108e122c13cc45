use std::time::Duration;

use weft_api::{Definition, NetworkId, Stamp, Subnet, Vni};

use super::{ClaimBody, ClaimId, Origin, Outcome};
use cluster::Cluster;

mod cluster;
mod crashes;
mod definitions;
mod deletes;
mod forgets;
mod messages;
mod property;
mod rotations;
mod splits;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn network(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 16])
}

fn definition(n: u8, name: &str, pool: &str) -> Definition {
    let subnet = Subnet {
        pool: pool.parse().unwrap(),
        gateway: None,
        range: None,
        auxiliary: [].into(),
        vni: Vni::new(8_388_608 + u32::from(n)).unwrap(),
    };
    Definition {
        id: network(n),
        name: name.to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![subnet],
        options: [].into(),
        mtu: None,
        internal: false,
        stamp: Stamp::default(),
    }
}

/// Asked for with this very pool.
fn asked(n: u8, name: &str, pool: &str) -> ClaimBody {
    ClaimBody::Define { definition: definition(n, name, pool), origins: vec![Origin::Asked] }
}

/// Asked for by name alone; the node that is asked took `10.128.n.0/24`.
fn by_name(n: u8, name: &str) -> ClaimBody {
    let definition = definition(n, name, &format!("10.128.{n}.0/24"));
    ClaimBody::Define { definition, origins: vec![Origin::Default] }
}

fn outcome(cluster: &Cluster, n: u8, claim: ClaimId) -> &Outcome {
    cluster.node(n).decided.get(&claim).expect("the claim is decided")
}

/// Which network a claim to define ended with.
fn got(cluster: &Cluster, n: u8, claim: ClaimId) -> NetworkId {
    match outcome(cluster, n, claim) {
        Outcome::Defined(definition) | Outcome::Joined(definition) => definition.id,
        other @ (Outcome::Deleted(_)
        | Outcome::Forgotten(_)
        | Outcome::Rotated(_)
        | Outcome::Refused(_)) => {
            panic!("{other:?}")
        }
    }
}

/// Defines a network and waits until all know it.
fn given(cluster: &mut Cluster, n: u8, body: ClaimBody) -> NetworkId {
    let claim = cluster.submit(n, body);
    cluster.run_for(SECOND);
    got(cluster, n, claim)
}

fn has(cluster: &Cluster, n: u8, network: NetworkId) -> bool {
    cluster.node(n).world.definitions.get(network).is_some()
}
