//! Ends that no agent was there to hear of: DELs that were written down beside the control socket,
//! and sandboxes that ended with the machine's uptime.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use weft_api::control::{AttachmentKey, ControlError};

use crate::cni_plugin::spool::{Detached, Listed, Spool};
use crate::control::Answer;
use crate::controller::Controller;
use crate::controller::inventory::Endpoint;
use crate::controller::sandboxes::host_boot;

/// How often the agent looks: a DEL may give up on an agent just when that is there again.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Controller {
    /// Ends what was written down, now and whenever there is more, until `stop`.
    pub async fn end_detached_until(&self, stop: CancellationToken) {
        let mut told = false;
        loop {
            match self.end_detached().await {
                Ok(()) => told = false,
                Err(error) if !told => {
                    tracing::warn!(%error, "detached containers are ended later");
                    told = true;
                }
                Err(error) => tracing::debug!(%error, "detached containers are ended later"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Goes through all that is written down; the last failure is told.
    async fn end_detached(&self) -> Answer<()> {
        let spool = self.spool();
        if !spool.is_there() {
            return Ok(());
        }
        let Listed { detached, damaged } =
            spawn_blocking(move || spool.list()).await.map_err(internal)?.map_err(internal)?;
        for path in damaged {
            tracing::warn!(path = %path.display(), "a detached container cannot be read");
        }
        let mut ended = Ok(());
        for one in detached {
            let _turn = self.attachment_turn(&one.network, &one.key).await;
            if let Err(error) = self.end_if_detached(&one.network, &one.key).await {
                ended = Err(error);
            }
        }
        ended
    }

    /// Carries a DEL out that was written down, if one was. The caller has the attachment's turn:
    /// what is made after it is another attachment.
    pub(super) async fn end_if_detached(&self, network: &str, key: &AttachmentKey) -> Answer<()> {
        let (spool, one) =
            (self.spool(), Detached { network: network.to_owned(), key: key.clone() });
        if !spool.has(&one) {
            return Ok(());
        }
        self.end_attachment_in_turn(network, key).await?;
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
fn of_earlier_boot(endpoints: &[Endpoint], boot: Option<&str>) -> Vec<Detached> {
    let ended = endpoints.iter().filter_map(|endpoint| {
        let (container, sandbox) = (endpoint.container.as_ref()?, endpoint.sandbox.as_ref()?);
        let boots = sandbox.boot.as_deref().zip(boot);
        boots.filter(|(then, now)| then != now)?;
        Some(Detached { network: endpoint.network_name.clone(), key: container.key.clone() })
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
