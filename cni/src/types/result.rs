//! A result of any version.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::fold::fold_keys_deep;
use super::{v020, v040, v100};
use crate::error::Error;
use crate::version::{CURRENT, UNSTATED};

/// What ADD answers with, in the shape of its version (libcni's `types.Result`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CniResult {
    /// 0.1.0 and 0.2.0.
    V020(v020::Result),
    /// 0.3.0, 0.3.1 and 0.4.0.
    V040(v040::Result),
    /// 1.0.0 and 1.1.0.
    V100(v100::Result),
}

const KEYS: [&str; 28] = [
    "cniVersion",
    "interfaces",
    "ips",
    "routes",
    "dns",
    "ip4",
    "ip6",
    "name",
    "mac",
    "mtu",
    "sandbox",
    "socketPath",
    "pciID",
    "version",
    "interface",
    "address",
    "gateway",
    "ip",
    "dst",
    "gw",
    "advmss",
    "priority",
    "table",
    "scope",
    "nameservers",
    "domain",
    "search",
    "options",
];

/// The shapes a result can have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    V020,
    V040,
    V100,
}

impl Shape {
    fn of(version: &str) -> Option<Self> {
        [Self::V020, Self::V040, Self::V100]
            .into_iter()
            .find(|shape| shape.versions().contains(&version))
    }

    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::V020 => &v020::VERSIONS,
            Self::V040 => &v040::VERSIONS,
            Self::V100 => &v100::VERSIONS,
        }
    }
}

impl CniResult {
    /// Decodes a result as the version it states; 0.1.0 when it states none.
    ///
    /// # Errors
    /// [`Error::DecodeConfVersion`] and [`Error::ParseResult`] if it is malformed,
    /// [`Error::UnsupportedResultVersion`] if its version is unknown.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let version = crate::version::decode_conf_version(bytes)?;
        Self::decode(&version, serde_json::from_slice(bytes).map_err(Error::ParseResult)?)
    }

    /// Decodes a result in the shape of `version`; the empty text is 0.1.0.
    ///
    /// # Errors
    /// [`Error::UnsupportedResultVersion`] if `version` is unknown, [`Error::ParseResult`] if the
    /// value is malformed, [`Error::ResultFamily`] if it states a version of another shape.
    pub fn decode(version: &str, value: Value) -> Result<Self, Error> {
        let version = if version.is_empty() { UNSTATED } else { version };
        let shape = Shape::of(version)
            .ok_or_else(|| Error::UnsupportedResultVersion(version.to_owned()))?;
        let members: Map<String, Value> =
            serde_json::from_value(value).map_err(Error::ParseResult)?;
        let mut value = fold_keys_deep(Value::Object(members), &KEYS);
        if let (Shape::V020, Value::Object(members)) = (shape, &mut value) {
            members.entry("cniVersion").or_insert_with(|| Value::from(UNSTATED));
        }
        let result = match shape {
            Shape::V020 => serde_json::from_value(value).map(Self::V020),
            Shape::V040 => serde_json::from_value(value).map(Self::V040),
            Shape::V100 => serde_json::from_value(value).map(Self::V100),
        }
        .map_err(Error::ParseResult)?;
        if shape.versions().contains(&result.version()) {
            return Ok(result);
        }
        let version = result.version().to_owned();
        Err(Error::ResultFamily { supported: shape.versions(), version })
    }

    /// Decodes what a plugin printed: a result that states no version is of the
    /// configuration's, and `null` is the empty result.
    ///
    /// # Errors
    /// As [`CniResult::decode`].
    pub fn from_plugin(conf_version: &str, stdout: &[u8]) -> Result<Self, Error> {
        let printed: Option<Map<String, Value>> =
            serde_json::from_slice(stdout).map_err(Error::ParseResult)?;
        let mut members = printed.unwrap_or_default();
        let stated = members
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("cniVersion"))
            .and_then(|(_, version)| version.as_str())
            .filter(|version| !version.is_empty())
            .map(str::to_owned);
        let version = stated.unwrap_or_else(|| {
            let assumed = if conf_version.is_empty() { UNSTATED } else { conf_version };
            members.retain(|key, _| !key.eq_ignore_ascii_case("cniVersion"));
            members.insert("cniVersion".to_owned(), Value::from(assumed));
            assumed.to_owned()
        });
        Self::decode(&version, Value::Object(members))
    }

    /// The version the result states.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::V020(result) => &result.cni_version,
            Self::V040(result) => &result.cni_version,
            Self::V100(result) => &result.cni_version,
        }
    }

    /// The same result as another version; the empty text is 0.1.0.
    ///
    /// Going down loses what the older version cannot say: before 1.0.0 what 1.1.0 added to
    /// interfaces, before 0.3.0 interfaces and all but the first address of each family. A
    /// result that states no version is of the newest its shape has.
    ///
    /// # Errors
    /// [`Error::NoConverter`] if either version is unknown, [`Error::NoIpAddresses`] if the
    /// result has no address and the version needs one.
    pub fn to_version(&self, version: &str) -> Result<Self, Error> {
        let version = if version.is_empty() { UNSTATED } else { version };
        let from = self.stated_or_newest();
        if from == version {
            return Ok(self.relabelled(version));
        }
        let none = || Error::NoConverter { from: from.to_owned(), to: version.to_owned() };
        if Shape::of(from).is_none() {
            return Err(none());
        }
        Ok(match (Shape::of(version).ok_or_else(none)?, self) {
            (Shape::V020, Self::V020(_))
            | (Shape::V040, Self::V040(_))
            | (Shape::V100, Self::V100(_)) => self.relabelled(version),
            (Shape::V040, Self::V020(old)) => Self::V040(old.to_v040(version)),
            (Shape::V100, Self::V020(old)) => Self::V100(old.to_v040("0.4.0").to_v100(version)),
            (Shape::V100, Self::V040(old)) => Self::V100(old.to_v100(version)),
            (Shape::V040, Self::V100(new)) => Self::V040(v040::Result::from_v100(new, version)),
            (Shape::V020, Self::V040(new)) => Self::V020(v020::Result::from_v040(new, version)?),
            (Shape::V020, Self::V100(new)) => {
                let between = v040::Result::from_v100(new, "0.4.0");
                Self::V020(v020::Result::from_v040(&between, version)?)
            }
        })
    }

    /// The result in the current shape and version, to work with.
    ///
    /// # Errors
    /// As [`CniResult::to_version`].
    pub fn to_current(&self) -> Result<v100::Result, Error> {
        match self.to_version(CURRENT)? {
            Self::V100(result) => Ok(result),
            other @ (Self::V020(_) | Self::V040(_)) => {
                Err(Error::NoConverter { from: other.version().to_owned(), to: CURRENT.into() })
            }
        }
    }

    /// Prints the result as a plugin must: JSON, indented by four.
    ///
    /// # Errors
    /// If `out` refuses the bytes.
    pub fn print_to(&self, out: &mut dyn Write) -> io::Result<()> {
        print_indented(self, out)
    }

    fn stated_or_newest(&self) -> &str {
        match self {
            Self::V020(result) if result.cni_version.is_empty() => "0.2.0",
            Self::V040(result) if result.cni_version.is_empty() => "0.4.0",
            Self::V100(result) if result.cni_version.is_empty() => CURRENT,
            Self::V020(_) | Self::V040(_) | Self::V100(_) => self.version(),
        }
    }

    fn relabelled(&self, version: &str) -> Self {
        let mut result = self.clone();
        let label = match &mut result {
            Self::V020(result) => &mut result.cni_version,
            Self::V040(result) => &mut result.cni_version,
            Self::V100(result) => &mut result.cni_version,
        };
        version.clone_into(label);
        result
    }
}

/// Writes JSON indented by four, as the reference plugins do.
pub(crate) fn print_indented<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    out.write_all(&bytes)
}

#[cfg(test)]
mod tests;
