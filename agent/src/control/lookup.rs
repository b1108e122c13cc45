//! References to networks and endpoints as people write them: full id, unique prefix, or name.

use std::fmt;

use weft_api::control::ControlError;

/// Defines a reference: text that one resolver reads, so that no other text is taken for it.
macro_rules! reference {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

reference! {
    /// A network: full id, prefix of one id, or name.
    NetworkRef
}
reference! {
    /// An endpoint: full id, prefix of one id, name, or `NETWORK/NAME`.
    EndpointRef
}

impl EndpointRef {
    /// Parts `NETWORK/NAME`; the network is none where no slash stands.
    pub fn parts(&self) -> (Option<NetworkRef>, &str) {
        match self.0.split_once('/') {
            Some((network, name)) => (Some(NetworkRef::new(network)), name),
            None => (None, &self.0),
        }
    }
}

/// Finds the one of `candidates` that `wanted` means. `describe` gives a candidate's id and name.
///
/// The full id goes before the name, the name before a prefix: a network called `ab` stays
/// reachable however many ids begin so.
///
/// # Errors
/// Not found when nothing goes by `wanted`; a conflict when several do. `subject` says what they
/// are, in the singular ("network").
pub fn resolve<T>(
    subject: &str,
    wanted: &str,
    candidates: impl IntoIterator<Item = T>,
    describe: impl Fn(&T) -> (String, String),
) -> Result<T, ControlError> {
    let mut named = Vec::new();
    let mut prefixed = Vec::new();
    for candidate in candidates {
        let (id, name) = describe(&candidate);
        if id == wanted {
            return Ok(candidate);
        }
        if name == wanted {
            named.push(candidate);
        } else if !wanted.is_empty() && id.starts_with(wanted) {
            prefixed.push(candidate);
        }
    }
    for mut found in [named, prefixed] {
        let count = found.len();
        if let Some(one) = found.pop() {
            if count == 1 {
                return Ok(one);
            }
            let ids: Vec<String> = found
                .iter()
                .chain([&one])
                .take(3)
                .map(|each| format!("`{}`", describe(each).0))
                .collect();
            return Err(ControlError::conflict(format!(
                "`{wanted}` means {count} {subject}s, among them {}",
                ids.join(", ")
            ))
            .with_hint(format!("give the full id of the {subject}")));
        }
    }
    Err(ControlError::not_found(format!("{subject} `{wanted}` does not exist"))
        .with_hint(format!("`weft {subject} ls` lists the {subject}s this node knows")))
}

#[cfg(test)]
mod tests {
    use weft_api::control::ErrorKind;

    use super::*;

    fn find(wanted: &str) -> Result<&'static str, ErrorKind> {
        let all = [("abc1", "web"), ("abc2", "db"), ("def3", "abc1"), ("fff4", "web")];
        resolve("network", wanted, all, |(id, name)| ((*id).to_owned(), (*name).to_owned()))
            .map(|(id, _)| id)
            .map_err(|error| error.kind)
    }

    #[test]
    fn a_full_id_goes_before_a_name_and_a_name_before_a_prefix() {
        assert_eq!(find("abc1"), Ok("abc1"));
        assert_eq!(find("db"), Ok("abc2"));
        assert_eq!(find("de"), Ok("def3"));
    }

    #[test]
    fn what_means_several_is_a_conflict_and_what_means_none_is_not_found() {
        assert_eq!(find("abc"), Err(ErrorKind::Conflict));
        assert_eq!(find("web"), Err(ErrorKind::Conflict));
        assert_eq!(find("x"), Err(ErrorKind::NotFound));
        assert_eq!(find(""), Err(ErrorKind::NotFound));
    }

    #[test]
    fn an_endpoint_may_be_named_with_its_network() {
        let endpoint = EndpointRef::new("blue/web");
        assert_eq!(endpoint.parts(), (Some(NetworkRef::new("blue")), "web"));
        assert_eq!(EndpointRef::new("web").parts(), (None, "web"));
    }
}
