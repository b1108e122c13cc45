//! Server and client over a real unix socket, with a recorder in the controller's place.

mod form;
mod recorder;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_api::control::{
    AttachRequest, AttachmentAdd, AttachmentAddresses, AttachmentGc, AttachmentKey, DetachRequest,
    EndpointCreate, EndpointJoin, EntryCreate, EntryUpdate, ForgetRequest, InitRequest,
    JoinRequest, KeyQuery, LeaveRequest, ListFilter, NetworkCreate, RotateRequest, SandboxId,
    Secret, TableValue, WatchLine, WatchQuery,
};

use crate::client::{Client, ClientError};
use crate::control::{ControlError, Detail, ErrorKind, HeldByEngine, Server, ServerLimits};
use recorder::{Mood, Recorder};

/// A served socket in a directory of its own.
struct Bench {
    client: Client,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    started: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

fn bench(mood: Mood, limits: ServerLimits) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weft.sock");
    let recorder = Arc::new(Recorder::new(mood));
    let stop = CancellationToken::new();
    let server = Server::bind(&path, limits).unwrap();
    let (started, starting) = watch::channel(true);
    let server = tokio::spawn(server.run(recorder.clone(), starting, stop.clone()));
    Bench { client: Client::new(path), recorder, stop, server, started, _directory: directory }
}

fn attach_request() -> AttachRequest {
    AttachRequest {
        network: "blue".to_owned(),
        name: None,
        addresses: Vec::new(),
        mac: None,
        netns: "/run/netns/x".to_owned(),
        ifname: None,
        options: std::collections::BTreeMap::new(),
    }
}

fn attachment_add() -> AttachmentAdd {
    AttachmentAdd {
        network: NetworkCreate::named("blue"),
        key: recorder::key(),
        configuration: "pods".to_owned(),
        netns: "/run/netns/x".to_owned(),
        addresses: AttachmentAddresses::default(),
        mac: None,
        bandwidth: None,
    }
}

/// Makes every call of the client once, and returns the errors.
async fn call_all(client: &Client) -> Vec<ClientError> {
    let filter = ListFilter { name: Some("a b".to_owned()), partial_id: Some("0f".to_owned()) };
    let join =
        JoinRequest { token: Secret::new("weft1-x".to_owned()), seeds: vec![recorder::address()] };
    let forget = ForgetRequest { nodes: vec!["c".to_owned()], force: true };
    let sandbox = SandboxId::new("s1".to_owned());
    let into = EndpointJoin { netns: "/run/netns/x".to_owned(), ifname: None };
    let value = TableValue::Text("v".to_owned());
    let create = EntryCreate { key: "k/1".to_owned(), value: value.clone() };
    let query = WatchQuery { table: Some("names".to_owned()) };
    let (n, e) = ("blue", "blue/web");
    let (network, configuration) = (n.to_owned(), "pods".to_owned());
    let gc = AttachmentGc { network, configuration, valid: vec![recorder::key()] };
    [
        client.init(&InitRequest::default()).await.err(),
        client.join(&join).await.err(),
        client.leave(&LeaveRequest::default()).await.err(),
        client.forget(&forget).await.err(),
        client.keys().await.err(),
        client.rotate_key(&RotateRequest { force: true }).await.err(),
        client.retire_key("0f", &KeyQuery { force: true }).await.err(),
        client.token().await.err(),
        client.members().await.err(),
        client.status().await.err(),
        client.doctor().await.err(),
        client.ipam().await.err(),
        client.networks(&filter).await.err(),
        client.create_network(&NetworkCreate::named("blue")).await.err(),
        client.network(n, Detail::Plain).await.err(),
        client.network(n, Detail::Verbose).await.err(),
        client.delete_network(n, HeldByEngine::Refuse).await.err(),
        client.delete_network(n, HeldByEngine::Forget).await.err(),
        client.endpoints(None, &filter).await.err(),
        client.endpoints(Some(n), &ListFilter::default()).await.err(),
        client.create_endpoint(n, &EndpointCreate::default()).await.err(),
        client.endpoint(None, e).await.err(),
        client.endpoint(Some(n), e).await.err(),
        client.delete_endpoint(n, e).await.err(),
        client.join_sandbox(n, e, &into).await.err(),
        client.leave_sandbox(n, e, None).await.err(),
        client.leave_sandbox(n, e, Some(&sandbox)).await.err(),
        client.attach(&attach_request()).await.err(),
        client.detach(&DetachRequest { endpoint: "web".to_owned() }).await.err(),
        client.add_attachment(&attachment_add()).await.err(),
        client.attachments(None).await.err(),
        client.attachments(Some(n)).await.err(),
        client.attachment(&recorder::attachment_ref()).await.err(),
        client.delete_attachment(&recorder::attachment_ref()).await.err(),
        client.collect_attachments(&gc).await.err(),
        client.attachment_status(None).await.err(),
        client.attachment_status(Some(n)).await.err(),
        client.tables(n).await.err(),
        client.entries(n, "names").await.err(),
        client.create_entry(n, "names", &create).await.err(),
        client.entry(n, "names", "k/1").await.err(),
        client.update_entry(n, "names", "k/1", &EntryUpdate { value }).await.err(),
        client.delete_entry(n, "names", "k/1").await.err(),
        client.watch(n, &query).await.err(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[tokio::test]
async fn every_route_reaches_its_operation_with_what_was_asked() {
    let bench = bench(Mood::Willing, ServerLimits::default());

    let errors = call_all(&bench.client).await;

    assert!(errors.is_empty(), "{errors:?}");
    let expected = [
        "init None",
        "join weft1-x [192.0.2.1:7950]",
        "leave false",
        "forget [\"c\"] true",
        "keys",
        "rotate_key true",
        "retire_key 0f true",
        "token",
        "members",
        "status",
        "doctor",
        "ipam",
        "networks Some(\"a b\") Some(\"0f\")",
        "create_network blue",
        "network blue Plain",
        "network blue Verbose",
        "delete_network blue Refuse",
        "delete_network blue Forget",
        "endpoints None Some(\"a b\") Some(\"0f\")",
        "endpoints Some(\"blue\") None None",
        "create_endpoint blue None",
        "endpoint None blue/web",
        "endpoint Some(\"blue\") blue/web",
        "delete_endpoint blue blue/web",
        "join_sandbox blue blue/web /run/netns/x",
        "leave_sandbox blue blue/web None",
        "leave_sandbox blue blue/web Some(\"s1\")",
        "attach blue /run/netns/x",
        "detach web",
        "add_attachment blue /run/netns/x",
        "attachments None",
        "attachments Some(\"blue\")",
        "attachment blue `a&b c` c1 eth0",
        "delete_attachment blue `a&b c` c1 eth0",
        "collect_attachments blue 1",
        "attachment_status None",
        "attachment_status Some(\"blue\")",
        "tables blue",
        "entries blue names",
        "create_entry blue names k/1 Text(\"v\")",
        "entry blue names k/1",
        "update_entry blue names k/1 Text(\"v\")",
        "delete_entry blue names k/1",
        "watch blue Some(\"names\")",
    ];
    assert_eq!(bench.recorder.take_calls(), expected);
}

#[tokio::test]
async fn every_kind_of_error_comes_back_from_every_route_as_it_was() {
    for kind in ErrorKind::ALL {
        let error = ControlError::new(kind, "network `blue` is full").with_hint("remove some");
        let bench = bench(Mood::Failing(error.clone()), ServerLimits::default());
        let errors = call_all(&bench.client).await;
        assert_eq!(errors.len(), 44);
        for found in errors {
            let ClientError::Refused(found) = found else { panic!("{found:?}") };
            assert_eq!(found, error);
        }
    }
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_a_timeout() {
    let limits = ServerLimits { operation: Duration::from_millis(20), ..ServerLimits::default() };
    let bench = bench(Mood::Stuck, limits);
    match bench.client.status().await {
        Err(ClientError::Refused(error)) => assert_eq!(error.kind, ErrorKind::Timeout),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_delivers_each_event_when_it_happens_and_ends_in_order() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let mut watch = bench.client.watch("blue", &WatchQuery::default()).await.unwrap();
    let sender = bench.recorder.watch.lock().unwrap().take().unwrap();
    for _ in 0..3 {
        sender.send(WatchLine::Event(recorder::event())).await.unwrap();
        assert_eq!(watch.next().await.unwrap(), Some(recorder::event()));
    }
    drop(sender);
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test]
async fn while_the_agent_starts_a_runtime_is_refused_and_a_person_waits() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    bench.started.send_replace(false);
    let of = recorder::attachment_ref();
    let refused = [
        bench.client.add_attachment(&attachment_add()).await.err(),
        bench.client.delete_attachment(&of).await.err(),
        bench.client.attachment_status(None).await.err(),
    ];
    for error in refused {
        match error {
            Some(ClientError::Refused(error)) => assert_eq!(error.kind, ErrorKind::Unavailable),
            other => panic!("{other:?}"),
        }
    }
    let client = bench.client.clone();
    let waiting = tokio::spawn(async move { client.members().await });
    // Longer than a runtime waits.
    let second = bench.client.attachments(None).await;
    assert!(second.is_err() && bench.recorder.take_calls().is_empty());
    assert!(!waiting.is_finished());
    bench.started.send_replace(true);
    waiting.await.unwrap().unwrap();
    bench.client.delete_attachment(&of).await.unwrap();
    assert_eq!(bench.recorder.take_calls().len(), 2);
}

#[tokio::test]
async fn a_list_of_what_is_in_use_may_be_long() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let (network, configuration) = ("blue".to_owned(), "pods".to_owned());
    let key = AttachmentKey { container_id: "c".repeat(200), ..recorder::key() };
    let gc = AttachmentGc { network, configuration, valid: vec![key; 20_000] };
    bench.client.collect_attachments(&gc).await.unwrap();
    assert_eq!(bench.recorder.take_calls(), ["collect_attachments blue 20000"]);
}

#[tokio::test]
async fn a_watch_that_fell_behind_ends_with_the_reason() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let mut watch = bench.client.watch("blue", &WatchQuery::default()).await.unwrap();
    let sender = bench.recorder.watch.lock().unwrap().take().unwrap();
    let reason = ControlError::unavailable("the watcher fell behind");
    sender.send(WatchLine::Error(reason.clone())).await.unwrap();
    match watch.next().await {
        Err(ClientError::Refused(error)) => assert_eq!(error, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_is_dropped_when_its_reader_goes_away() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let watch = bench.client.watch("blue", &WatchQuery::default()).await.unwrap();
    let sender = bench.recorder.watch.lock().unwrap().take().unwrap();
    drop(watch);
    tokio::time::timeout(Duration::from_secs(10), sender.closed()).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_watches_and_removes_the_socket() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let mut watch = bench.client.watch("blue", &WatchQuery::default()).await.unwrap();
    bench.stop.cancel();
    assert!(matches!(watch.next().await, Err(ClientError::Refused(_))));
    bench.server.await.unwrap();
    assert!(!bench.client.socket().exists());
    match bench.client.status().await {
        Err(error @ ClientError::Socket { .. }) => {
            assert!(error.to_string().starts_with("no agent runs here"), "{error}");
            assert!(error.hint().unwrap().contains("weft agent"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_socket_nobody_listens_on_says_that_no_agent_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weft.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = Client::new(path).status().await.unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error}");
}
