//! What `weft doctor` looks at of a Docker Engine on this host: the socket it calls at, and what
//! is kept here on its behalf. No call goes to the engine.

use std::path::Path;

use tokio::net::UnixStream;
use weft_api::NetworkId;
use weft_api::control::Check;

use crate::control::Answer;
use crate::controller::Controller;
use crate::doctor::engine::{self, Answers, EngineNetworks};

impl Controller {
    pub(super) async fn engine_checks(&self) -> Answer<Vec<Check>> {
        let networks = self.engine_networks().await?;
        let plugin = match &self.settings.docker {
            Some(docker) => {
                let answers = who_answers(&docker.socket).await;
                engine::plugin(Some((&docker.socket, docker.scope, &answers)), &networks)
            }
            None => engine::plugin(None, &networks),
        };
        let mut checks = vec![plugin];
        checks.extend(engine::networks(&networks));
        Ok(checks)
    }

    async fn engine_networks(&self) -> Answer<EngineNetworks> {
        let (mut networks, ids) = self.held_by_engines();
        let names = self
            .core(move |core, _| {
                let name = |id| {
                    let definition = core.node()?.db().definition(id)?;
                    Some(definition.name.clone())
                };
                ids.into_iter().map(|(engine, id)| (engine, name(id))).collect::<Vec<_>>()
            })
            .await?;
        for (engine, name) in names {
            networks.entry(engine).or_default().name = name;
        }
        Ok(networks)
    }

    /// The networks engines have without their names, and which of the cluster's each one is.
    fn held_by_engines(&self) -> (EngineNetworks, Vec<(String, NetworkId)>) {
        let inventory = self.inventory();
        let mut networks = EngineNetworks::new();
        let held = inventory.holds().map(|hold| (hold.engine_network.clone(), hold.network));
        let mut ids: Vec<_> = held.collect();
        for (engine, _) in &ids {
            networks.entry(engine.clone()).or_default();
        }
        for endpoint in inventory.endpoints() {
            let Some(of) = &endpoint.engine else { continue };
            ids.push((of.engine_network.clone(), endpoint.network));
            let network = networks.entry(of.engine_network.clone()).or_default();
            match (&endpoint.sandbox, endpoint.stale) {
                (Some(_), _) => network.in_containers += 1,
                (None, true) => network.gone.push(endpoint.name.clone()),
                (None, false) => network.apart += 1,
            }
        }
        (networks, ids)
    }
}

/// Connects as an engine would. The kernel tells who listens.
async fn who_answers(socket: &Path) -> Answers {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => return Answers::Nobody(error.to_string()),
    };
    let own = i32::try_from(std::process::id()).ok();
    match stream.peer_cred() {
        Ok(credentials) if credentials.pid() == own => Answers::Us,
        Ok(_) => Answers::Another,
        Err(error) => Answers::Nobody(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_of_this_process_is_told_from_one_that_nobody_serves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weft.sock");
        assert!(matches!(who_answers(&path).await, Answers::Nobody(_)));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert_eq!(who_answers(&path).await, Answers::Us);
        drop(listener);
        assert!(matches!(who_answers(&path).await, Answers::Nobody(_)));
    }
}
