//! Running the plugins of a configuration.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::cni::{BadCache, CniConfig};
use super::conf::{NetworkConfig, inject_conf};
use super::conf_list::NetworkConfigList;
use super::runtime::RuntimeConf;
use crate::error::{Error, ErrorCheckNotSupp};
use crate::invoke::{
    Args, CniArgs, exec_plugin_with_result, exec_plugin_without_result, get_version_info,
};
use crate::types::{CniResult, NetConf};
use crate::validate;
use crate::version::{PluginInfo, greater_than_or_equal_to};

/// A plugin's configuration within a network.
#[derive(Clone, Copy)]
struct Link<'a> {
    network: &'a str,
    version: &'a str,
    conf: &'a NetworkConfig,
}

impl<'a> Link<'a> {
    fn of_list(list: &'a NetworkConfigList, conf: &'a NetworkConfig) -> Self {
        Self { network: &list.name, version: &list.cni_version, conf }
    }

    fn alone(conf: &'a NetworkConfig) -> Self {
        Self { network: &conf.network.name, version: &conf.network.cni_version, conf }
    }

    /// The configuration the plugin gets.
    fn request(&self, prev: Option<&CniResult>, rt: &RuntimeConf) -> Result<NetworkConfig, Error> {
        let mut members =
            vec![("name", Value::from(self.network)), ("cniVersion", Value::from(self.version))];
        if let Some(prev) = prev {
            members.push(("prevResult", serde_json::to_value(prev).map_err(Error::CacheEncode)?));
        }
        let runtime: Map<String, Value> = (self.conf.network.capabilities.iter())
            .filter(|(_, enabled)| **enabled)
            .filter_map(|(name, _)| Some((name.clone(), rt.capability_args.get(name)?.clone())))
            .collect();
        if !runtime.is_empty() {
            members.push(("runtimeConfig", Value::Object(runtime)));
        }
        inject_conf(self.conf, members)
    }
}

impl CniConfig {
    async fn add(
        &self,
        link: Link<'_>,
        prev: Option<&CniResult>,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let plugin = self.find(&link.conf.network.plugin_type)?;
        validate::container_id(&rt.container_id).map_err(Error::Invalid)?;
        validate::network_name(link.network).map_err(Error::Invalid)?;
        validate::interface_name(&rt.if_name).map_err(Error::Invalid)?;
        let request = link.request(prev, rt)?;
        let args = self.args("ADD", rt);
        exec_plugin_with_result(&plugin, &request.bytes, &args, self.exec()).await
    }

    async fn run(
        &self,
        command: &str,
        link: Link<'_>,
        prev: Option<&CniResult>,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        let plugin = self.find(&link.conf.network.plugin_type)?;
        let request = link.request(prev, rt)?;
        let args = self.args(command, rt);
        exec_plugin_without_result(&plugin, &request.bytes, &args, self.exec()).await
    }

    /// Runs a plugin for the network as a whole.
    pub(super) async fn run_for_network<'a>(
        &self,
        command: &str,
        conf: &NetworkConfig,
        members: impl IntoIterator<Item = (&'a str, Value)> + Send,
    ) -> Result<(), Error> {
        let request = inject_conf(conf, members)?;
        let plugin = self.find(&conf.network.plugin_type)?;
        let args = self.args(command, &RuntimeConf::default());
        exec_plugin_without_result(&plugin, &request.bytes, &args, self.exec()).await
    }

    fn args(&self, command: &str, rt: &RuntimeConf) -> CniArgs {
        let path: Vec<String> =
            self.path().iter().map(|directory| directory.display().to_string()).collect();
        CniArgs::Call(Args {
            command: command.to_owned(),
            container_id: rt.container_id.clone(),
            netns: rt.netns.clone(),
            plugin_args: rt.args.clone(),
            if_name: rt.if_name.clone(),
            path: path.join(":"),
        })
    }

    pub(super) async fn add_list(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let mut result = None;
        for conf in &list.plugins {
            let added = self.add(Link::of_list(list, conf), result.as_ref(), rt).await;
            result = Some(added.map_err(|cause| in_chain(conf, "add", cause))?);
        }
        let result = result.ok_or(Error::NoPlugins)?;
        self.remember(&list.name, &list.bytes, &result, rt)?;
        Ok(result)
    }

    pub(super) async fn add_single(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let result = self.add(Link::alone(conf), None, rt).await?;
        self.remember(&conf.network.name, &conf.bytes, &result, rt)?;
        Ok(result)
    }

    fn remember(
        &self,
        network: &str,
        config: &[u8],
        result: &CniResult,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        self.cache(Some(rt)).add(network, config, result, rt).map_err(|cause| {
            Error::SetCachedResult { network: network.to_owned(), cause: Box::new(cause) }
        })
    }

    fn cached(
        &self,
        network: &str,
        version: &str,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        self.cache(Some(rt)).result(network, version, rt).map_err(|cause| Error::GetCachedResult {
            network: network.to_owned(),
            cause: Box::new(cause),
        })
    }

    pub(super) async fn check_list(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        demand_check(&list.cni_version)?;
        if list.disable_check {
            return Ok(());
        }
        let prev = self.cached(&list.name, &list.cni_version, rt)?;
        for conf in &list.plugins {
            self.run("CHECK", Link::of_list(list, conf), prev.as_ref(), rt).await?;
        }
        Ok(())
    }

    pub(super) async fn check_single(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        let NetConf { name, cni_version, .. } = &conf.network;
        demand_check(cni_version)?;
        let prev = self.cached(name, cni_version, rt)?;
        self.run("CHECK", Link::alone(conf), prev.as_ref(), rt).await
    }

    pub(super) async fn del_list(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        let prev = self.result_for_del(&list.name, &list.cni_version, rt, BadCache::Remove)?;
        for conf in list.plugins.iter().rev() {
            let deleted = self.run("DEL", Link::of_list(list, conf), prev.as_ref(), rt).await;
            deleted.map_err(|cause| in_chain(conf, "delete", cause))?;
        }
        self.forget(&list.name, rt);
        Ok(())
    }

    pub(super) async fn del_single(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        let NetConf { name, cni_version, .. } = &conf.network;
        let prev = self.result_for_del(name, cni_version, rt, self.bad_cache())?;
        self.run("DEL", Link::alone(conf), prev.as_ref(), rt).await?;
        self.forget(name, rt);
        Ok(())
    }

    /// The result DEL passes on, which it does from 0.4.0 on.
    fn result_for_del(
        &self,
        network: &str,
        version: &str,
        rt: &RuntimeConf,
        bad_cache: BadCache,
    ) -> Result<Option<CniResult>, Error> {
        if !greater_than_or_equal_to(version, "0.4.0")? {
            return Ok(None);
        }
        match (self.cached(network, version, rt), bad_cache) {
            (Err(_), BadCache::Remove) => {
                self.forget(network, rt);
                Ok(None)
            }
            (cached, BadCache::Remove | BadCache::Fail) => cached,
        }
    }

    /// Removes a cache entry. The attachment is gone, so an entry that stays is only clutter,
    /// and no reason to have DEL called again.
    fn forget(&self, network: &str, rt: &RuntimeConf) {
        let _clutter = self.cache(Some(rt)).del(network, rt);
    }

    pub(super) async fn validate_list(
        &self,
        list: &NetworkConfigList,
    ) -> Result<Vec<String>, Error> {
        let mut errors = Vec::new();
        for conf in &list.plugins {
            let valid = self.validate_plugin(&conf.network.plugin_type, &list.cni_version).await;
            errors.extend(valid.err());
        }
        if !errors.is_empty() {
            return Err(Error::Validation(errors));
        }
        let all: BTreeSet<String> = list.plugins.iter().flat_map(capabilities).collect();
        Ok(all.into_iter().collect())
    }

    pub(super) async fn validate_single(&self, conf: &NetworkConfig) -> Result<Vec<String>, Error> {
        self.validate_plugin(&conf.network.plugin_type, &conf.network.cni_version).await?;
        Ok(capabilities(conf).collect())
    }

    async fn validate_plugin(&self, plugin: &str, version: &str) -> Result<(), Error> {
        let version = if version.is_empty() { "0.1.0" } else { version };
        if self.version_info(plugin).await?.lists(version) {
            return Ok(());
        }
        Err(Error::UnsupportedConfVersion {
            plugin: plugin.to_owned(),
            version: version.to_owned(),
        })
    }

    pub(super) async fn version_info(&self, plugin: &str) -> Result<PluginInfo, Error> {
        get_version_info(&self.find(plugin)?, self.exec()).await
    }

    pub(super) async fn status_list(&self, list: &NetworkConfigList) -> Result<(), Error> {
        if !greater_than_or_equal_to(&list.cni_version, "1.1.0").unwrap_or(false) {
            return Ok(());
        }
        for conf in &list.plugins {
            self.run_for_network("STATUS", conf, network_members(list)).await?;
        }
        Ok(())
    }
}

/// What plugins are told of the network as a whole.
pub(super) fn network_members(list: &NetworkConfigList) -> Vec<(&'static str, Value)> {
    vec![
        ("name", Value::from(list.name.as_str())),
        ("cniVersion", Value::from(list.cni_version.as_str())),
    ]
}

fn capabilities(conf: &NetworkConfig) -> impl Iterator<Item = String> {
    conf.network.capabilities.iter().filter(|(_, on)| **on).map(|(name, _)| name.clone())
}

fn demand_check(version: &str) -> Result<(), Error> {
    if greater_than_or_equal_to(version, "0.4.0")? {
        return Ok(());
    }
    Err(Error::CheckNotSupported { version: version.to_owned(), cause: ErrorCheckNotSupp })
}

fn in_chain(conf: &NetworkConfig, verb: &'static str, cause: Error) -> Error {
    let NetConf { plugin_type, name, .. } = &conf.network;
    let mut plugin = format!("type={plugin_type:?}");
    if !name.is_empty() {
        plugin.push_str(&format!(" name={name:?}"));
    }
    Error::InChain { plugin, verb, cause: Box::new(cause) }
}
