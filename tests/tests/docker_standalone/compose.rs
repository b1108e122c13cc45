//! Debian's docker-compose on engines with Weft.

use std::fs;
use std::path::{Path, PathBuf};

use weft_tests::testbed::{Docker, IMAGE, Shared};

/// Writes a project; its directory's name is the project's.
fn project(docker: &Docker, engine: usize, name: &str, text: &str) -> PathBuf {
    let directory = docker.testbed.path(&format!("h{}/{name}", engine + 1));
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("docker-compose.yml"), text).expect("a file");
    directory
}

fn up(docker: &Docker, engine: usize, directory: &Path) {
    docker.engines[engine].cli.compose(directory, &["up", "--detach"]).done();
}

fn down(docker: &Docker, engine: usize, directory: &Path) {
    docker.engines[engine].cli.compose(directory, &["down", "--timeout", "1"]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_uses_a_network_that_is_there_already() {
    let docker = Shared::docker().await;
    let text = format!(
        "version: '3.7'\n\
         services:\n  web:\n    image: {IMAGE}\n    container_name: outer-web\n    \
         networks: [outer]\n\
         networks:\n  outer:\n    external: true\n"
    );
    let mut projects = Vec::new();
    for number in 0..2 {
        docker.engines[number].create_network("outer", &[]);
        let directory = project(&docker, number, "external", &text);
        up(&docker, number, &directory);
        projects.push(directory);
    }
    let webs = [0, 1].map(|number| docker.engines[number].container("outer-web"));
    webs[0].sandbox().reaches(&webs[1].addresses("outer")).await;
    webs[1].sandbox().reaches(&webs[0].addresses("outer")).await;
    for (number, directory) in projects.iter().enumerate() {
        down(&docker, number, directory);
        docker.engines[number].remove_network("outer");
    }
}

/// What the documentation shows a user, on another of the cluster's networks.
fn application() -> String {
    let text = include_str!("../../../compose/app.yml");
    let text = text.replace("weft-busybox:latest", IMAGE);
    text.replace("options: { network: blue }", "options: { network: composed }")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_application_runs_on_two_engines_with_addresses_as_asked() {
    let docker = Shared::docker().await;
    let projects = [(0, "server"), (1, "client")].map(|(number, service)| {
        let directory = project(&docker, number, "app", &application());
        docker.engines[number].cli.compose(&directory, &["up", "--detach", service]).done();
        directory
    });
    let server = docker.engines[0].container("app_server_1");
    let client = docker.engines[1].container("app_client_1");
    assert_eq!(server.addresses("app_blue")[0].to_string(), "10.7.0.80");
    assert_eq!(client.addresses("app_blue")[0].to_string(), "10.7.0.81");
    client.sandbox().reaches(&server.addresses("app_blue")).await;
    let page = client.exec(&["wget", "-q", "-O", "-", "http://10.7.0.80/hostname"]);
    assert!(server.inspect()["Config"]["Hostname"] == page.trim(), "{page}");
    let cluster = &docker.testbed.hosts[2].client;
    let network = cluster.network("composed", weft_agent::control::Detail::Plain).await;
    let network = network.expect("a network of the cluster");
    for (number, directory) in projects.iter().enumerate() {
        down(&docker, number, directory);
    }
    docker.nothing_is_left_of(&network).await;
}
