//! What a plugin or the cache refused, as a sentence and a hint.

use cni::Error;
use cni::types::Code;

use crate::commands::output::printable;
use crate::failure::Failure;

/// Says why a call to a network's plugins failed.
pub(super) fn of_plugins(network: &str, error: &Error) -> Failure {
    Failure::failed(format!("network `{network}`: {}", words(error))).with_hint(hint(error))
}

/// Says why the cache cannot be read.
pub(super) fn of_cache(error: &Error) -> Failure {
    Failure::failed(printable(&error.to_string()))
        .with_hint("--cache-dir names another directory; that of the system is root's")
}

/// An error as one line, with the code if a plugin gave one.
pub(super) fn words(error: &Error) -> String {
    if let Error::Gc(errors) = error {
        return errors.iter().map(words).collect::<Vec<_>>().join("; ");
    }
    let text = printable(error.to_string().trim_end());
    match error.code() {
        Some(code) => format!("{text} (code {code})"),
        None => text,
    }
}

fn hint(error: &Error) -> String {
    if let Some(code) = error.code() {
        return of_code(code).to_owned();
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have no hint of their own")]
    let hint = match innermost(error) {
        Error::PluginNotFound { .. } | Error::NoPaths => {
            "--bin-dir names another directory; Debian's package containernetworking-plugins has \
             the usual plugins in /usr/lib/cni"
        }
        Error::CheckNotSupported { .. } => {
            "CHECK came with 0.4.0: raise `cniVersion` of the network and attach anew"
        }
        Error::UnsupportedConfVersion { .. } | Error::Incompatible(_) => {
            "`cniVersion` of the network must be one that all its plugins speak"
        }
        Error::Execute { .. } => "the plugin's file cannot be run: is it executable, and whole?",
        Error::CacheIo { .. } => {
            "--cache-dir names another directory; that of the system is root's"
        }
        Error::InvalidVersion { .. } => "`cniVersion` is one of 0.1.0 to 1.1.0",
        _ => "the plugin gave no code; its own output is above, or in its log",
    };
    hint.to_owned()
}

/// The error below those that only say where it happened.
fn innermost(error: &Error) -> &Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these say where")]
    match error {
        Error::InChain { cause, .. }
        | Error::Rollback { cause, .. }
        | Error::SetCachedResult { cause, .. }
        | Error::GetCachedResult { cause, .. }
        | Error::GcPlugin { cause, .. } => innermost(cause),
        Error::Validation(errors) | Error::Gc(errors) => {
            errors.first().map_or(error, |first| innermost(first))
        }
        _ => error,
    }
}

/// What the specification says of a code.
fn of_code(code: Code) -> &'static str {
    match code {
        Code::INCOMPATIBLE_VERSION => {
            "code 1: the plugin does not speak `cniVersion` of the network"
        }
        Code::UNSUPPORTED_FIELD => "code 2: the configuration has a field the plugin does not know",
        Code::UNKNOWN_CONTAINER => "code 3: the plugin does not know the container",
        Code::INVALID_ENVIRONMENT => "code 4: an argument is missing or wrong",
        Code::IO_FAILURE => "code 5: the plugin could not read or write",
        Code::DECODING_FAILURE => "code 6: the plugin could not decode what it got",
        Code::INVALID_NETWORK_CONFIG => "code 7: the configuration of the network is wrong",
        Code::INVALID_NETNS => "code 8: the namespace is none to work in",
        Code::TRY_AGAIN_LATER => {
            "code 11: not now; once what its message names is put right, try again"
        }
        Code::PLUGIN_NOT_AVAILABLE => "code 50: the network takes no namespaces now",
        Code::LIMITED_CONNECTIVITY => {
            "code 51: the network takes no namespaces now, and those it has may be cut off"
        }
        Code::INTERNAL => "code 999: any failure the plugin has no own code for",
        Code(100..) => "a code from 100 on is the plugin's own; its manual explains it",
        Code(_) => "the specification leaves this code open",
    }
}
