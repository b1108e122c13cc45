//! `weft pod check`.

use cni::libcni::Cni as _;

use crate::cli::PodCheckArgs;
use crate::commands::output;
use crate::commands::pod::attachment::{Known, Target};
use crate::commands::pod::verdict::{self, Question};
use crate::commands::pod::{runtime, waiting};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Asks whether an attachment is as it was made.
pub(super) async fn exec(args: PodCheckArgs) -> Result<(), Failure> {
    let cni = runtime(&args.plugins, &args.cache);
    let target = Target::of(&args.target)?;
    let Known { list, rt, is_cached } = Known::find(&cni, &args.network, &target, &args.values)?;
    let (network, if_name, id) = (&list.name, &rt.if_name, &rt.container_id);
    if !is_cached {
        return Err(Failure::failed(format!(
            "`{if_name}` of `{id}` is not known to be on `{network}`"
        ))
        .with_hint("`weft pod ls` lists what is known; --cache-dir names another cache"));
    }
    let question = if list.disable_check { Question::Left } else { Question::Asked };
    let answer = patiently(&waiting(network), cni.check_network_list(&list, &rt)).await;
    if args.output.json {
        return verdict::json(&list, Some(&rt), question, &answer);
    }
    verdict::outcome(&list, &answer)?;
    output::say(&match question {
        Question::Asked => format!("`{if_name}` of `{id}` is as `{network}` made it"),
        Question::Left => format!("`{network}` says `disableCheck`: no plugin was asked"),
    });
    Ok(())
}
