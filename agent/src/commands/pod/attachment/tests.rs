use super::*;

fn target(id: Option<&str>, netns: Option<&str>) -> Target {
    let args = PodTargetArgs {
        netns: netns.map(Into::into),
        pid: None,
        container_id: id.map(ToOwned::to_owned),
        ifname: "eth0".to_owned(),
    };
    Target::of(&args).unwrap()
}

fn attachment(network: &str, id: &str, netns: &str) -> NetworkAttachment {
    NetworkAttachment {
        container_id: id.to_owned(),
        network: network.to_owned(),
        if_name: "eth0".to_owned(),
        config: Vec::new(),
        netns: netns.to_owned(),
        cni_args: vec![("A".to_owned(), "old".to_owned())],
        capability_args: [("mac".to_owned(), "old".into())].into(),
    }
}

fn no_values() -> PodValueArgs {
    PodValueArgs { args: Vec::new(), cap: Vec::new() }
}

#[test]
fn a_container_id_is_made_as_cnitool_makes_it() {
    let rt = target(None, Some("/run/netns/pod1")).runtime_conf(&no_values());
    assert_eq!(rt.container_id, "cnitool-eb69d96616c204ff963c");
    assert_eq!(cni::validate::container_id(&rt.container_id), Ok(()));
}

#[test]
fn a_namespace_goes_by_path_by_name_or_by_process() {
    let netns = |path: &str| target(None, Some(path)).netns.unwrap();
    assert_eq!(netns("web"), "/run/netns/web");
    assert_eq!(netns("/tmp/a/web"), "/tmp/a/web");
    assert!(netns("./web").starts_with('/') && !netns("./web").starts_with("/run/netns"));
    let args =
        PodTargetArgs { netns: None, pid: Some(7), container_id: None, ifname: "eth0".to_owned() };
    assert_eq!(Target::of(&args).unwrap().netns.unwrap(), "/proc/7/ns/net");
}

#[test]
fn an_attachment_is_found_by_its_container_or_by_its_namespace() {
    let cached = [
        attachment("a", "one", "/var/run/netns/web"),
        attachment("a", "two", "/run/netns/db"),
        attachment("b", "three", "/run/netns/web"),
    ];
    let found = |id, netns| {
        let found = target(id, netns).find("a", &cached).unwrap();
        found.map(|attachment| attachment.container_id.clone())
    };
    assert_eq!(found(None, Some("web")).as_deref(), Some("one"));
    assert_eq!(found(Some("two"), None).as_deref(), Some("two"));
    // What is named counts, wherever it was.
    assert_eq!(found(Some("two"), Some("web")).as_deref(), Some("two"));
    assert_eq!(found(Some("three"), None), None);
    assert_eq!(found(None, Some("other")), None);
}

#[test]
fn two_in_one_namespace_have_to_be_told_apart() {
    let cached = [attachment("a", "one", "/run/netns/web"), attachment("a", "2", "/run/netns/web")];
    let failure = target(None, Some("web")).find("a", &cached).unwrap_err();
    assert_eq!(failure.code(), 2);
    assert!(failure.hint().unwrap().contains("--container-id"));
}

#[test]
fn what_is_given_counts_over_what_is_remembered() {
    let mut rt = attachment("a", "one", "/n").runtime_conf();
    tell(&mut rt, &no_values());
    assert_eq!(rt.args, [("A".to_owned(), "old".to_owned())]);
    let values = PodValueArgs {
        args: vec![crate::cli::CniPairs(vec![("B".to_owned(), "new".to_owned())])],
        cap: vec![crate::cli::Capabilities([("ips".to_owned(), "new".into())].into())],
    };
    tell(&mut rt, &values);
    assert_eq!(rt.args, [("B".to_owned(), "new".to_owned())]);
    assert_eq!(rt.capability_args.len(), 2);
}

#[test]
fn a_namespace_is_there_gone_or_not_to_be_told() {
    assert_eq!(Presence::of("/proc/self/ns/net"), Presence::There);
    assert_eq!(Presence::of("/run/netns/no such namespace"), Presence::Gone);
    assert_eq!(Presence::of("/proc/version"), Presence::Gone);
    assert_eq!(Presence::of(""), Presence::Unknown);
}
