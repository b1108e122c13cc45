//! Whatever stands in the directory of configurations, the others in it are served.

use cni::ocicni::{CniPlugin, Ocicni};
use proptest::prelude::*;
use serde_json::json;

use crate::bench::Bench;

/// Texts that are nearly configurations.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let whole = json!({
        "cniVersion": "1.1.0", "cniVersions": ["1.0.0"], "name": "x", "disableGC": "true",
        "plugins": [{"type": "main", "capabilities": {"mac": true}}], "type": "main",
    });
    let whole = whole.to_string().into_bytes();
    let cut = (any::<prop::sample::Index>(), any::<u8>());
    let damaged = cut.prop_map(move |(at, byte)| {
        let mut text = whole.clone();
        let at = at.index(text.len());
        if byte < 64 {
            text.truncate(at)
        } else {
            text[at] = byte
        }
        text
    });
    prop_oneof![3 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn files_of_any_content_do_not_keep_others_from_being_served(
        list in text(), conf in text(), name in "[a-zA-Z0-9 _%\u{e9}-]{1,20}",
    ) {
        let bench = Bench::new();
        std::fs::write(bench.conf_dir().join(format!("{name}.conflist")), list).expect("writable");
        std::fs::write(bench.conf_dir().join(format!("{name}.conf")), conf).expect("writable");
        bench.network("zz-blue.conflist", "blue");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let plugin: Ocicni = bench.start_with(bench.options().default_network("blue")).await;
            plugin.status().await.expect("it is served");
            plugin.shutdown().await.expect("it ends");
        });
    }
}
