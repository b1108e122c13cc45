//! Addresses of members to ask, as people write them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::failure::Failure;

/// The gossip port where none is given.
pub const DEFAULT_PORT: u16 = 7950;

/// `ADDR[:PORT]` of a member: an IPv4 address, an IPv6 address (in brackets before a port), or a
/// host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    host: String,
    port: u16,
}

/// Says why a text is not the address of a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address like 192.0.2.1, 192.0.2.1:7950, [2001:db8::1]:7950 or node-a:7950"
)]
pub struct ParseSeedError(pub String);

impl FromStr for Seed {
    type Err = ParseSeedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseSeedError(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(refused());
            }
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port: DEFAULT_PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| refused())?),
            None => (text, DEFAULT_PORT),
        };
        if port == 0 || !is_host_name(host) {
            return Err(refused());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// RFC 1123's host names, and the underscore that container runtimes put into theirs. A name of
/// digits and dots alone would be a mistyped address.
fn is_host_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl Seed {
    /// Looks up the addresses it stands for; an address stands for itself.
    ///
    /// # Errors
    /// When the name is not known to the host's resolver.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let unknown = |why: String| {
            Failure::failed(format!("the host name `{}` cannot be resolved{why}", self.host))
                .with_hint("give the member's address")
        };
        let found: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| unknown(format!(": {error}")))?
            .collect();
        if found.is_empty() {
            return Err(unknown(String::new()));
        }
        Ok(found)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_an_address_is_read() {
        let rows = [
            ("192.0.2.1", "192.0.2.1:7950"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("2001:db8::1", "[2001:db8::1]:7950"),
            ("[2001:db8::1]", "[2001:db8::1]:7950"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
            ("node-a", "node-a:7950"),
            ("weft_node-a.example:9", "weft_node-a.example:9"),
        ];
        for (text, shown) in rows {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            "a:",
            ":7950",
            "a:0",
            "192.0.2.1:0",
            "a:70000",
            "a b",
            "192.0.2.300",
            "192.0.2",
            "2001:db8::1:x",
            "http://a",
            "-a",
            "a..b",
        ] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_resolves_to_itself() {
        let seed: Seed = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(seed.resolve().await.unwrap(), ["[2001:db8::1]:9".parse().unwrap()]);
    }
}
