//! What IPAM refuses, in libnetwork's words.

use crate::error::{Error, Kind};

/// Why an IPAM call failed. The first nine are `ipamapi`'s well-known errors, text and kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// `ErrInvalidAddressSpace`.
    #[error("invalid address space")]
    InvalidAddressSpace,
    /// `ErrInvalidPool`.
    #[error("invalid address pool")]
    InvalidPool,
    /// `ErrInvalidSubPool`.
    #[error("invalid address subpool")]
    InvalidSubPool,
    /// `ErrNoAvailableIPs`.
    #[error("no available addresses on this pool")]
    NoAvailableIps,
    /// `ErrNoIPReturned`.
    #[error("no address returned")]
    NoIpReturned,
    /// `ErrIPAlreadyAllocated`.
    #[error("Address already in use")]
    IpAlreadyAllocated,
    /// `ErrIPOutOfRange`.
    #[error("requested address is out of range")]
    IpOutOfRange,
    /// `ErrPoolOverlap`.
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlap,
    /// `ErrBadPool`.
    #[error("address space does not contain specified address pool")]
    BadPool,
    /// `ErrNoMoreSubnets`, which later versions of libnetwork keep beside the well-known ones.
    #[error("all predefined address pools have been fully subnetted")]
    NoMoreSubnets,
    /// Anything else, with its kind.
    #[error(transparent)]
    Other(#[from] Error),
}

impl IpamError {
    /// Returns what sort of failure this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::InvalidAddressSpace
            | Self::InvalidPool
            | Self::InvalidSubPool
            | Self::IpOutOfRange
            | Self::BadPool
            | Self::NoMoreSubnets => Kind::InvalidParameter,
            Self::NoAvailableIps | Self::NoIpReturned => Kind::Unavailable,
            Self::IpAlreadyAllocated | Self::PoolOverlap => Kind::Forbidden,
            Self::Other(error) => error.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_kinds_are_libnetworks() {
        use IpamError as E;
        use Kind::{Forbidden, InvalidParameter, Unavailable};
        let pool = "address space does not contain specified address pool";
        let table = [
            (E::InvalidAddressSpace, "invalid address space", InvalidParameter),
            (E::InvalidPool, "invalid address pool", InvalidParameter),
            (E::InvalidSubPool, "invalid address subpool", InvalidParameter),
            (E::NoAvailableIps, "no available addresses on this pool", Unavailable),
            (E::NoIpReturned, "no address returned", Unavailable),
            (E::IpAlreadyAllocated, "Address already in use", Forbidden),
            (E::IpOutOfRange, "requested address is out of range", InvalidParameter),
            (E::PoolOverlap, "Pool overlaps with other one on this address space", Forbidden),
            (E::BadPool, pool, InvalidParameter),
            (
                E::NoMoreSubnets,
                "all predefined address pools have been fully subnetted",
                InvalidParameter,
            ),
            (Error::unavailable("later").into(), "later", Unavailable),
        ];
        for (error, text, kind) in table {
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
        }
    }
}
