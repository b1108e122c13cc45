//! What a plugin says about the versions it speaks.

use serde::{Deserialize, Serialize};

use super::{ALL, CURRENT, LEGACY};
use crate::error::Error;
use crate::types::fold_keys;

/// The answer to VERSION: what a plugin supports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    #[serde(rename = "cniVersion", default)]
    cni_version: String,
    #[serde(rename = "supportedVersions", default, skip_serializing_if = "Vec::is_empty")]
    supported_versions: Vec<String>,
}

impl PluginInfo {
    /// A plugin that supports these versions.
    ///
    /// # Panics
    /// If there are none: a plugin supports something, so that is the author's mistake.
    pub fn supports<I, S>(versions: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let supported_versions: Vec<String> = versions.into_iter().map(Into::into).collect();
        assert!(!supported_versions.is_empty(), "a plugin supports at least one version");
        Self { cni_version: CURRENT.to_owned(), supported_versions }
    }

    /// A plugin that supports every version this library implements.
    #[must_use]
    pub fn all() -> Self {
        Self::supports(ALL)
    }

    /// A plugin that supports 0.1.0 and 0.2.0 only.
    #[must_use]
    pub fn legacy() -> Self {
        Self::supports(LEGACY)
    }

    /// A plugin that supports `first` and what came after it.
    ///
    /// # Errors
    /// [`Error::UnsupportedResultVersion`] if this library does not implement `first`.
    pub fn versions_starting_from(first: &str) -> Result<Self, Error> {
        let from = ALL
            .iter()
            .position(|version| *version == first)
            .ok_or_else(|| Error::UnsupportedResultVersion(first.to_owned()))?;
        Ok(Self::supports(ALL.iter().skip(from).copied()))
    }

    /// Decodes a plugin's answer to VERSION.
    ///
    /// # Errors
    /// [`Error::DecodeVersionInfo`] if the bytes are malformed, [`Error::VersionInfoField`] if a
    /// member is missing.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let members = serde_json::from_slice(bytes).map_err(Error::DecodeVersionInfo)?;
        let folded = fold_keys(members, &["cniVersion", "supportedVersions"]);
        let info: Self = serde_json::from_value(folded).map_err(Error::DecodeVersionInfo)?;
        if info.cni_version.is_empty() {
            return Err(Error::VersionInfoField("cniVersion"));
        }
        if !info.supported_versions.is_empty() {
            return Ok(info);
        }
        // When VERSION was new a plugin could not name its versions; it spoke these two.
        if info.cni_version == "0.2.0" {
            return Ok(Self::legacy());
        }
        Err(Error::VersionInfoField("supportedVersions"))
    }

    /// The version of the answer itself.
    #[must_use]
    pub fn cni_version(&self) -> &str {
        &self.cni_version
    }

    /// The versions the plugin supports, in its own order.
    #[must_use]
    pub fn supported_versions(&self) -> &[String] {
        &self.supported_versions
    }

    /// Whether the plugin lists exactly this version.
    #[must_use]
    pub fn lists(&self, version: &str) -> bool {
        self.supported_versions.iter().any(|supported| supported == version)
    }
}

/// The configuration asks for a version the plugin does not list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incompatible CNI versions: {}", self.details())]
pub struct ErrorIncompatible {
    /// The version of the configuration.
    pub config: String,
    /// The versions of the plugin.
    pub supported: Vec<String>,
}

impl ErrorIncompatible {
    /// Both sides in one line, as the `details` of an error object.
    #[must_use]
    pub fn details(&self) -> String {
        let quoted: Vec<String> = self.supported.iter().map(|v| format!("{v:?}")).collect();
        format!("config is {:?}, plugin supports [{}]", self.config, quoted.join(" "))
    }
}

/// Checks that a plugin lists the version a configuration asks for.
///
/// # Errors
/// [`ErrorIncompatible`] if it does not.
pub fn reconcile(conf_version: &str, plugin: &PluginInfo) -> Result<(), ErrorIncompatible> {
    if plugin.lists(conf_version) {
        return Ok(());
    }
    Err(ErrorIncompatible {
        config: conf_version.to_owned(),
        supported: plugin.supported_versions.clone(),
    })
}
