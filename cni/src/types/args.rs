//! CNI_ARGS: `key=value` pairs with semicolons between.

use crate::error::Error;

/// Whether a set of arguments has a field for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// The value was stored.
    Yes,
    /// There is no such field.
    No,
}

/// A plugin's own arguments: what [`load_args`] fills.
pub trait ArgFields {
    /// Stores the value of a key, if there is a field for it.
    ///
    /// # Errors
    /// What is wrong with the value, in words.
    fn set(&mut self, key: &str, value: &str) -> Result<Recognised, String>;
}

/// The argument every plugin understands. `load_args` with this alone accepts no other key,
/// unless told to ignore them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommonArgs {
    /// Whether keys nobody knows are passed over; Kubernetes runtimes always set it.
    pub ignore_unknown: bool,
}

impl ArgFields for CommonArgs {
    fn set(&mut self, key: &str, value: &str) -> Result<Recognised, String> {
        if key != "IgnoreUnknown" {
            return Ok(Recognised::No);
        }
        self.ignore_unknown = parse_bool(value)?;
        Ok(Recognised::Yes)
    }
}

/// Parses `1`, `0`, `true` and `false` in any case.
///
/// # Errors
/// What is wrong with any other text.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("boolean unmarshal error: invalid input {text}")),
    }
}

/// Reads CNI_ARGS into a plugin's arguments.
///
/// ```
/// use cni::types::{ArgFields, Recognised, load_args};
///
/// #[derive(Default)]
/// struct Pod { name: String }
/// impl ArgFields for Pod {
///     fn set(&mut self, key: &str, value: &str) -> Result<Recognised, String> {
///         if key != "K8S_POD_NAME" {
///             return Ok(Recognised::No);
///         }
///         self.name = value.to_owned();
///         Ok(Recognised::Yes)
///     }
/// }
/// let mut pod = Pod::default();
/// load_args("IgnoreUnknown=1;K8S_POD_NAME=web;OTHER=x", &mut pod)?;
/// assert_eq!(pod.name, "web");
/// # Ok::<(), cni::Error>(())
/// ```
///
/// # Errors
/// [`Error::ArgsPair`] where a part is not one key and one value, [`Error::ArgsValue`] where a
/// field refuses its value, [`Error::UnknownArgs`] for keys nobody knows without
/// `IgnoreUnknown`. Fields named before the error are set.
pub fn load_args(args: &str, fields: &mut dyn ArgFields) -> Result<CommonArgs, Error> {
    let mut common = CommonArgs::default();
    let mut unknown = Vec::new();
    if args.is_empty() {
        return Ok(common);
    }
    for pair in args.split(';') {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts[..] else { return Err(Error::ArgsPair(pair.to_owned())) };
        let refused = |reason| Error::ArgsValue { pair: pair.to_owned(), reason };
        let ours = common.set(key, value).map_err(refused)?;
        let theirs = fields.set(key, value).map_err(refused)?;
        if ours == Recognised::No && theirs == Recognised::No {
            unknown.push(pair.to_owned());
        }
    }
    if !unknown.is_empty() && !common.ignore_unknown {
        return Err(Error::UnknownArgs(unknown));
    }
    Ok(common)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[derive(Default)]
    struct Fields {
        ip: Option<IpAddr>,
        label: Option<String>,
    }

    impl ArgFields for Fields {
        fn set(&mut self, key: &str, value: &str) -> Result<Recognised, String> {
            match key {
                "IP" => self.ip = Some(value.parse().map_err(|_| "no address".to_owned())?),
                "LABEL" => self.label = Some(value.to_owned()),
                _ => return Ok(Recognised::No),
            }
            Ok(Recognised::Yes)
        }
    }

    #[test]
    fn booleans_have_four_spellings_in_any_case() {
        for (text, value) in [("1", true), ("True", true), ("0", false), ("FALSE", false)] {
            assert_eq!(parse_bool(text), Ok(value));
        }
        for text in ["invalid", "", "yes", "2"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_arguments_are_fine() {
        assert_eq!(load_args("", &mut CommonArgs::default()).unwrap(), CommonArgs::default());
    }

    #[test]
    fn unknown_arguments_are_ignored_when_told_so() {
        let common = load_args("IgnoreUnknown=True;Unk=nown", &mut Fields::default()).unwrap();
        assert!(common.ignore_unknown);
        // The order does not matter.
        load_args("Unk=nown;IgnoreUnknown=1", &mut Fields::default()).unwrap();
    }

    #[test]
    fn unknown_arguments_are_refused_by_default_and_when_told_so() {
        for args in ["Unk=nown", "IgnoreUnknown=false;Unk=nown"] {
            let error = load_args(args, &mut Fields::default()).unwrap_err();
            assert_eq!(error.to_string(), r#"ARGS: unknown args ["Unk=nown"]"#);
        }
    }

    #[test]
    fn known_arguments_reach_their_fields() {
        let mut fields = Fields::default();
        load_args("IP=10.0.0.1;LABEL=", &mut fields).unwrap();
        assert_eq!(fields.ip, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(fields.label.as_deref(), Some(""));
    }

    #[test]
    fn value_its_field_refuses_is_an_error() {
        let error = load_args("IP=nowhere", &mut Fields::default()).unwrap_err();
        assert!(matches!(error, Error::ArgsValue { .. }), "{error}");
    }

    #[test]
    fn part_that_is_not_one_pair_is_an_error() {
        for args in ["IP", "IP=1=2", "IP=10.0.0.1;", ";"] {
            let error = load_args(args, &mut Fields::default()).unwrap_err();
            assert!(matches!(error, Error::ArgsPair(_)), "{args}: {error}");
        }
    }
}
