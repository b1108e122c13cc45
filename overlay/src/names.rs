//! Names of kernel objects: fixed by the ids, so that what a crash left behind is found again.
//!
//! An interface's name has at most 15 bytes. The VXLAN device, the host's end of a way out and what
//! is handed over are born in the host's namespace, so their names differ between networks; ids
//! are random, and a VNI belongs to one network of a cluster for ever.

use weft_api::{EndpointId, NetworkId, Vni};

const NAMESPACE: &str = "weft-";
const DIGITS: usize = 10;

/// The namespace of a network, in the run directory: `weft-` and ten digits of its id.
pub fn namespace(network: NetworkId) -> String {
    let digits = network.to_string();
    format!("{NAMESPACE}{}", &digits[..DIGITS])
}

/// The host's end of a network's way out has the name of the network's namespace.
pub fn host_link(network: NetworkId) -> String {
    namespace(network)
}

/// The network's end of its way out.
pub fn network_link(network: NetworkId) -> String {
    network_link_beside(&namespace(network))
}

/// The network's end that belongs to a host's end.
pub(crate) fn network_link_beside(host_link: &str) -> String {
    format!("wo{}", host_link.strip_prefix(NAMESPACE).unwrap_or(host_link))
}

/// Tells whether a name in the run directory, or of a link in the host's namespace, is one that
/// [`namespace`] gives.
pub fn is_ours(name: &str) -> bool {
    has_digits(name.strip_prefix(NAMESPACE), DIGITS)
}

fn has_digits(digits: Option<&str>, count: usize) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digits.is_some_and(|digits| digits.len() == count && digits.bytes().all(is_digit))
}

/// The bridge of a segment.
pub fn bridge(vni: Vni) -> String {
    format!("wb{vni}")
}

/// The VXLAN device of a segment.
pub fn vxlan(vni: Vni) -> String {
    format!("wx{vni}")
}

/// The bridge's end of an endpoint's pair.
pub fn port(endpoint: EndpointId) -> String {
    format!("{PORT}{}", &endpoint.to_string()[..PORT_DIGITS])
}

const PORT_DIGITS: usize = 12;
const PORT: &str = "wp";

/// The link that shapes what comes from an endpoint.
pub fn shaper(endpoint: EndpointId) -> String {
    shaper_beside(&port(endpoint))
}

/// The shaper that belongs to a port.
pub(crate) fn shaper_beside(port: &str) -> String {
    format!("wi{}", port.strip_prefix(PORT).unwrap_or(port))
}

/// The host's end of a pair that a container engine takes, until it takes it.
pub fn handed(endpoint: EndpointId) -> String {
    format!("{HANDED}{}", &endpoint.to_string()[..PORT_DIGITS])
}

const HANDED: &str = "wh";

/// Tells whether a link in the host's namespace has a name that [`handed`] gives.
pub fn is_handed(name: &str) -> bool {
    has_digits(name.strip_prefix(HANDED), PORT_DIGITS)
}

/// Tells whether two networks would share a namespace's name.
pub(crate) fn networks_collide(a: NetworkId, b: NetworkId) -> bool {
    a.as_bytes()[..DIGITS / 2] == b.as_bytes()[..DIGITS / 2]
}

/// Tells whether two endpoints would share a port's name.
pub(crate) fn endpoints_collide(a: EndpointId, b: EndpointId) -> bool {
    a.as_bytes()[..PORT_DIGITS / 2] == b.as_bytes()[..PORT_DIGITS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_fits_an_interface() {
        let network = NetworkId::from_bytes([0xff; 16]);
        let endpoint = EndpointId::from_bytes([0xff; 16]);
        let vni = Vni::new(Vni::MAX).unwrap();
        for name in [
            namespace(network),
            host_link(network),
            network_link(network),
            bridge(vni),
            vxlan(vni),
            port(endpoint),
            shaper(endpoint),
            handed(endpoint),
        ] {
            assert!(name.len() <= 15, "{name}");
        }
    }

    #[test]
    fn only_names_we_give_are_ours() {
        assert!(is_ours(&namespace(NetworkId::from_bytes([0xab; 16]))));
        for name in ["weft-lab", "weft-ABABABABAB", "weft-ababababab0", "eth0", "weft-"] {
            assert!(!is_ours(name), "{name}");
        }
        let endpoint = EndpointId::from_bytes([0xab; 16]);
        assert!(is_handed(&handed(endpoint)));
        for name in ["wh0", "whABABABABABAB", "whabababababab0", &port(endpoint), "wh"] {
            assert!(!is_handed(name), "{name}");
        }
    }

    #[test]
    fn ids_collide_exactly_when_their_names_do() {
        let mut near = [7; 16];
        near[5] = 8;
        let (a, b) = (NetworkId::from_bytes([7; 16]), NetworkId::from_bytes(near));
        assert!(networks_collide(a, b));
        assert_eq!(namespace(a), namespace(b));
        let (a, b) = (EndpointId::from_bytes([7; 16]), EndpointId::from_bytes(near));
        assert!(!endpoints_collide(a, b));
        assert_ne!(port(a), port(b));
    }
}
