//! `weft pod status`.

use cni::libcni::{Cni as _, CniConfig, NetworkConfigList};
use cni::version::greater_than_or_equal_to;

use crate::cli::PodStatusArgs;
use crate::commands::output;
use crate::commands::pod::verdict::{self, Question};
use crate::commands::pod::{configuration, waiting};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// The version of the specification that STATUS came with.
const SINCE: &str = "1.1.0";

/// Asks whether a network takes namespaces now.
pub(super) async fn exec(args: PodStatusArgs) -> Result<(), Failure> {
    let list = configuration::wanted(&args.network)?;
    let path = args.plugins.bin_dir.iter().flat_map(|path| path.0.iter().cloned()).collect();
    let cni = CniConfig::new(path, None);
    let (question, answer) = patiently(&waiting(&list.name), ask(&cni, &list)).await;
    if args.output.json {
        return verdict::json(&list, None, question, &answer);
    }
    verdict::outcome(&list, &answer)?;
    output::fields(&[
        ("network", list.name.clone()),
        ("version", list.cni_version.clone()),
        ("plugins", verdict::plugins(&list).join(", ")),
        (
            "status",
            match question {
                Question::Asked => "ready".to_owned(),
                Question::Left => {
                    format!("its plugins are there; STATUS came with {SINCE}, none was asked")
                }
            },
        ),
    ])
}

async fn ask(cni: &CniConfig, list: &NetworkConfigList) -> (Question, Result<(), cni::Error>) {
    match greater_than_or_equal_to(&list.cni_version, SINCE) {
        Ok(true) => (Question::Asked, cni.get_status_network_list(list).await),
        Ok(false) => (Question::Left, cni.validate_network_list(list).await.map(drop)),
        Err(error) => (Question::Left, Err(error)),
    }
}
