//! The testbed with real engines, tried with the engine's own networks: a suite on it that fails
//! fails because of Weft.

use weft_tests::testbed::{Docker, IMAGE};

#[tokio::test(flavor = "multi_thread")]
async fn engines_run_side_by_side_and_containers_outlive_a_killed_one_with_live_restore() {
    let mut docker = Docker::hosts(2).await;
    docker.start(&["--live-restore"]).await;
    let mut pings = Vec::new();
    for engine in &docker.engines {
        engine.docker(&["network", "create", "own"]).line();
        let near = engine.run(&["--network", "own", "--name", "near"]);
        let far = engine.run(&["--network", "own", "--name", "far"]);
        let to = far.addresses("own")[0];
        pings.push((near.sandbox().stream_to(to), near.sandbox()));
        assert!(far.exec(&["ip", "addr"]).contains(&to.to_string()));
    }
    docker.engines[0].kill();
    docker.engines[0].start(&["--live-restore"]);
    docker.engines[0].answers().await;
    docker.engines[1].stop();
    docker.engines[1].start(&["--live-restore"]);
    docker.engines[1].answers().await;
    for (ping, _) in pings {
        ping.lost_nothing().await;
    }
    for engine in &docker.engines {
        let listed = engine.docker(&["ps", "--format", "{{.Names}} {{.Image}}"]);
        assert_eq!(listed.stdout, format!("far {IMAGE}\nnear {IMAGE}\n"));
        engine.container("near").remove();
    }
}
