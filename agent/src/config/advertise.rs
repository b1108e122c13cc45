//! The address other nodes reach this one at, where nobody said: that of the default route's
//! interface, if there is exactly one.

use std::net::{IpAddr, Ipv6Addr};

/// Says why no address could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertiseError {
    /// No default route.
    #[error("this host has no default route to tell its address by")]
    NoRoute,
    /// No address on the interface.
    #[error("the default route's interface `{0}` has no address that other nodes could reach")]
    NoAddress(String),
    /// More than one interface, or more than one address.
    #[error("this host has several addresses to be reached at: {}", list(.0))]
    Ambiguous(Vec<IpAddr>),
}

fn list(addresses: &[IpAddr]) -> String {
    let each: Vec<String> = addresses.iter().map(|address| format!("`{address}`")).collect();
    each.join(", ")
}

/// Chooses among `addresses` (interface, address) by the routing tables in the kernel's own text:
/// `/proc/net/route` and `/proc/net/ipv6_route`. IPv4 goes first.
///
/// # Errors
/// [`AdvertiseError`] when nothing or more than one thing could be meant.
pub fn choose_advertise(
    routes4: &str,
    routes6: &str,
    addresses: &[(String, IpAddr)],
) -> Result<IpAddr, AdvertiseError> {
    let interfaces4 = best(default_routes4(routes4));
    let interfaces6 = best(default_routes6(routes6));
    let on = |interfaces: &[String], family: fn(&IpAddr) -> bool| -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = addresses
            .iter()
            .filter(|(interface, address)| {
                interfaces.contains(interface) && family(address) && is_reachable(*address)
            })
            .map(|(_, address)| *address)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    for found in [on(&interfaces4, IpAddr::is_ipv4), on(&interfaces6, IpAddr::is_ipv6)] {
        match found.as_slice() {
            [] => {}
            [address] => return Ok(*address),
            [_, _, ..] => return Err(AdvertiseError::Ambiguous(found)),
        }
    }
    match interfaces4.into_iter().chain(interfaces6).next() {
        Some(interface) => Err(AdvertiseError::NoAddress(interface)),
        None => Err(AdvertiseError::NoRoute),
    }
}

fn is_reachable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

/// Keeps the interfaces of the lowest metric.
fn best(mut routes: Vec<(u32, String)>) -> Vec<String> {
    routes.sort_unstable();
    routes.dedup();
    let lowest = routes.first().map(|(metric, _)| *metric);
    routes
        .into_iter()
        .filter(|(metric, _)| Some(*metric) == lowest)
        .map(|(_, interface)| interface)
        .collect()
}

/// Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask ...; numbers in hexadecimal
/// digits, but the metric.
fn default_routes4(text: &str) -> Vec<(u32, String)> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (destination, mask) = (columns.get(1)?, columns.get(7)?);
            let is_up = u32::from_str_radix(columns.get(3)?, 16).ok()? & 1 == 1;
            let is_default = *destination == "00000000" && *mask == "00000000";
            (is_up && is_default)
                .then(|| Some((columns.get(6)?.parse().ok()?, (*columns.first()?).to_owned())))?
        })
        .collect()
}

/// Columns: destination, its prefix length, source, its prefix length, next hop, metric, use
/// counts, flags, interface; numbers in hexadecimal digits. The kernel's own unreachable default
/// sits on `lo`.
fn default_routes6(text: &str) -> Vec<(u32, String)> {
    let zeros = "0".repeat(Ipv6Addr::BITS as usize / 4);
    text.lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (destination, prefix) = (columns.first()?, columns.get(1)?);
            let interface = *columns.get(9)?;
            let is_default = **destination == zeros && *prefix == "00" && interface != "lo";
            let metric = u32::from_str_radix(columns.get(5)?, 16).ok()?;
            is_default.then(|| (metric, interface.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
    const ETH0: &str = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    const ETH1: &str = "eth1\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    const WLAN: &str = "wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    const LAN: &str = "eth9\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    fn routes6() -> String {
        let zeros = "0".repeat(32);
        format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n"
        )
    }

    fn hosts(all: &[(&str, &str)]) -> Vec<(String, IpAddr)> {
        all.iter().map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap())).collect()
    }

    #[test]
    fn the_default_routes_interface_gives_the_address() {
        let all = hosts(&[
            ("lo", "127.0.0.1"),
            ("eth0", "192.0.2.7"),
            ("eth0", "2001:db8::7"),
            ("eth9", "198.51.100.1"),
            ("wlan0", "203.0.113.1"),
        ]);
        let routes = format!("{HEAD}{LAN}{WLAN}{ETH0}");
        assert_eq!(choose_advertise(&routes, &routes6(), &all), Ok("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn a_host_without_ipv4_takes_its_global_ipv6_address() {
        let all = hosts(&[("eth0", "fe80::7"), ("eth0", "2001:db8::7")]);
        assert_eq!(choose_advertise(HEAD, &routes6(), &all), Ok("2001:db8::7".parse().unwrap()));
    }

    #[test]
    fn two_candidates_are_an_error_that_names_both() {
        let one = hosts(&[("eth0", "192.0.2.7"), ("eth0", "192.0.2.8")]);
        let error = choose_advertise(&format!("{HEAD}{ETH0}"), "", &one).unwrap_err();
        assert!(error.to_string().contains("`192.0.2.7`, `192.0.2.8`"), "{error}");
        let two = hosts(&[("eth0", "192.0.2.7"), ("eth1", "192.0.2.8")]);
        let error = choose_advertise(&format!("{HEAD}{ETH0}{ETH1}"), "", &two).unwrap_err();
        assert!(matches!(error, AdvertiseError::Ambiguous(_)));
    }

    #[test]
    fn no_route_and_no_address_are_told_apart() {
        assert_eq!(choose_advertise(HEAD, "", &[]), Err(AdvertiseError::NoRoute));
        let found = choose_advertise(&format!("{HEAD}{ETH0}"), "", &[]);
        assert_eq!(found, Err(AdvertiseError::NoAddress("eth0".to_owned())));
    }

    #[test]
    fn a_table_of_another_form_has_no_routes() {
        assert_eq!(choose_advertise("x\ny z\n\n", "a b c", &[]), Err(AdvertiseError::NoRoute));
    }
}
