//! Leniency of Go's JSON decoder that configurations in the field rely on.

use serde_json::{Map, Value};

/// Gives the members of an object the spelling in `known` whatever their case, and drops those
/// that are `null`, as Go takes both.
///
/// Where a member stands twice in different case, the exact spelling wins. It takes members and
/// not a value, for serde would read an array as a struct, field by field.
pub(crate) fn fold_keys(members: Map<String, Value>, known: &[&str]) -> Value {
    let mut exact = Map::new();
    let mut folded = Vec::new();
    for (key, member) in members {
        if member.is_null() {
            continue;
        }
        match known.iter().find(|name| name.eq_ignore_ascii_case(&key)) {
            Some(name) if *name != key => folded.push(((*name).to_owned(), member)),
            Some(_) | None => {
                exact.insert(key, member);
            }
        }
    }
    for (name, member) in folded {
        exact.entry(name).or_insert(member);
    }
    Value::Object(exact)
}

/// As [`fold_keys`], for an object and everything in it; for data without free-form parts.
pub(crate) fn fold_keys_deep(value: Value, known: &[&str]) -> Value {
    match value {
        Value::Object(members) => {
            let Value::Object(members) = fold_keys(members, known) else {
                return Value::Object(Map::new());
            };
            let deep = |(key, member)| (key, fold_keys_deep(member, known));
            Value::Object(members.into_iter().map(deep).collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| fold_keys_deep(item, known)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn keys_of_any_case_become_the_known_ones() {
        let folded = fold_keys(members(json!({"TYPE": "x", "Other": 1})), &["type"]);
        assert_eq!(folded, json!({"type": "x", "Other": 1}));
    }

    #[test]
    fn exact_spelling_wins_over_another_case() {
        let folded = fold_keys(members(json!({"TYPE": "x", "type": "y"})), &["type"]);
        assert_eq!(folded["type"], "y");
    }

    #[test]
    fn null_members_count_as_absent() {
        assert_eq!(fold_keys_deep(json!({"a": [{"b": null}]}), &[]), json!({"a": [{}]}));
    }
}
