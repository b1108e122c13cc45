//! The rules for names (libcni's `utils.Validate*`).

use crate::types::{Code, PluginError};

/// The most bytes a name of an interface has, as the kernel counts without the final zero.
pub const IF_NAME_MAX: usize = 15;

/// Checks a container id: a letter or digit, then letters, digits, `_`, `.` and `-`.
///
/// # Errors
/// Code 3 if it is empty, code 4 if it holds another character.
pub fn container_id(id: &str) -> Result<(), PluginError> {
    if id.is_empty() {
        return Err(PluginError::new(Code::UNKNOWN_CONTAINER, "missing containerID"));
    }
    if !is_name(id) {
        let msg = "invalid characters in containerID";
        return Err(PluginError::new(Code::INVALID_ENVIRONMENT, msg).with_details(id));
    }
    Ok(())
}

/// Checks the name of a network, by the rule of [`container_id`].
///
/// # Errors
/// Code 7 if it is empty or holds another character.
pub fn network_name(name: &str) -> Result<(), PluginError> {
    if name.is_empty() {
        return Err(PluginError::new(Code::INVALID_NETWORK_CONFIG, "missing network name:"));
    }
    if !is_name(name) {
        let msg = "invalid characters found in network name";
        return Err(PluginError::new(Code::INVALID_NETWORK_CONFIG, msg).with_details(name));
    }
    Ok(())
}

/// Checks the name of an interface by the kernel's rules.
///
/// # Errors
/// Code 4 if it is empty, longer than [`IF_NAME_MAX`], `.` or `..`, or holds `/`, `:` or a
/// whitespace character.
pub fn interface_name(name: &str) -> Result<(), PluginError> {
    let invalid = |msg| Err(PluginError::new(Code::INVALID_ENVIRONMENT, msg));
    if name.is_empty() {
        return invalid("interface name is empty");
    }
    if name.len() > IF_NAME_MAX {
        return invalid("interface name is too long").map_err(|error| {
            error.with_details("interface name should be less than 16 characters")
        });
    }
    if name == "." || name == ".." {
        return invalid("interface name is . or ..");
    }
    if name.contains(['/', ':']) || name.contains(char::is_whitespace) {
        return invalid("interface name contains / or : or whitespace characters");
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_letters_digits_and_three_signs() {
        for id in ["abc", "a-b_c.1", "1234567", "A"] {
            assert_eq!(container_id(id), Ok(()), "{id}");
        }
        for id in ["_abc", "-abc", ".abc", "a/b", "a b", "héé", "a\n", "a*"] {
            let error = container_id(id).unwrap_err();
            assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
            assert_eq!(error.to_string(), format!("invalid characters in containerID; {id}"));
        }
        assert_eq!(container_id("").unwrap_err().code, Code::UNKNOWN_CONTAINER);
    }

    #[test]
    fn network_names_follow_the_same_rule_with_their_own_code() {
        assert_eq!(network_name("net-1.a_b"), Ok(()));
        for name in ["", "../../etc", ".", "adsf*^&**", "a b"] {
            assert_eq!(network_name(name).unwrap_err().code, Code::INVALID_NETWORK_CONFIG);
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        assert_eq!(interface_name("eth0"), Ok(()));
        assert_eq!(interface_name("123456789012345"), Ok(()));
        for (name, msg) in [
            ("", "interface name is empty"),
            ("1234567890123456", "interface name is too long"),
            (".", "interface name is . or .."),
            ("..", "interface name is . or .."),
            ("a/b", "interface name contains / or : or whitespace characters"),
            ("a:b", "interface name contains / or : or whitespace characters"),
            ("a b", "interface name contains / or : or whitespace characters"),
            ("a\u{2003}b", "interface name contains / or : or whitespace characters"),
        ] {
            let error = interface_name(name).unwrap_err();
            assert_eq!((error.msg.as_str(), error.code), (msg, Code::INVALID_ENVIRONMENT));
        }
    }
}
