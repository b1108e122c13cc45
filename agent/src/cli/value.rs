//! Values of flags that are more than a number or a path.

use ipnetwork::IpNetwork;

/// `KEY=VALUE` of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands after it.
    pub value: String,
}

/// Reads `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<KeyValue, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(KeyValue { key: key.to_owned(), value: value.to_owned() })
        }
        Some(_) | None => Err("an option is KEY=VALUE".to_owned()),
    }
}

/// Reads a network: an address, a slash and a prefix length, host bits zero.
pub(crate) fn cidr(text: &str) -> Result<IpNetwork, String> {
    let network: IpNetwork = match text.contains('/') {
        true => text.parse().map_err(|_| "a network looks like 10.1.0.0/16 or fd00:1::/64")?,
        false => return Err(format!("a prefix length is missing, as in {text}/24")),
    };
    if network.ip() != network.network() {
        return Err(format!(
            "it has host bits set; {}/{} is the network",
            network.network(),
            network.prefix()
        ));
    }
    Ok(network)
}

/// Reads a name: anything but nothing.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name cannot be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Reads an interface name as Linux takes it: 1 to 15 bytes, no slash, white space or colon, and
/// neither `.` nor `..`.
pub(crate) fn ifname(text: &str) -> Result<String, String> {
    let is_name = (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("an interface name is 1 to 15 characters without slash, colon or space".to_owned())
    }
}

/// Reads a name as CNI takes it.
pub(crate) fn cni_name(text: &str) -> Result<String, String> {
    cni::validate::network_name(text).map_err(|error| error.msg)?;
    Ok(text.to_owned())
}
