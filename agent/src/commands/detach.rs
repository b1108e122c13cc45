//! `weft detach`.

use weft_api::control::DetachRequest;

use crate::cli::DetachArgs;
use crate::client::Client;
use crate::commands::output;
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Takes endpoints off their networks.
pub(crate) async fn exec(args: DetachArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    for endpoint in args.endpoints {
        let request = DetachRequest { endpoint };
        patiently("detaching", client.detach(&request)).await?;
        output::say(&format!("`{}` is detached", request.endpoint));
    }
    Ok(())
}
