//! How a pod's networks are, and whether pods can be attached.

use ipnetwork::IpNetwork;

use super::DEFAULT_INTERFACE_NAME;
use super::engine::Engine;
use super::options::Watch;
use super::pod::{ContainerNetworkStatus, NetResult, PodNetwork};
use super::sandbox::{self, Interface, LOOPBACK};
use crate::error::Error;
use crate::libcni::{Cni, NetworkConfigList};
use crate::types::{CniResult, v100};
use crate::version::greater_than_or_equal_to;

impl Engine {
    /// Whether pods can be attached to the default network.
    pub(super) async fn status(&self) -> Result<(), Error> {
        self.demand_open()?;
        // Who watches knows; and this is asked twice a second while there is none.
        if self.watch == Watch::Off && self.default_list().is_err() {
            self.reload().await?;
        }
        let list = self.default_list()?;
        self.plugins.of(&list).get_status_network_list(&list).await
    }

    /// The addresses of the first interface, from the kernel.
    pub(super) async fn addresses(
        &self,
        pod: &PodNetwork,
    ) -> Result<ContainerNetworkStatus, Error> {
        let _turn = self.turn(pod).await?;
        let if_name = DEFAULT_INTERFACE_NAME.to_owned();
        let interface = find(sandbox::look(&pod.netns).await?, &if_name, pod)?;
        let mut ips = interface.global().into_iter().map(|net| net.ip());
        match ips.next() {
            Some(ip) => Ok(ContainerNetworkStatus { ip, additional_ips: ips.collect() }),
            None => Err(Error::NoAddress { if_name, netns: pod.netns.clone() }),
        }
    }

    /// Checks every network of a pod and tells what it gave the pod.
    pub(super) async fn pod_status(&self, pod: &PodNetwork) -> Result<Vec<NetResult>, Error> {
        let _turn = self.turn(pod).await?;
        let interfaces = sandbox::look(&pod.netns).await?;
        check_loopback(&interfaces, pod)?;
        let mut results = Vec::new();
        for attachment in self.attachments_of(pod).await? {
            let (list, rt) = self.list_of(pod, &attachment).await?;
            let cni = self.plugins.of(&list);
            if greater_than_or_equal_to(&list.cni_version, "0.4.0")? {
                cni.check_network_list(&list, &rt).await?;
            }
            let result = match cni.get_network_list_cached_result(&list, &rt)? {
                Some(result) => result,
                None => {
                    let interface = find(interfaces.clone(), &attachment.if_name, pod)?;
                    seen(&interface, &list, pod)?
                }
            };
            results.push(NetResult { attachment, result });
        }
        Ok(results)
    }
}

fn find(interfaces: Vec<Interface>, name: &str, pod: &PodNetwork) -> Result<Interface, Error> {
    let found = interfaces.into_iter().find(|interface| interface.name == name);
    found.ok_or_else(|| Error::NoInterface { if_name: name.to_owned(), netns: pod.netns.clone() })
}

/// A pod's loopback interface is up and has addresses of its own only.
fn check_loopback(interfaces: &[Interface], pod: &PodNetwork) -> Result<(), Error> {
    let wrong = |reason: String| Error::Loopback { netns: pod.netns.clone(), reason };
    let loopback = interfaces.iter().find(|interface| interface.name == LOOPBACK);
    let loopback = loopback.ok_or_else(|| wrong("missing".to_owned()))?;
    if !loopback.is_up {
        return Err(wrong("down".to_owned()));
    }
    let other = loopback.addresses.iter().find(|address| !address.net.ip().is_loopback());
    match other {
        None => Ok(()),
        Some(address) => Err(wrong(format!("has the address {}", address.net))),
    }
}

/// The result plugins would have given, from what the kernel has.
fn seen(
    interface: &Interface,
    list: &NetworkConfigList,
    pod: &PodNetwork,
) -> Result<CniResult, Error> {
    let address =
        |address: IpNetwork| v100::IpConfig { interface: Some(0), address, gateway: None };
    let result = v100::Result {
        interfaces: vec![v100::Interface {
            name: interface.name.clone(),
            mac: interface.mac.clone(),
            sandbox: pod.netns.display().to_string(),
            ..v100::Interface::default()
        }],
        ips: interface.global().into_iter().map(address).collect(),
        ..v100::Result::default()
    };
    CniResult::V100(result).to_version(&list.cni_version)
}
