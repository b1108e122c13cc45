//! What goes wrong with the agent, in CNI's error objects.

use cni::types::{Code, PluginError};
use weft_api::control::{ControlError, ErrorKind};

use super::socket::CallError;

/// CHECK: the attachment is not there, or not as it was made.
pub(super) const NOT_AS_MADE: Code = Code(100);
/// What was asked for is taken, or contradicts what there is.
pub(super) const CONFLICT: Code = Code(101);
/// GC: some attachments could not be ended.
pub(super) const NOT_COLLECTED: Code = Code(102);

/// The agent said no.
pub(super) fn refused(error: ControlError) -> PluginError {
    let code = match error.kind {
        ErrorKind::InvalidParameter | ErrorKind::NotFound => Code::INVALID_NETWORK_CONFIG,
        ErrorKind::Forbidden | ErrorKind::Conflict => CONFLICT,
        ErrorKind::NotImplemented => Code::UNSUPPORTED_FIELD,
        ErrorKind::Unavailable | ErrorKind::Timeout => Code::TRY_AGAIN_LATER,
        ErrorKind::Internal => Code::INTERNAL,
    };
    PluginError::new(code, error.error).with_details(error.hint.unwrap_or_default())
}

/// A call came to nothing.
pub(super) fn of(error: CallError) -> PluginError {
    match error {
        CallError::Refused(error) => refused(error),
        CallError::Absent(reason) | CallError::Lost(reason) => {
            PluginError::new(Code::TRY_AGAIN_LATER, "the agent of this host does not answer")
                .with_details(reason)
        }
        CallError::Unusable(reason) => {
            PluginError::new(Code::IO_FAILURE, "the agent of this host cannot be called")
                .with_details(reason)
        }
    }
}
