//! The contract's words for published ports, as libnetwork's `types.PortBinding` has them in JSON.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use weft_api::driver::Options;
use weft_api::error::Error;
use weft_overlay::PlanError;
use weft_overlay::publish::{HostPort, PUBLISHED_MAX, PortRequest, Protocol, PublishedPort};

/// Ports to publish, and in what an endpoint tells of itself those that are.
pub const PORT_MAP: &str = "com.docker.network.portmap";

/// One port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// The protocol's number.
    pub proto: u8,
    /// The endpoint's address; what a caller says here is not looked at.
    #[serde(rename = "IP", deserialize_with = "text_or_null")]
    pub ip: String,
    /// The endpoint's port.
    pub port: u16,
    /// Address of the host; empty for all of both families, unspecified for all of one.
    #[serde(rename = "HostIP", deserialize_with = "text_or_null")]
    pub host_ip: String,
    /// Port of the host; 0 for any.
    pub host_port: u16,
    /// The last of the ports of which the first free one is taken; 0 or `host_port` for one alone.
    pub host_port_end: u16,
}

impl Default for PortBinding {
    fn default() -> Self {
        Self {
            proto: Protocol::Tcp as u8,
            ip: String::new(),
            port: 0,
            host_ip: String::new(),
            host_port: 0,
            host_port_end: 0,
        }
    }
}

fn text_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads the ports to publish; none where the option is absent or null.
///
/// # Errors
/// Invalid parameter: another shape, or more than [`PUBLISHED_MAX`].
pub fn bindings_from(options: &Options) -> Result<Vec<PortBinding>, Error> {
    let Some(value) = options.get(PORT_MAP) else { return Ok(Vec::new()) };
    let bindings: Option<Vec<PortBinding>> = serde_json::from_value(value.clone())
        .map_err(|error| Error::invalid_parameter(format!("{PORT_MAP}: {error}")))?;
    let bindings = bindings.unwrap_or_default();
    if bindings.len() > PUBLISHED_MAX {
        return Err(Error::invalid_parameter(format!(
            "{PORT_MAP} names {} ports, {PUBLISHED_MAX} at most can be published",
            bindings.len()
        )));
    }
    Ok(bindings)
}

/// Says which ports are published: what is said can be asked for again.
pub fn to_value(published: &[PublishedPort]) -> Value {
    let binding = |port: &PublishedPort| PortBinding {
        proto: port.protocol as u8,
        ip: port.to.to_string(),
        port: port.port,
        host_ip: port.host.to_string(),
        host_port: port.host_port,
        host_port_end: port.host_port,
    };
    let bindings: Vec<PortBinding> = published.iter().map(binding).collect();
    serde_json::to_value(bindings).expect("numbers and texts are JSON")
}

impl PortBinding {
    /// Says what is asked for of an endpoint that can be led to at `own` addresses.
    ///
    /// # Errors
    /// Invalid parameter: a protocol without ports, no port, a text that is no address, or one of a
    /// family the endpoint has no address of.
    pub(super) fn request(
        &self,
        endpoint: weft_api::EndpointId,
        own: &[IpAddr],
    ) -> Result<PortRequest, Error> {
        let Self { proto, port, host_ip, host_port, host_port_end, .. } = self;
        let invalid = |why: String| Err(Error::invalid_parameter(why));
        let Some(protocol) = Protocol::from_number(*proto) else {
            return invalid(format!("protocol {proto} has no ports to publish"));
        };
        if *port == 0 {
            return invalid("port 0 cannot be published".to_owned());
        }
        let host_port = match (*host_port, *host_port_end) {
            (0, _) => HostPort::Any,
            (first, 0) => HostPort::FirstOf(first..=first),
            (first, last) if last >= first => HostPort::FirstOf(first..=last),
            (first, last) => {
                return invalid(format!("`{first}-{last}` is no range of ports"));
            }
        };
        let unspecified = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let addresses: Vec<_> = if host_ip.is_empty() {
            own.iter().map(|ip| (unspecified(ip), *ip)).collect()
        } else {
            let Ok(host) = host_ip.parse::<IpAddr>() else {
                return invalid(format!("`{host_ip}` is no address of a host"));
            };
            let of_family = own.iter().filter(|ip| ip.is_ipv4() == host.is_ipv4());
            of_family.map(|ip| (host, *ip)).collect()
        };
        if addresses.is_empty() {
            let address = host_ip.parse().unwrap_or(IpAddr::from([0; 4]));
            let error = PlanError::CannotPublish { endpoint, address };
            return Err(Error::invalid_parameter(error));
        }
        Ok(PortRequest { protocol, addresses, host_port, port: *port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str, own: &[&str]) -> Result<PortRequest, Error> {
        let options = Options::from([(PORT_MAP.to_owned(), serde_json::from_str(json).unwrap())]);
        let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
        bindings_from(&options)?[0].request(weft_api::EndpointId::default(), &own)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_engines_words_are_understood() {
        let asked =
            r#"[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]"#;
        assert_eq!(
            request(asked, &["10.1.0.2", "fd01::2"]).unwrap(),
            PortRequest {
                protocol: Protocol::Tcp,
                addresses: vec![(ip("0.0.0.0"), ip("10.1.0.2")), (ip("::"), ip("fd01::2"))],
                host_port: HostPort::FirstOf(8080..=8080),
                port: 80,
            }
        );
        let any = r#"[{"Proto":17,"IP":null,"Port":53,"HostIP":"192.0.2.1","HostPort":0}]"#;
        let any = request(any, &["10.1.0.2", "fd01::2"]).unwrap();
        assert_eq!((any.protocol, any.host_port), (Protocol::Udp, HostPort::Any));
        assert_eq!(any.addresses, [(ip("192.0.2.1"), ip("10.1.0.2"))]);
    }

    #[test]
    fn what_cannot_be_published_is_refused() {
        for json in [
            r#"[{"Proto":1,"Port":80}]"#,
            r#"[{"Proto":6,"Port":0}]"#,
            r#"[{"Proto":6,"Port":80,"HostIP":"::"}]"#,
            r#"[{"Proto":6,"Port":80,"HostIP":"localhost"}]"#,
            r#"[{"Proto":6,"Port":80,"HostPort":90,"HostPortEnd":80}]"#,
            r#"[{"Proto":6,"Port":70000}]"#,
            r#"{"Proto":6}"#,
        ] {
            assert!(request(json, &["10.1.0.2"]).is_err(), "{json}");
        }
        assert!(request(r#"[{"Proto":6,"Port":80}]"#, &[]).is_err(), "no address leads there");
    }

    #[test]
    fn what_is_told_can_be_asked_for_again() {
        let published = PublishedPort {
            protocol: Protocol::Sctp,
            host: ip("::"),
            host_port: 9000,
            to: ip("fd01::2"),
            port: 90,
        };
        let options = Options::from([(PORT_MAP.to_owned(), to_value(&[published]))]);
        let again = bindings_from(&options).unwrap();
        let again = again[0].request(weft_api::EndpointId::default(), &[ip("fd01::2")]).unwrap();
        assert_eq!(again.host_port, HostPort::FirstOf(9000..=9000));
        assert_eq!(again.addresses, [(ip("::"), ip("fd01::2"))]);
    }
}
