//! `weft init`.

use weft_api::control::InitRequest;

use crate::cli::InitArgs;
use crate::client::Client;
use crate::commands::output;
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Makes a cluster, prints its id, and says how others join.
pub(crate) async fn exec(args: InitArgs) -> Result<(), Failure> {
    let request = InitRequest {
        default4: args.default4,
        default4_prefix: args.default4_prefix,
        default6: args.default6,
        default6_prefix: args.default6_prefix,
        vni_first: args.vni_first,
        vni_last: args.vni_last,
    };
    let client = Client::new(args.connection.socket);
    let cluster = patiently("making a cluster", client.init(&request)).await?;
    if args.output.json {
        return output::json(&cluster);
    }
    output::line(&cluster.id.to_string())?;
    output::say(&format!(
        "`{}` is the first member of a new cluster. To let another node join:\n  \
         weft token -o token          # here; a secret, copy it over safely\n  \
         weft join --token-file token {}          # there",
        cluster.name, cluster.advertise
    ));
    Ok(())
}
