//! Versions of the specification: parsing, comparing, and agreeing on one.
//!
//! ```
//! use cni::version;
//!
//! assert!(version::greater_than_or_equal_to("1.0.0", "0.4.0")?);
//! // A missing version means the first one.
//! assert_eq!(version::Version::parse("")?, version::Version::parse("0.1.0")?);
//! # Ok::<(), cni::Error>(())
//! ```

mod plugin;

use std::cmp::Ordering;

use serde_json::{Map, Value};

pub use plugin::{ErrorIncompatible, PluginInfo, reconcile};

use crate::error::Error;
use crate::types::{CniResult, NetConf, fold_keys};

/// The newest version of the specification this library implements.
pub const CURRENT: &str = "1.1.0";

/// Every version this library implements, oldest first.
pub const ALL: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The versions a runtime of the 0.1.0 days can work with.
pub const LEGACY: [&str; 2] = ["0.1.0", "0.2.0"];

/// What a missing version means.
pub(crate) const UNSTATED: &str = "0.1.0";

/// The newest version of the specification this library implements.
#[must_use]
pub fn current() -> &'static str {
    CURRENT
}

/// A parsed version; versions compare number by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: i64,
    /// The second number, 0 when left out.
    pub minor: i64,
    /// The third number, 0 when left out.
    pub micro: i64,
}

impl Version {
    /// Parses one to three numbers with dots between; the empty text is 0.1.0.
    ///
    /// Signs are accepted, as libcni accepts them.
    ///
    /// # Errors
    /// [`Error::InvalidVersion`] for more than three parts or a part that is no number.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidVersion { version: text.to_owned(), reason };
        if text.is_empty() {
            return Ok(Self { major: 0, minor: 1, micro: 0 });
        }
        let mut numbers = [0_i64; 3];
        for (index, part) in text.split('.').enumerate() {
            let number = numbers.get_mut(index).ok_or_else(|| invalid("too many parts"))?;
            *number = part.parse().map_err(|_| invalid("failed to convert a part to a number"))?;
        }
        let [major, minor, micro] = numbers;
        Ok(Self { major, minor, micro })
    }
}

/// Whether `version` is `other` or newer.
///
/// # Errors
/// [`Error::InvalidVersion`] if either is malformed.
pub fn greater_than_or_equal_to(version: &str, other: &str) -> Result<bool, Error> {
    compare(version, other).map(Ordering::is_ge)
}

/// Whether `version` is newer than `other`.
///
/// # Errors
/// [`Error::InvalidVersion`] if either is malformed.
pub fn greater_than(version: &str, other: &str) -> Result<bool, Error> {
    compare(version, other).map(Ordering::is_gt)
}

fn compare(version: &str, other: &str) -> Result<Ordering, Error> {
    Ok(Version::parse(version)?.cmp(&Version::parse(other)?))
}

/// Reads the version a configuration asks for; 0.1.0 when it says none.
///
/// # Errors
/// [`Error::DecodeConfVersion`] if the bytes are no JSON object or the version no string.
pub fn decode_conf_version(bytes: &[u8]) -> Result<String, Error> {
    /// The one member looked at.
    #[derive(serde::Deserialize)]
    struct Conf {
        #[serde(default, rename = "cniVersion")]
        version: String,
    }
    let members: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(Error::DecodeConfVersion)?;
    let conf: Conf = serde_json::from_value(fold_keys(members, &["cniVersion"]))
        .map_err(Error::DecodeConfVersion)?;
    Ok(if conf.version.is_empty() { UNSTATED.to_owned() } else { conf.version })
}

/// Decodes a configuration's `prevResult` for a plugin, leaving the decoded form in
/// [`NetConf::prev_result`]; does nothing when there is none.
///
/// A previous result that says no version is taken to be of the configuration's.
///
/// # Errors
/// [`Error::PrevResult`] if it is malformed, of an unknown version, or of another version than
/// the configuration.
pub fn parse_prev_result(conf: &mut NetConf) -> Result<(), Error> {
    let Some(mut raw) = conf.raw_prev_result.take() else { return Ok(()) };
    let version = raw.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    if version.is_empty() {
        raw.insert("cniVersion".to_owned(), Value::String(conf.cni_version.clone()));
    }
    let result = CniResult::decode(&conf.cni_version, Value::Object(raw))
        .map_err(|cause| Error::PrevResult(Box::new(cause)))?;
    conf.prev_result = Some(result);
    Ok(())
}

#[cfg(test)]
mod tests;
