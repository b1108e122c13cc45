//! `weft pod gc`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use cni::libcni::{Cni as _, CniConfig, GcArgs, NetworkAttachment, NetworkConfigList};
use cni::types::GcAttachment;
use serde::Serialize;

use crate::cli::{PodGcArgs, PodNetworkArgs};
use crate::commands::output;
use crate::commands::pod::attachment::{self, Presence};
use crate::commands::pod::ls::{HEADER, Listed};
use crate::commands::pod::{configuration, refusal, runtime, waiting};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// How an entry that is being written begins.
const UNFINISHED: char = '.';

/// What was collected, or would be.
#[derive(Debug, Serialize)]
struct Collection<'a> {
    network: &'a str,
    dry_run: bool,
    removed: Vec<Listed>,
    kept: Vec<Listed>,
}

/// Removes what is left of namespaces that are gone.
pub(super) async fn exec(args: PodGcArgs) -> Result<(), Failure> {
    let cni = runtime(&args.plugins, &args.cache);
    let cached = attachment::all(&cni)?;
    let list = wanted(&args.network, &cached)?;
    expect_whole(&args.cache.cache_dir, &list.name, &cached)?;
    if list.disable_gc {
        return Err(Failure::failed(format!("network `{}` says `disableGC`", list.name))
            .with_hint("`weft pod del` takes off one attachment"));
    }
    let of_network = cached.into_iter().filter(|attachment| attachment.network == list.name);
    let (stale, kept): (Vec<_>, Vec<_>) =
        of_network.partition(|attachment| Presence::of(&attachment.netns) == Presence::Gone);
    let mut removed: Vec<Listed> = stale.iter().map(|a| Listed::of(a, &cni)).collect();
    let mut done = Ok(());
    if !args.dry_run {
        let failed;
        (failed, done) = patiently(&waiting(&list.name), collect(&cni, &list, &stale, &kept)).await;
        let mut index = 0..;
        removed.retain(|_| index.next().is_some_and(|index| !failed.contains(&index)));
    }
    let kept = kept.iter().map(|attachment| Listed::of(attachment, &cni)).collect();
    print(
        &Collection { network: &list.name, dry_run: args.dry_run, removed, kept },
        args.output.json,
    )?;
    done
}

/// Finds the network meant; one that is configured no longer by what was attached to it.
fn wanted(
    network: &PodNetworkArgs,
    cached: &[NetworkAttachment],
) -> Result<NetworkConfigList, Failure> {
    configuration::wanted(network).or_else(|failure| {
        let mut of_network = cached.iter().filter(|a| network.network.as_ref() == Some(&a.network));
        of_network.find_map(|a| configuration::remembered(a).ok()).ok_or(failure)
    })
}

/// Detaches what is stale by what it was made with, then lets the plugins collect. Returns which
/// of the stale ones stay, and why.
async fn collect(
    cni: &CniConfig,
    list: &NetworkConfigList,
    stale: &[NetworkAttachment],
    kept: &[NetworkAttachment],
) -> (BTreeSet<usize>, Result<(), Failure>) {
    let key = |attachment: &NetworkAttachment| GcAttachment {
        container_id: attachment.container_id.clone(),
        if_name: attachment.if_name.clone(),
    };
    let mut args = GcArgs { valid_attachments: kept.iter().map(key).collect() };
    let mut failed = BTreeSet::new();
    let mut causes = Vec::new();
    for (index, attachment) in stale.iter().enumerate() {
        let remembered = configuration::remembered(attachment).ok();
        let mut rt = attachment.runtime_conf();
        // So the specification says that it is gone; a path would be entered.
        rt.netns.clear();
        let made_with = remembered.as_ref().unwrap_or(list);
        if let Err(error) = cni.del_network_list(made_with, &rt).await {
            causes.push(format!("`{}`: {}", attachment.container_id, refusal::words(&error)));
            failed.insert(index);
            // Its plugins keep what they know, for the next try.
            args.valid_attachments.push(key(attachment));
        }
    }
    if let Err(error) = cni.gc_network_list(list, Some(&args)).await {
        causes.push(refusal::words(&error));
    }
    if causes.is_empty() {
        return (failed, Ok(()));
    }
    let sentence = format!("not all of `{}` was collected: {}", list.name, causes.join("; "));
    let failure = Failure::failed(sentence).with_hint("what is left stays listed; try again");
    (failed, Err(failure))
}

fn print(collection: &Collection<'_>, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(collection);
    }
    if !collection.removed.is_empty() {
        output::table(&HEADER, collection.removed.iter().map(Listed::row))?;
    }
    let (gone, stay) = (collection.removed.len(), collection.kept.len());
    let verb = if collection.dry_run { "would be removed" } else { "removed" };
    output::say(&format!("`{}`: {gone} {verb}, {stay} in use", collection.network));
    Ok(())
}

/// Refuses a cache that does not tell all that is in use: what it leaves out would be removed.
fn expect_whole(
    cache_dir: &Path,
    network: &str,
    cached: &[NetworkAttachment],
) -> Result<(), Failure> {
    let results = cache_dir.join("results");
    let unread = |error: std::io::Error| {
        Failure::failed(format!("the cache `{}` cannot be read: {error}", results.display()))
            .with_hint("without it nothing is known to be in use; --cache-dir names another one")
    };
    let known: BTreeSet<String> =
        cached.iter().map(|a| format!("{}-{}-{}", a.network, a.container_id, a.if_name)).collect();
    let prefix = format!("{network}-");
    for entry in std::fs::read_dir(&results).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name().to_string_lossy().into_owned();
        if name.starts_with(UNFINISHED) || !name.starts_with(&prefix) || known.contains(&name) {
            continue;
        }
        // One that was removed in between is no attachment any more.
        let path = results.join(&name);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Ok(_) | Err(_) => {}
        }
        return Err(Failure::failed(format!(
            "the cache entry `{}` cannot be read",
            path.display()
        ))
        .with_hint("it may be in use; see what it is, and remove the file if it is nothing"));
    }
    Ok(())
}
