//! Attaching a pod to its networks: to all, or to none.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::arguments::runtime_conf;
use super::block_on::block_on;
use super::engine::{Engine, Turn};
use super::pod::{NetResult, PodNetwork};
use super::sandbox;
use crate::error::Error;
use crate::libcni::{Cni, NetworkConfigList, RuntimeConf};

/// An attachment that was begun.
struct Begun {
    list: Arc<NetworkConfigList>,
    rt: RuntimeConf,
}

/// A pod some of whose networks are attached. Dropped before it is whole, it is undone: a
/// caller that stops waiting is like a failure.
struct HalfMade {
    engine: Arc<Engine>,
    begun: Vec<Begun>,
    /// Where the call ran: it may be dropped elsewhere.
    runtime: Option<Handle>,
    /// Kept until all is undone, for nobody else must work on the pod before.
    turn: Option<Turn>,
}

impl HalfMade {
    /// Detaches what was begun; gives what failed.
    async fn undo(&mut self) -> Vec<Error> {
        undo(&self.engine, &mut self.begun).await
    }

    fn keep(mut self) {
        self.begun.clear();
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        let (engine, turn) = (self.engine.clone(), self.turn.take());
        let mut begun = std::mem::take(&mut self.begun);
        // Where the runtime itself ends this is dropped, and teardown goes by the cache.
        let undoing = async move {
            for error in undo(&engine, &mut begun).await {
                tracing::error!(%error, "abandoned pod is not undone");
            }
            drop(turn);
        };
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(undoing)),
            None => drop(std::thread::spawn(|| block_on(undoing))),
        }
    }
}

/// Detaches, the last first. Each stays in the list until it is detached, for this may be
/// dropped half-way.
async fn undo(engine: &Engine, begun: &mut Vec<Begun>) -> Vec<Error> {
    let mut failed = Vec::new();
    while let Some(Begun { list, rt }) = begun.last() {
        failed.extend(engine.plugins.of(list).del_network_list(list, rt).await.err());
        begun.pop();
    }
    failed
}

impl Engine {
    pub(super) async fn set_up(
        self: &Arc<Self>,
        pod: &PodNetwork,
    ) -> Result<Vec<NetResult>, Error> {
        let turn = self.turn(pod).await?;
        // All that can be wrong is found before anything is done.
        let wanted = self.wanted(pod).await?;
        let mut planned = Vec::new();
        for attachment in wanted {
            let list = self.network(&attachment.name).await?;
            let rt = runtime_conf(pod, &attachment, &self.more_args)?;
            planned.push((attachment, Begun { list, rt }));
        }
        let present = sandbox::raise_loopback(&pod.netns).await?;
        for (attachment, _) in &planned {
            // Undoing a failure would take this interface from who has it.
            if present.iter().any(|seen| seen.name == attachment.if_name) {
                let if_name = attachment.if_name.clone();
                return Err(Error::InterfaceExists { if_name, netns: pod.netns.clone() });
            }
        }
        let mut half = HalfMade {
            engine: self.clone(),
            begun: Vec::new(),
            runtime: Handle::try_current().ok(),
            turn: Some(turn),
        };
        let mut results = Vec::new();
        for (attachment, Begun { list, rt }) in planned {
            half.begun.push(Begun { list: list.clone(), rt: rt.clone() });
            match self.plugins.of(&list).add_network_list(&list, &rt).await {
                Ok(result) => results.push(NetResult { attachment, result }),
                Err(cause) => {
                    if cause.is_before_plugins() {
                        half.begun.pop();
                    }
                    let undo = half.undo().await;
                    let (network, cause) = (list.name.clone(), Box::new(cause));
                    return Err(Error::SetUpPod { network, cause, undo });
                }
            }
        }
        half.keep();
        Ok(results)
    }
}
