//! `weft pod del`.

use cni::libcni::Cni as _;

use crate::cli::PodDelArgs;
use crate::commands::output;
use crate::commands::pod::attachment::{Known, Presence, Target};
use crate::commands::pod::{refusal, runtime, waiting};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Takes a namespace off a network.
pub(super) async fn exec(args: PodDelArgs) -> Result<(), Failure> {
    let cni = runtime(&args.plugins, &args.cache);
    let target = Target::of(&args.target)?;
    let Known { list, mut rt, is_cached } =
        Known::find(&cni, &args.network, &target, &args.values)?;
    if Presence::of(&rt.netns) == Presence::Gone {
        // So the specification says that a namespace is gone; a path would be entered.
        rt.netns.clear();
    }
    patiently(&waiting(&list.name), cni.del_network_list(&list, &rt))
        .await
        .map_err(|error| refusal::of_plugins(&list.name, &error))?;
    let (network, if_name, id) = (&list.name, &rt.if_name, &rt.container_id);
    output::say(&if is_cached {
        format!("`{if_name}` of `{id}` is off `{network}`")
    } else {
        format!("`{if_name}` of `{id}` was not known to be on `{network}`; its plugins were told")
    });
    Ok(())
}
