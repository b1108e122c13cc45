//! What fits through a tunnel.

use std::net::IpAddr;

use crate::error::PlanError;
use crate::planner::Host;

/// Outer IPv4, UDP and VXLAN headers and the inner Ethernet header, in bytes (RFC 7348).
pub const ENCAPSULATION_V4: u32 = 20 + 8 + 8 + 14;

/// The same with an outer IPv6 header.
pub const ENCAPSULATION_V6: u32 = 40 + 8 + 8 + 14;

/// Which address families the endpoints of a network have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    V4Only,
    WithV6,
}

impl Families {
    /// The least MTU a link of these families has (RFC 791, RFC 8200).
    const fn minimum(self) -> u32 {
        match self {
            Self::V4Only => 68,
            Self::WithV6 => 1280,
        }
    }
}

/// The largest MTU of an endpoint on this host.
pub fn maximum(host: &Host) -> u32 {
    let overhead = match host.vtep {
        IpAddr::V4(_) => ENCAPSULATION_V4,
        IpAddr::V6(_) => ENCAPSULATION_V6,
    };
    host.uplink_mtu.saturating_sub(overhead)
}

/// The MTU of a network's endpoints on this host.
pub(crate) fn of_network(
    asked: Option<u32>,
    families: Families,
    host: &Host,
) -> Result<u32, PlanError> {
    let maximum = maximum(host);
    let mtu = asked.unwrap_or(maximum);
    if mtu > maximum {
        return Err(PlanError::MtuTooLarge { asked: mtu, maximum });
    }
    let minimum = families.minimum();
    if mtu < minimum {
        return Err(PlanError::MtuTooSmall { mtu, minimum });
    }
    Ok(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::NodeId;

    fn host(vtep: &str, uplink_mtu: u32) -> Host {
        Host { node: NodeId::default(), vtep: vtep.parse().unwrap(), vxlan_port: 4789, uplink_mtu }
    }

    #[test]
    fn the_default_is_the_uplink_less_the_encapsulation() {
        let over_v4 = of_network(None, Families::WithV6, &host("192.0.2.1", 1500));
        assert_eq!(over_v4, Ok(1450));
        let over_v6 = of_network(None, Families::WithV6, &host("2001:db8::1", 1500));
        assert_eq!(over_v6, Ok(1430));
    }

    #[test]
    fn an_mtu_that_does_not_fit_is_refused_with_the_maximum() {
        let refused = of_network(Some(1451), Families::V4Only, &host("192.0.2.1", 1500));
        assert_eq!(refused, Err(PlanError::MtuTooLarge { asked: 1451, maximum: 1450 }));
        assert!(refused.unwrap_err().to_string().contains("at most 1450"));
    }

    #[test]
    fn an_mtu_below_the_family_s_least_is_refused() {
        let h = host("192.0.2.1", 1500);
        assert_eq!(of_network(Some(68), Families::V4Only, &h), Ok(68));
        let refused = |mtu, minimum| Err(PlanError::MtuTooSmall { mtu, minimum });
        assert_eq!(of_network(Some(67), Families::V4Only, &h), refused(67, 68));
        assert_eq!(of_network(Some(1279), Families::WithV6, &h), refused(1279, 1280));
        assert_eq!(of_network(None, Families::V4Only, &host("192.0.2.1", 10)), refused(0, 68));
    }
}
