//! Whatever comes in, what goes out is a result or an error object.

use cni::invoke::blocking::RawExec;
use cni::skel::{Process, dispatch};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::WeftCni;
use super::ok;
use super::played::{Played, attachment};

/// Answers a call and tells the code of its error object, if it fails.
fn code(variables: &[(String, String)], stdin: &[u8]) -> Option<u64> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (mut printed, mut talk) = (Vec::new(), Vec::new());
    let process = Process {
        variable: &variable,
        stdin: &mut &stdin[..],
        stdout: &mut printed,
        stderr: &mut talk,
    };
    let plugin = WeftCni::new(Box::new(RawExec::default()));
    let failure = dispatch(&plugin, process).err()?;
    let mut printed = Vec::new();
    failure.error.print_to(failure.version.as_deref(), &mut printed).unwrap();
    let object: Value = serde_json::from_slice(&printed).unwrap();
    assert!(object["msg"].is_string(), "{object}");
    object["code"].as_u64()
}

/// A value that a member could have, of any shape.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("10.9.0.0/24")),
        Just(json!("10.9.0.7")),
        Just(json!("02:00:00:00:00:01")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let keys =
            "subnet|rangeStart|rangeEnd|ips|mac|bandwidth|ingressRate|type|servers|[a-z]{1,4}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_member() -> impl Strategy<Value = (String, Value)> {
    let keys = "subnet|ipv6|mtu|ips|mac|ranges|isGateway|ipMasq|runtimeConfig|dns|prevResult|args|\
                network|capabilities|cni\\.dev/valid-attachments|[a-zA-Z]{1,8}";
    (keys, any_value())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_and_variables_end_in_an_error_object(
        command in "ADD|DEL|CHECK|GC|STATUS|VERSION|[A-Z]{0,6}",
        values in prop::collection::vec(".{0,20}", 5),
        stdin in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];
        let variables: Vec<_> = [("CNI_COMMAND".to_owned(), command.clone())]
            .into_iter()
            .chain(names.map(str::to_owned).into_iter().zip(values))
            .collect();
        let failed = code(&variables, &stdin);
        let by_hand = command.is_empty() || command == "VERSION";
        prop_assert!(failed.is_some() || by_hand, "{command}");
    }
}

#[test]
fn members_of_any_shape_end_in_a_result_or_an_error_object() {
    let agent = Played::answering(|_| ok(attachment(&["10.9.0.2/24"])));
    let usual = agent.call("ADD");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
    let inputs = (
        "ADD|CHECK|GC|STATUS",
        prop::collection::vec(any_member(), 0..5),
        "|IP=10.9.0.7|MAC=x|IgnoreUnknown=1;A=b|.{0,10}",
    );
    let done = runner.run(&inputs, |(command, members, args)| {
        let mut conf = usual.conf.clone();
        conf.as_object_mut().unwrap().extend(members);
        let variables: Vec<(String, String)> = [
            ("CNI_COMMAND", &command[..]),
            ("CNI_CONTAINERID", "web-1"),
            ("CNI_NETNS", &usual.netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
            ("CNI_PATH", "/nowhere"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        code(&variables, conf.to_string().as_bytes());
        Ok(())
    });
    done.unwrap();
}
