//! Ends that no agent was there to hear of: DELs that were written down beside the control socket,
//! and sandboxes that ended with the machine's uptime.

use std::io;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use weft_api::control::{AttachmentRef, ControlError};

use super::arrivals::Arrivals;
use crate::cni_plugin::spool::{Listed, Spool};
use crate::control::Answer;
use crate::controller::Controller;
use crate::controller::inventory::Endpoint;
use crate::controller::sandboxes::host_boot;

/// When the agent looks again where something could not be ended, or the kernel does not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Controller {
    /// Ends what was written down, now and whenever there is more, until `stop`.
    pub async fn end_detached_until(&self, stop: CancellationToken) {
        let mut told = false;
        loop {
            // Watched before it is read, so that nothing arrives unseen.
            let watched = self.watch_detached();
            let ended = match self.end_detached().await {
                Ok(()) => watched.as_ref().map(drop).map_err(internal),
                failed => failed,
            };
            match &ended {
                Ok(()) => told = false,
                Err(error) if !told => {
                    tracing::warn!(%error, "detached containers are ended later");
                    told = true;
                }
                Err(error) => tracing::debug!(%error, "detached containers are ended later"),
            }
            let arrived = async {
                let Ok(arrivals) = &watched else { return std::future::pending().await };
                if arrivals.next().await.is_err() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            let again = async {
                match ended {
                    Ok(()) => std::future::pending().await,
                    Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = arrived => {}
                () = again => {}
            }
        }
    }

    /// Watches for what is written down: a DEL may give up on an agent just when that is there
    /// again.
    fn watch_detached(&self) -> io::Result<Arrivals> {
        let spool = self.spool();
        spool.make()?;
        Arrivals::watch(spool.directory())
    }

    /// Goes through all that is written down; the last failure is told.
    async fn end_detached(&self) -> Answer<()> {
        let spool = self.spool();
        let Listed { detached, damaged } =
            spawn_blocking(move || spool.list()).await.map_err(internal)?.map_err(internal)?;
        for path in damaged {
            tracing::warn!(path = %path.display(), "a detached container cannot be read");
        }
        let mut ended = Ok(());
        for one in detached {
            let _turn = self.attachment_turn(&one.key).await;
            if let Err(error) = self.end_if_detached(&one).await {
                ended = Err(error);
            }
        }
        ended
    }

    /// Carries a DEL out that was written down, if one was. The caller has the attachment's turn:
    /// what is made after it is another attachment.
    pub(super) async fn end_if_detached(&self, one: &AttachmentRef) -> Answer<()> {
        let (spool, one) = (self.spool(), one.clone());
        if !spool.has(&one) {
            return Ok(());
        }
        self.end_attachment_in_turn(&one).await?;
        let AttachmentRef { network, key, .. } = &one;
        tracing::info!(network, container = key.container_id, ifname = key.ifname, "detached");
        spawn_blocking(move || spool.remove(&one)).await.map_err(internal)?.map_err(internal)
    }

    /// Writes down the containers of an earlier boot: their runtime may have let go of them, or
    /// will, and no sandbox outlives the machine's uptime.
    pub(in crate::controller) async fn note_earlier_boot(&self, endpoints: &[Endpoint]) {
        let ended = of_earlier_boot(endpoints, host_boot().as_deref());
        let spool = self.spool();
        let write = move || ended.iter().try_for_each(|one| spool.add(one));
        let written = spawn_blocking(write).await.map_err(internal);
        if let Err(error) = written.and_then(|written| written.map_err(internal)) {
            tracing::warn!(%error, "containers of an earlier boot stay until they are deleted");
        }
    }

    fn spool(&self) -> Spool {
        Spool::beside(&self.settings.socket)
    }
}

/// The containers among `endpoints` whose sandboxes are of another boot than this one.
fn of_earlier_boot(endpoints: &[Endpoint], boot: Option<&str>) -> Vec<AttachmentRef> {
    let ended = endpoints.iter().filter_map(|endpoint| {
        let (container, sandbox) = (endpoint.container.as_ref()?, endpoint.sandbox.as_ref()?);
        let boots = sandbox.boot.as_deref().zip(boot);
        boots.filter(|(then, now)| then != now)?;
        Some(AttachmentRef {
            network: endpoint.network_name.clone(),
            configuration: container.configuration.clone(),
            key: container.key.clone(),
        })
    });
    ended.collect()
}

fn internal(error: impl std::fmt::Display) -> ControlError {
    ControlError::internal(format!("detached containers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::attachments::tests::joined;

    #[test]
    fn only_containers_of_another_boot_ended_with_it() {
        let of_boot = |boot: Option<&str>| {
            let (mut endpoint, mut sandbox) = joined();
            sandbox.boot = boot.map(str::to_owned);
            endpoint.sandbox = Some(sandbox);
            endpoint
        };
        let by_hand = Endpoint { container: None, ..of_boot(Some("before")) };
        let created = Endpoint { sandbox: None, ..of_boot(Some("before")) };
        let all = [of_boot(Some("now")), of_boot(None), by_hand, created, of_boot(Some("before"))];
        let ended = of_earlier_boot(&all, Some("now"));
        assert_eq!(ended.len(), 1);
        assert_eq!((&ended[0].network[..], &ended[0].key.container_id[..]), ("blue", "web"));
        assert!(of_earlier_boot(&all, None).is_empty(), "nothing is known of this boot");
    }
}
