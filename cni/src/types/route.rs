//! A route, the same in every version of a result.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::address;

/// A route to set in the container. Fields after `gw` came with 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination, in CIDR notation.
    #[serde(with = "address::cidr")]
    pub dst: IpNetwork,
    /// Next hop; without one the gateway of the address is meant.
    #[serde(
        default,
        deserialize_with = "address::optional::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// Largest packet along the route, in bytes; 0 for unsaid.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// Largest TCP segment to advertise, in bytes; 0 for unsaid.
    #[serde(default, rename = "advmss", skip_serializing_if = "is_zero")]
    pub adv_mss: i64,
    /// Priority, lower first; 0 for unsaid.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Routing table; main when unsaid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<i64>,
    /// Scope as the kernel numbers it; global when unsaid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<i64>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Route {
    /// A route with only a destination and perhaps a next hop.
    #[must_use]
    pub fn new(dst: IpNetwork, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: 0, adv_mss: 0, priority: 0, table: None, scope: None }
    }
}

/// `10.0.0.0/8 via 10.0.0.1 mtu 1400`, in the words of `ip route`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(gw) = self.gw {
            write!(f, " via {gw}")?;
        }
        for (word, number) in
            [("mtu", self.mtu), ("advmss", self.adv_mss), ("priority", self.priority)]
        {
            if number != 0 {
                write!(f, " {word} {number}")?;
            }
        }
        for (word, number) in [("table", self.table), ("scope", self.scope)] {
            if let Some(number) = number {
                write!(f, " {word} {number}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn full() -> serde_json::Value {
        json!({
            "dst": "1.2.3.0/24", "gw": "1.2.3.1", "mtu": 1500, "advmss": 1340,
            "priority": 100, "table": 50, "scope": 253
        })
    }

    #[test]
    fn route_survives_json_both_ways() {
        let route: Route = serde_json::from_value(full()).unwrap();
        assert_eq!(serde_json::to_value(&route).unwrap(), full());
    }

    #[test]
    fn route_without_destination_or_with_a_bad_one_is_refused() {
        for bad in [json!({}), json!({"dst": "1.2.3/24"}), json!({"dst": 5})] {
            assert!(serde_json::from_value::<Route>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn route_reads_like_a_line_of_ip_route() {
        let route: Route = serde_json::from_value(full()).unwrap();
        let text = "1.2.3.0/24 via 1.2.3.1 mtu 1500 advmss 1340 priority 100 table 50 scope 253";
        assert_eq!(route.to_string(), text);
    }

    #[test]
    fn empty_gateway_is_no_gateway() {
        let route: Route = serde_json::from_value(json!({"dst": "::/0", "gw": ""})).unwrap();
        assert_eq!(route.gw, None);
    }
}
