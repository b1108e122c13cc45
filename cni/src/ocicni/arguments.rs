//! From a pod to what plugins are called with.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::pod::{NetAttachment, PodNetwork, RuntimeConfig};
use crate::error::Error;
use crate::libcni::RuntimeConf;

/// How interfaces are called that nobody named, with a number from 0 behind.
const PREFIX: &str = "eth";

/// Pairs of CNI_ARGS, as this process may itself have been started with. What is no pair is
/// passed over.
pub(super) fn parse_args(text: &str) -> Vec<(String, String)> {
    text.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Gives every attachment an interface name: its own, or the first `ethN` that is free.
pub(super) fn name_interfaces(wanted: &[NetAttachment]) -> Result<Vec<NetAttachment>, Error> {
    let mut taken = BTreeSet::new();
    for NetAttachment { if_name, .. } in wanted.iter().filter(|wanted| !wanted.if_name.is_empty()) {
        if !taken.insert(if_name.clone()) {
            return Err(Error::DuplicateInterface(if_name.clone()));
        }
    }
    let mut named = wanted.to_vec();
    let mut number = 0_usize;
    for attachment in named.iter_mut().filter(|attachment| attachment.if_name.is_empty()) {
        while !taken.insert(format!("{PREFIX}{number}")) {
            number += 1;
        }
        attachment.if_name = format!("{PREFIX}{number}");
    }
    Ok(named)
}

/// What the plugins of one network are called with for a pod. `more` goes between what is said
/// of the pod and what is asked for it.
pub(super) fn runtime_conf(
    pod: &PodNetwork,
    attachment: &NetAttachment,
    more: &[(String, String)],
) -> Result<RuntimeConf, Error> {
    let netns = pod.netns.to_str().ok_or_else(|| Error::PodArgument {
        what: "network namespace",
        value: pod.netns.to_string_lossy().into_owned(),
    })?;
    let mut rt = RuntimeConf::new(&pod.id, netns, &attachment.if_name);
    rt.args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
    for (key, what, value) in [
        ("K8S_POD_NAMESPACE", "pod namespace", &pod.namespace),
        ("K8S_POD_NAME", "pod name", &pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", "container id", &pod.id),
        ("K8S_POD_UID", "pod uid", &pod.uid),
    ] {
        // A semicolon would begin a pair of its own, of the pod's making.
        if value.contains([';', '\0']) {
            return Err(Error::PodArgument { what, value: value.clone() });
        }
        rt.args.push((key.to_owned(), value.clone()));
    }
    rt.args.extend_from_slice(more);
    let none = RuntimeConfig::default();
    let asked = pod.runtime_config.get(&attachment.name).unwrap_or(&none);
    if let Some(ip) = asked.ip {
        rt.args.push(("IP".to_owned(), ip.to_string()));
    }
    if let Some(mac) = &asked.mac {
        if !is_mac(mac) {
            return Err(Error::PodArgument { what: "MAC address", value: mac.clone() });
        }
        rt.args.push(("MAC".to_owned(), mac.clone()));
    }
    rt.capability_args = capabilities(pod, attachment, asked);
    Ok(rt)
}

fn capabilities(
    pod: &PodNetwork,
    attachment: &NetAttachment,
    asked: &RuntimeConfig,
) -> std::collections::BTreeMap<String, Value> {
    let aliases = pod.aliases.get(&attachment.name).filter(|aliases| !aliases.is_empty());
    let annotations = &asked.pod_annotations;
    let given = [
        ("aliases", aliases.map(|aliases| json!(aliases))),
        ("bandwidth", asked.bandwidth.map(|bandwidth| json!(bandwidth))),
        ("cgroupPath", asked.cgroup_path.as_ref().map(|path| json!(path))),
        (
            "io.kubernetes.cri.pod-annotations",
            (!annotations.is_empty()).then(|| json!(annotations)),
        ),
        ("ipRanges", (!asked.ip_ranges.is_empty()).then(|| json!(asked.ip_ranges))),
        ("portMappings", (!asked.port_mappings.is_empty()).then(|| json!(asked.port_mappings))),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn is_mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    octets.len() == 6
        && octets.iter().all(is_octet)
        && text.bytes().all(|b| b == b':' || b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocicni::{Bandwidth, IpRange, PortMapping};

    fn wanted(names: &[(&str, &str)]) -> Vec<NetAttachment> {
        let attachment = |(name, if_name): &(&str, &str)| NetAttachment {
            name: (*name).to_owned(),
            if_name: (*if_name).to_owned(),
        };
        names.iter().map(attachment).collect()
    }

    fn args(rt: &RuntimeConf) -> Vec<(&str, &str)> {
        rt.args.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn unnamed_interfaces_get_the_first_free_names() {
        let named = name_interfaces(&wanted(&[("a", ""), ("b", "eth1"), ("c", ""), ("a", "")]));
        assert_eq!(
            named.unwrap(),
            wanted(&[("a", "eth0"), ("b", "eth1"), ("c", "eth2"), ("a", "eth3")])
        );
    }

    #[test]
    fn interface_asked_for_twice_is_refused() {
        let error = name_interfaces(&wanted(&[("a", "net1"), ("b", "net1")])).unwrap_err();
        assert!(matches!(error, Error::DuplicateInterface(name) if name == "net1"));
    }

    #[test]
    fn pairs_of_the_environment_may_have_further_equal_signs() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse_args("A=1;junk;B=x=y;"), [pair("A", "1"), pair("B", "x=y")]);
        assert_eq!(parse_args(""), []);
    }

    #[test]
    fn arguments_tell_of_the_pod_then_of_the_host_then_what_is_asked() {
        let mut pod = PodNetwork::new("/run/netns/p", "ns", "web", "id1");
        pod.uid = "u".to_owned();
        let asked = RuntimeConfig {
            ip: Some("10.0.0.9".parse().unwrap()),
            mac: Some("c2:11:22:33:44:55".to_owned()),
            ..RuntimeConfig::default()
        };
        pod.runtime_config.insert("blue".to_owned(), asked);
        let attachment = NetAttachment { name: "blue".to_owned(), if_name: "eth3".to_owned() };
        let more = parse_args("X=y");
        let rt = runtime_conf(&pod, &attachment, &more).unwrap();
        assert_eq!(
            (rt.container_id.as_str(), rt.netns.as_str(), rt.if_name.as_str()),
            ("id1", "/run/netns/p", "eth3")
        );
        let of_the_pod = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", "ns"),
            ("K8S_POD_NAME", "web"),
            ("K8S_POD_INFRA_CONTAINER_ID", "id1"),
            ("K8S_POD_UID", "u"),
            ("X", "y"),
        ];
        assert_eq!(args(&rt)[..6], of_the_pod);
        assert_eq!(args(&rt)[6..], [("IP", "10.0.0.9"), ("MAC", "c2:11:22:33:44:55")]);
        assert!(rt.capability_args.is_empty());

        // What is asked for one network is nothing to another.
        let rt = runtime_conf(&pod, &NetAttachment::to("red"), &[]).unwrap();
        assert_eq!(args(&rt), of_the_pod[..5]);
    }

    #[test]
    fn capabilities_have_the_names_and_members_plugins_read() {
        let mut pod = PodNetwork::new("/run/netns/p", "ns", "web", "id1");
        pod.aliases.insert("blue".to_owned(), vec!["db".to_owned()]);
        let asked = RuntimeConfig {
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: "tcp".to_owned(),
                host_ip: "127.0.0.1".to_owned(),
            }],
            bandwidth: Some(Bandwidth { ingress_rate: 1, ..Bandwidth::default() }),
            ip_ranges: vec![vec![IpRange {
                subnet: "10.1.0.0/16".parse().unwrap(),
                range_start: None,
                range_end: Some("10.1.0.9".parse().unwrap()),
                gateway: None,
            }]],
            cgroup_path: Some("/slice".to_owned()),
            pod_annotations: [("k".to_owned(), "v".to_owned())].into(),
            ..RuntimeConfig::default()
        };
        pod.runtime_config.insert("blue".to_owned(), asked);
        let rt = runtime_conf(&pod, &NetAttachment::to("blue"), &[]).unwrap();
        let expected = json!({
            "aliases": ["db"],
            "bandwidth": {
                "ingressRate": 1, "ingressBurst": 0, "egressRate": 0, "egressBurst": 0
            },
            "cgroupPath": "/slice",
            "io.kubernetes.cri.pod-annotations": {"k": "v"},
            "ipRanges": [[{"subnet": "10.1.0.0/16", "rangeEnd": "10.1.0.9"}]],
            "portMappings": [{
                "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"
            }],
        });
        assert_eq!(json!(rt.capability_args), expected);
    }

    #[test]
    fn what_would_forge_arguments_is_refused() {
        let attachment = NetAttachment::to("blue");
        let pod = PodNetwork::new("/run/netns/p", "ns", "web;IP=10.0.0.1", "id1");
        let error = runtime_conf(&pod, &attachment, &[]).unwrap_err();
        assert!(matches!(error, Error::PodArgument { what: "pod name", .. }), "{error}");
        for mac in ["", "c2:11:22:33:44", "c2:11:22:33:44:5g", "c2:11:22:33:44:+5", "a;b=c"] {
            let mut pod = PodNetwork::new("/run/netns/p", "ns", "web", "id1");
            let asked = RuntimeConfig { mac: Some(mac.to_owned()), ..RuntimeConfig::default() };
            pod.runtime_config.insert("blue".to_owned(), asked);
            let error = runtime_conf(&pod, &attachment, &[]).unwrap_err();
            assert!(matches!(error, Error::PodArgument { what: "MAC address", .. }), "{error}");
        }
    }
}
