//! Detaching a pod from its networks, and collecting what pods left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::arguments::{name_interfaces, runtime_conf};
use super::engine::Engine;
use super::pod::{NetAttachment, PodNetwork};
use super::sandbox::LOOPBACK;
use crate::error::Error;
use crate::libcni::{
    Cni, GcArgs, NetworkConfigList, RuntimeConf, conf_from_bytes, conf_list_from_bytes,
    conf_list_from_conf,
};
use crate::types::GcAttachment;

/// The network that older pod layers attached the loopback interface to.
const LOOPBACK_NETWORK: &str = "cni-loopback";

impl Engine {
    pub(super) async fn tear_down(&self, pod: &PodNetwork) -> Result<(), Error> {
        let _turn = self.turn(pod).await?;
        let mut attachments = self.attachments_of(pod).await?;
        let mut failed = Vec::new();
        while let Some(attachment) = attachments.pop() {
            // The others are detached all the same: their addresses are of use to new pods.
            if let Err(error) = self.detach(pod, &attachment).await {
                failed.push(error);
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::TearDownPod(failed)) }
    }

    /// What a pod is attached to: what it says, what the cache remembers, or the default.
    pub(super) async fn attachments_of(
        &self,
        pod: &PodNetwork,
    ) -> Result<Vec<NetAttachment>, Error> {
        let mut cached = self.cached_attachments(&pod.id)?;
        if pod.networks.is_empty() {
            return if cached.is_empty() { self.wanted(pod).await } else { Ok(cached) };
        }
        let mut wanted = pod.networks.clone();
        cached.retain(|cached| !wanted.contains(cached));
        for wanted in wanted.iter_mut().filter(|wanted| wanted.if_name.is_empty()) {
            // The name it got when the pod was set up, be the list another one now.
            if let Some(at) = cached.iter().position(|cached| cached.name == wanted.name) {
                *wanted = cached.remove(at);
            }
        }
        name_interfaces(&wanted)
    }

    fn cached_attachments(&self, id: &str) -> Result<Vec<NetAttachment>, Error> {
        // No id would mean everybody's.
        if id.is_empty() {
            return Ok(Vec::new());
        }
        let cached = self.plugins.cache().get_cached_attachments(Some(id))?;
        Ok(cached
            .into_iter()
            .filter(|cached| cached.if_name != LOOPBACK && cached.network != LOOPBACK_NETWORK)
            .map(|cached| NetAttachment { name: cached.network, if_name: cached.if_name })
            .collect())
    }

    async fn detach(&self, pod: &PodNetwork, attachment: &NetAttachment) -> Result<(), Error> {
        let (list, rt) = self.list_of(pod, attachment).await?;
        self.plugins.of(&list).del_network_list(&list, &rt).await
    }

    /// The configuration an attachment was made with, and the arguments; where the cache has
    /// none, what is configured now.
    pub(super) async fn list_of(
        &self,
        pod: &PodNetwork,
        attachment: &NetAttachment,
    ) -> Result<(Arc<NetworkConfigList>, RuntimeConf), Error> {
        let rt = runtime_conf(pod, attachment, &self.more_args)?;
        match self.remembered(attachment, &rt) {
            Ok(Some((list, rt))) => return Ok((Arc::new(list), rt)),
            Ok(None) => {}
            Err(error) => {
                let network = attachment.name.as_str();
                tracing::warn!(network, %error, "what is configured now stands in for the cache");
            }
        }
        Ok((self.network(&attachment.name).await?, rt))
    }

    fn remembered(
        &self,
        attachment: &NetAttachment,
        rt: &RuntimeConf,
    ) -> Result<Option<(NetworkConfigList, RuntimeConf)>, Error> {
        let named = NetworkConfigList { name: attachment.name.clone(), ..Default::default() };
        let cached = self.plugins.cache().get_network_list_cached_config(&named, rt)?;
        let Some((config, rt)) = cached else { return Ok(None) };
        let mut list = conf_list_from_bytes(&config)
            .or_else(|_| conf_from_bytes(&config).and_then(|conf| conf_list_from_conf(&conf)))?;
        // One that was named after its file has no name in its text.
        list.name.clone_from(&attachment.name);
        Ok(Some((list, rt)))
    }

    /// Collects what is left of pods other than `valid`, on every network.
    pub(super) async fn collect(&self, valid: &[PodNetwork]) -> Result<(), Error> {
        let _all = self.work.write().await;
        self.demand_open()?;
        let by_network = self.valid_attachments(valid)?;
        let mut failed = Vec::new();
        for list in self.networks().all() {
            let of_list = by_network.get(&list.name).into_iter().flatten();
            let args = GcArgs { valid_attachments: of_list.cloned().collect() };
            let collected = self.plugins.of(list).gc_network_list(list, Some(&args)).await;
            failed.extend(collected.err());
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::Gc(failed)) }
    }

    /// What valid pods are attached to, by network: what they say, and what the cache remembers
    /// of them, for a pod keeps the default network it was made with.
    fn valid_attachments(
        &self,
        pods: &[PodNetwork],
    ) -> Result<BTreeMap<String, BTreeSet<GcAttachment>>, Error> {
        let mut valid: BTreeMap<String, BTreeSet<GcAttachment>> = BTreeMap::new();
        for pod in pods {
            let mut attachments = if pod.networks.is_empty() {
                let default = self.default_name().map(NetAttachment::to);
                name_interfaces(&default.into_iter().collect::<Vec<_>>())?
            } else {
                name_interfaces(&pod.networks)?
            };
            attachments.extend(self.cached_attachments(&pod.id)?);
            for NetAttachment { name, if_name } in attachments {
                let attachment = GcAttachment { container_id: pod.id.clone(), if_name };
                valid.entry(name).or_default().insert(attachment);
            }
        }
        Ok(valid)
    }
}
