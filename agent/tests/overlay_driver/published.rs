//! Ports are published and told in libnetwork's words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::Socket;
use weft_agent::overlay_driver::portmap::PORT_MAP;
use weft_api::driver::{Driver, DriverError, Options};
use weft_api::error::Kind;
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::{make_anonymous, run_in};

use crate::bed::{Bed, NETWORK, Run, eid};

const PATIENCE: Duration = Duration::from_secs(5);

fn path_of(namespace: &Namespace) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

fn tcp(port: u16, host_port: u16) -> Value {
    json!([{
        "Proto": 6, "IP": "", "Port": port,
        "HostIP": "", "HostPort": host_port, "HostPortEnd": host_port,
    }])
}

async fn publish(run: &Run, n: u8, ports: Value) -> Result<Value, DriverError> {
    let options = Options::from([(PORT_MAP.to_owned(), ports)]);
    run.driver.program_external_connectivity(NETWORK, eid(n), &options).await?;
    Ok(told(run, n).await)
}

async fn told(run: &Run, n: u8) -> Value {
    let info = run.driver.endpoint_oper_info(NETWORK, eid(n)).await.unwrap();
    info.get(PORT_MAP).cloned().unwrap_or_default()
}

/// Asks a port of the host's loopback, while the endpoint serves at its port 80.
fn answers(bed: &Bed, sandbox: &Namespace, host_port: u16) -> std::io::Result<()> {
    let server = run_in(sandbox, || TcpListener::bind("0.0.0.0:80")).unwrap()?;
    let server = Socket::from(server);
    server.set_read_timeout(Some(PATIENCE))?;
    let ask = SocketAddr::from(([127, 0, 0, 1], host_port));
    let mut client = run_in(&bed.host, || TcpStream::connect_timeout(&ask, PATIENCE)).unwrap()?;
    client.set_read_timeout(Some(PATIENCE))?;
    let (mut accepted, _) = TcpListener::from(server).accept()?;
    accepted.write_all(b"here")?;
    client.read_exact(&mut [0; 4])
}

#[tokio::test]
async fn a_port_is_published_told_kept_and_revoked() {
    let bed = Bed::open().await;
    let run = bed.run().await;
    let sandbox = make_anonymous().unwrap();
    run.join(1, &path_of(&sandbox), &[]).await.unwrap();
    let published = publish(&run, 1, tcp(80, 0)).await.unwrap();
    let host_port = u16::try_from(published[0]["HostPort"].as_u64().unwrap()).unwrap();
    let expected = json!([{
        "Proto": 6, "IP": "10.66.0.11", "Port": 80,
        "HostIP": "0.0.0.0", "HostPort": host_port, "HostPortEnd": host_port,
    }]);
    assert_eq!(published, expected);
    answers(&bed, &sandbox, host_port).unwrap();
    assert_eq!(publish(&run, 1, tcp(80, 0)).await.unwrap(), expected, "again it is the same");
    run.driver.revoke_external_connectivity(NETWORK, eid(1)).await.unwrap();
    run.driver.revoke_external_connectivity(NETWORK, eid(1)).await.unwrap();
    assert_eq!(told(&run, 1).await, Value::Null);
    assert!(answers(&bed, &sandbox, host_port).is_err());
    run.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_by_name_until_a_leave_frees_it() {
    let bed = Bed::open().await;
    let run = bed.run().await;
    let (one, two) = (make_anonymous().unwrap(), make_anonymous().unwrap());
    run.join(1, &path_of(&one), &[]).await.unwrap();
    run.join(2, &path_of(&two), &[]).await.unwrap();
    publish(&run, 1, tcp(80, 8080)).await.unwrap();
    let taken = publish(&run, 2, tcp(80, 8080)).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::Forbidden);
    assert_eq!(taken.to_string(), "tcp port `0.0.0.0:8080` of this host is in use");
    assert_eq!(told(&run, 2).await, Value::Null);
    answers(&bed, &one, 8080).unwrap();
    run.driver.leave(NETWORK, eid(1)).await.unwrap();
    publish(&run, 2, tcp(80, 8080)).await.unwrap();
    answers(&bed, &two, 8080).unwrap();
    run.end().await;
}

#[tokio::test]
async fn a_restart_publishes_what_was_told_before() {
    let bed = Bed::open().await;
    let sandbox = make_anonymous().unwrap();
    let first = bed.run().await;
    first.join(1, &path_of(&sandbox), &[]).await.unwrap();
    let published = publish(&first, 1, tcp(80, 0)).await.unwrap();
    let host_port = u16::try_from(published[0]["HostPort"].as_u64().unwrap()).unwrap();
    first.end().await;
    answers(&bed, &sandbox, host_port).expect("without an agent");
    let second = bed.run().await;
    second.join(1, &path_of(&sandbox), &[]).await.unwrap();
    assert_eq!(publish(&second, 1, published.clone()).await.unwrap(), published);
    second.driver.set_restored().await;
    answers(&bed, &sandbox, host_port).unwrap();
    second.end().await;
}

#[tokio::test]
async fn an_internal_network_publishes_nothing() {
    let bed = Bed::internal().await;
    let run = bed.run().await;
    let sandbox = make_anonymous().unwrap();
    run.join(1, &path_of(&sandbox), &[]).await.unwrap();
    let refused = publish(&run, 1, tcp(80, 8080)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    let none = publish(&run, 1, Value::Null).await.unwrap();
    assert_eq!(none, Value::Null, "to publish nothing is no error");
    run.end().await;
}
