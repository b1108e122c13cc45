//! What `weft doctor` looks at.

use weft_api::control::{Check, DoctorReport};
use weft_overlay::netlink::uplink;

use super::Controller;
use crate::control::Answer;

impl Controller {
    pub(super) async fn diagnose(&self) -> Answer<DoctorReport> {
        let mut checks = kernel().await;
        checks.push(Check::ok("mtu", format!("endpoints get {} bytes", self.largest_mtu())));
        Ok(DoctorReport { checks })
    }
}

async fn kernel() -> Vec<Check> {
    match uplink::features().await {
        Ok(features) => features
            .into_iter()
            .map(|feature| match feature.outcome {
                Ok(()) => Check::ok(feature.name, "works"),
                Err(error) => Check::fail(
                    feature.name,
                    error.to_string(),
                    "run a kernel with this feature, or load its module",
                ),
            })
            .collect(),
        Err(error) => {
            vec![Check::fail("network namespaces", error.to_string(), "run the agent as root")]
        }
    }
}
