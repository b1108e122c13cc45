//! What network drivers refuse, in libnetwork's words.

use crate::error::{Error, Kind};
use crate::ipam::IpamError;

/// Why a driver call failed. Each variant's text and kind are libnetwork's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// `ErrActiveRegistration`: the network type has a driver already.
    #[error("Driver already registered for type {0:?}")]
    ActiveRegistration(String),
    /// `ErrEndpointExists`: the endpoint was made before, in another form.
    #[error("Endpoint ({0}) already exists (Only one endpoint allowed)")]
    EndpointExists(String),
    /// `ErrNoEndpoint`: no endpoint has this id.
    #[error("No endpoint ({0}) exists")]
    NoEndpoint(String),
    /// `ErrNoNetwork`: no network has this id.
    #[error("No network ({0}) exists")]
    NoNetwork(String),
    /// `ErrNotImplemented`: the driver lacks this call.
    #[error("The API is not implemented yet")]
    NotImplemented,
    /// `ActiveEndpointsError`: the network still has endpoints.
    #[error("network {name} id {id} has active endpoints")]
    ActiveEndpoints {
        /// The network's name, or its id where only that is known.
        name: String,
        /// The network's id.
        id: String,
    },
    /// IPAM refused.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// Anything else, with its kind.
    #[error(transparent)]
    Other(#[from] Error),
}

impl DriverError {
    /// Returns what sort of failure this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::ActiveRegistration(_)
            | Self::EndpointExists(_)
            | Self::ActiveEndpoints { .. } => Kind::Forbidden,
            Self::NoEndpoint(_) | Self::NoNetwork(_) => Kind::NotFound,
            Self::NotImplemented => Kind::NotImplemented,
            Self::Ipam(error) => error.kind(),
            Self::Other(error) => error.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_kinds_are_libnetworks() {
        let table = [
            (
                DriverError::ActiveRegistration("overlay".into()),
                "Driver already registered for type \"overlay\"",
                Kind::Forbidden,
            ),
            (
                DriverError::EndpointExists("ep".into()),
                "Endpoint (ep) already exists (Only one endpoint allowed)",
                Kind::Forbidden,
            ),
            (DriverError::NoEndpoint("ep".into()), "No endpoint (ep) exists", Kind::NotFound),
            (DriverError::NoNetwork("n".into()), "No network (n) exists", Kind::NotFound),
            (DriverError::NotImplemented, "The API is not implemented yet", Kind::NotImplemented),
            (
                DriverError::ActiveEndpoints { name: "blue".into(), id: "1f".into() },
                "network blue id 1f has active endpoints",
                Kind::Forbidden,
            ),
            (
                IpamError::NoAvailableIps.into(),
                "no available addresses on this pool",
                Kind::Unavailable,
            ),
            (Error::internal("a text").into(), "a text", Kind::Internal),
        ];
        for (error, text, kind) in table {
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
        }
    }
}
