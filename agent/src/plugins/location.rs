//! Where a plugin is reached, and how the files say it.

use std::path::PathBuf;

use serde::Deserialize;
use weft_api::error::Error;

/// Where a plugin is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A unix socket.
    Unix(PathBuf),
    /// Host and port, in the clear.
    Tcp(String),
}

impl Location {
    /// Reads `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`.
    ///
    /// # Errors
    /// Invalid parameter for anything else; not implemented for `https://`.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let malformed = || {
            Error::invalid_parameter(format!(
                "`{url}` is no plugin's address: unix://PATH, tcp://HOST:PORT or http://HOST:PORT"
            ))
        };
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(malformed)?;
        let authority = rest.split('/').next().unwrap_or_default();
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "tcp" | "http" if is_authority(authority) => {
                let port = if has_port(authority) { "" } else { ":80" };
                Ok(Self::Tcp(format!("{authority}{port}")))
            }
            "https" => Err(without_tls(url)),
            _ => Err(malformed()),
        }
    }

    /// Reads the text of a `.json` file.
    ///
    /// # Errors
    /// Invalid parameter when it is malformed; not implemented when it asks for TLS.
    pub(super) fn from_json(text: &str) -> Result<Self, Error> {
        let file: SpecFile = serde_json::from_str(text).map_err(Error::invalid_parameter)?;
        match file.tls_config {
            Some(tls) if tls.is_asked_for() => Err(without_tls(&file.addr)),
            Some(_) | None => Self::parse(&file.addr),
        }
    }
}

fn is_authority(authority: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !authority.is_empty() && !authority.starts_with(':') && authority.chars().all(fits)
}

fn has_port(authority: &str) -> bool {
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    after_host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn without_tls(address: &str) -> Error {
    Error::not_implemented(format!(
        "plugin at `{address}` asks for TLS, which the agent does not speak: use a unix socket, \
         or a proxy that ends TLS on this host"
    ))
}

/// A `.json` file, as Docker's documentation of plugin discovery has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpecFile {
    addr: String,
    #[serde(default, rename = "TLSConfig")]
    tls_config: Option<TlsConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TlsConfig {
    #[serde(rename = "CAFile")]
    ca_file: String,
    #[serde(rename = "CertFile")]
    cert_file: String,
    #[serde(rename = "KeyFile")]
    key_file: String,
    #[serde(rename = "InsecureSkipVerify")]
    insecure_skip_verify: bool,
}

impl TlsConfig {
    /// A member that is empty, or false, asks for nothing.
    fn is_asked_for(&self) -> bool {
        let files = [&self.ca_file, &self.cert_file, &self.key_file];
        self.insecure_skip_verify || files.iter().any(|file| !file.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use weft_api::Kind;

    use super::*;

    #[test]
    fn addresses_are_read_as_docker_writes_them() {
        let tcp = |authority: &str| Ok(Location::Tcp(authority.to_owned()));
        assert_eq!(
            Location::parse("unix:///run/x.sock\n"),
            Ok(Location::Unix("/run/x.sock".into()))
        );
        assert_eq!(Location::parse("tcp://127.0.0.1:8080"), tcp("127.0.0.1:8080"));
        assert_eq!(Location::parse("http://[::1]:8080/"), tcp("[::1]:8080"));
        assert_eq!(Location::parse("http://plugin.example"), tcp("plugin.example:80"));
        assert_eq!(Location::parse("tcp://[::1]"), tcp("[::1]:80"));
        for text in ["", "x", "unix://run/x", "tcp://", "tcp://:80", "ftp://a:1", "tcp://a b:1"] {
            assert_eq!(Location::parse(text).unwrap_err().kind, Kind::InvalidParameter, "{text}");
        }
    }

    #[test]
    fn a_json_file_names_an_address() {
        let json = r#"{"Name":"x","Addr":"unix:///run/x.sock","TLSConfig":{"CAFile":""}}"#;
        assert_eq!(Location::from_json(json), Ok(Location::Unix("/run/x.sock".into())));
        let kind = |json: &str| Location::from_json(json).unwrap_err().kind;
        assert_eq!(kind("{}"), Kind::InvalidParameter);
        assert_eq!(kind("["), Kind::InvalidParameter);
    }

    #[test]
    fn tls_is_refused_in_words_and_never_left_out() {
        let files = [
            r#"{"Addr":"tcp://a:1","TLSConfig":{"CAFile":"/etc/ca.pem"}}"#,
            r#"{"Addr":"tcp://a:1","TLSConfig":{"InsecureSkipVerify":true}}"#,
            r#"{"Addr":"https://a:1"}"#,
        ];
        for file in files {
            let error = Location::from_json(file).unwrap_err();
            assert_eq!(error.kind, Kind::NotImplemented);
            assert!(error.text.contains("TLS"), "{error}");
        }
    }
}
