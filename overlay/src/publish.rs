//! Published ports: ports of the host that lead to an endpoint's.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use weft_api::EndpointId;

use crate::endpoint::Endpoint;
use crate::error::PlanError;
use crate::network::Network;

/// An endpoint publishes at most this many ports, each family and each host address counted.
pub const PUBLISHED_MAX: usize = 4096;

/// A protocol with ports. The numbers are IANA's, as in the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
    /// RFC 9260.
    Sctp = 132,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Finds a protocol by its number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| *protocol as u8 == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of the host's that leads to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// Of both ports.
    pub protocol: Protocol,
    /// The host's address; the unspecified one stands for all of its family.
    pub host: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The endpoint's address, of the same family.
    pub to: IpAddr,
    /// The endpoint's port.
    pub port: u16,
}

/// `PROTOCOL HOST HOST_PORT TO PORT`: how a rule of the firewall remembers it.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, host, host_port, to, port } = self;
        write!(f, "{protocol} {host} {host_port} {to} {port}")
    }
}

/// The text is not one of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a published port")]
pub struct ParsePublishedError;

impl FromStr for PublishedPort {
    type Err = ParsePublishedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn field<T: FromStr>(text: Option<&str>) -> Result<T, ParsePublishedError> {
            text.and_then(|text| text.parse().ok()).ok_or(ParsePublishedError)
        }
        let mut words = text.split(' ');
        let protocol = words.next().ok_or(ParsePublishedError)?;
        let protocol = Protocol::ALL.into_iter().find(|p| p.to_string() == protocol);
        let published = Self {
            protocol: protocol.ok_or(ParsePublishedError)?,
            host: field(words.next())?,
            host_port: field(words.next())?,
            to: field(words.next())?,
            port: field(words.next())?,
        };
        if words.next().is_some() { Err(ParsePublishedError) } else { Ok(published) }
    }
}

/// Which port of the host's is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPort {
    /// Any that is free, of those the kernel gives to programs that do not care.
    Any,
    /// The first that is free.
    FirstOf(RangeInclusive<u16>),
}

/// A port that is to be published, before the host's port is chosen. It is the same one for all
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// Of both ports.
    pub protocol: Protocol,
    /// Addresses of the host's, each with the endpoint's of the same family.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// Which of the host's ports.
    pub host_port: HostPort,
    /// The endpoint's port.
    pub port: u16,
}

impl Network {
    /// The addresses at which the outside can be led to an endpoint: those whose pools have a way
    /// out.
    pub(crate) fn publishable(&self, id: EndpointId) -> Result<Vec<IpAddr>, PlanError> {
        let endpoint = self.endpoints.get(&id).ok_or(PlanError::NoEndpoint(id))?;
        if endpoint.far.is_none() {
            return Err(PlanError::NotJoined(id));
        }
        let way = self.way.as_ref().ok_or(PlanError::NoWayOut(self.id))?;
        let own = endpoint.addresses().map(|address| address.ip());
        Ok(own.filter(|ip| way.pools.iter().any(|pool| pool.contains(*ip))).collect())
    }

    /// Checks what an endpoint is to publish.
    pub(crate) fn admit_published(
        &self,
        id: EndpointId,
        ports: &[PublishedPort],
    ) -> Result<(), PlanError> {
        let own = self.publishable(id)?;
        if ports.len() > PUBLISHED_MAX {
            return Err(PlanError::TooManyPorts(id, ports.len()));
        }
        for published in ports {
            let same_family = published.host.is_ipv4() == published.to.is_ipv4();
            if !own.contains(&published.to) || !same_family {
                return Err(PlanError::CannotPublish { endpoint: id, address: published.host });
            }
        }
        Ok(())
    }
}

impl Endpoint {
    pub(crate) fn is_published(&self) -> bool {
        !self.published.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_survives_its_text() {
        for (protocol, host, to) in [
            (Protocol::Tcp, "0.0.0.0", "10.1.0.2"),
            (Protocol::Udp, "192.0.2.7", "10.1.0.2"),
            (Protocol::Sctp, "::", "fd01:2:3:4:5:6:7:8"),
        ] {
            let (host, to) = (host.parse().unwrap(), to.parse().unwrap());
            let port = PublishedPort { protocol, host, host_port: 8080, to, port: 80 };
            assert_eq!(port.to_string().parse(), Ok(port));
        }
        for text in ["", "tcp", "tcp 0.0.0.0 1 10.0.0.1 2 3", "icmp 0.0.0.0 1 10.0.0.1 2"] {
            assert_eq!(text.parse::<PublishedPort>(), Err(ParsePublishedError), "{text}");
        }
    }

    #[test]
    fn protocols_are_found_by_their_numbers() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_number(protocol as u8), Some(protocol));
        }
        assert_eq!(Protocol::from_number(1), None);
    }
}
