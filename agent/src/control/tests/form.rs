//! Requests of the wrong form, written byte by byte.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use weft_api::control::{ControlError, ErrorKind};

use super::recorder::Mood;
use super::{Bench, ServerLimits, bench};
use crate::control::routes;

/// Sends `text` and reads until the server closes; returns status line and error.
async fn exchange(bench: &Bench, text: &str) -> (u16, ControlError) {
    let mut stream = UnixStream::connect(bench.client.socket()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn requests_of_the_wrong_form_get_a_status_and_a_sentence_and_reach_nothing() {
    let limits = ServerLimits { body_bytes: 1000, ..ServerLimits::default() };
    let bench = bench(Mood::Willing, limits);
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n");
    let big = format!("{{\"name\":\"{}\"}}", "x".repeat(2000));
    let rows = [
        (post("/networks", JSON, "{"), 400, "EOF"),
        (post("/networks", JSON, "{} {}"), 400, "missing field `name`"),
        (post("/networks", JSON, "{\"name\":\"a\"} x"), 400, "trailing"),
        (post("/networks", JSON, "{\"name\":7}"), 400, "expected a string"),
        (post("/networks", JSON, "{\"name\":\"a\",\"color\":1}"), 400, "unknown field `color`"),
        (post("/networks", JSON, "{\"name\":\"a\",\"name\":\"b\"}"), 400, "duplicate field"),
        (post("/networks", JSON, ""), 400, "EOF"),
        (post("/networks", "", ""), 400, "missing field `name`"),
        (post("/networks", "", "{\"name\":\"a\"}"), 415, "Content-Type"),
        (post("/networks", "Content-Type: text/plain\r\n", "{}"), 415, "`text/plain`"),
        (post("/networks", JSON, &big), 413, "1000 bytes"),
        (post("/networks/a", JSON, "{}"), 405, "`POST` cannot be done to `/networks/a`"),
        (post("/cluster/leave", JSON, "{\"froce\":true}"), 400, "unknown field `froce`"),
        (post("/cluster/forget", JSON, "{}"), 400, "missing field `nodes`"),
        (get("/network"), 404, "`/network` is no resource"),
        (get("/networks?nmae=a"), 400, "unknown field `nmae`"),
        (get("/networks/a?verbose=maybe"), 400, "`?verbose=maybe`"),
        (get("/members?all=1"), 400, "unknown field `all`"),
        (get("/networks/%ff"), 400, "UTF-8"),
        (get("/networks//endpoints"), 400, "a name is missing"),
    ];
    for (request, status, words) in rows {
        let (found, error) = exchange(&bench, &request).await;
        assert_eq!(found, status, "{request}: {error:?}");
        assert!(error.error.contains(words), "{request}: {error:?}");
    }
    assert!(bench.recorder.take_calls().is_empty());
}

#[tokio::test]
async fn a_charset_beside_the_type_is_accepted() {
    let bench = bench(Mood::Failing(ControlError::not_found("x")), ServerLimits::default());
    let typed = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let (status, _) = exchange(&bench, &post("/detach", typed, "{\"endpoint\":\"a\"}")).await;
    assert_eq!(status, 404);
    assert_eq!(bench.recorder.take_calls(), ["detach a"]);
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_up_and_reaches_nothing() {
    let limits = ServerLimits { read: Duration::from_millis(50), ..ServerLimits::default() };
    let bench = bench(Mood::Willing, limits);
    let whole = post("/detach", JSON, "{\"endpoint\":\"a\"}");
    let (status, error) = exchange(&bench, &whole[..whole.len() - 5]).await;
    assert_eq!(status, 408);
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(bench.recorder.take_calls().is_empty());
}

#[tokio::test]
async fn a_head_that_stops_half_way_is_given_up() {
    let limits = ServerLimits { read: Duration::from_millis(50), ..ServerLimits::default() };
    let bench = bench(Mood::Willing, limits);
    let mut stream = UnixStream::connect(bench.client.socket()).await.unwrap();
    stream.write_all(b"POST /detach HTTP/1.1\r\nHo").await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(bench.recorder.take_calls().is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_disturb_the_next_client() {
    let bench = bench(Mood::Willing, ServerLimits::default());
    let mut stream = UnixStream::connect(bench.client.socket()).await.unwrap();
    stream.write_all(&[0xff; 300]).await.unwrap();
    drop(stream);
    assert!(bench.client.status().await.is_ok());
}

#[tokio::test]
async fn a_peer_without_rights_is_refused_whatever_it_asks() {
    let router = TowerToHyperService::new(routes::closed());
    for path in ["/status", "/cluster/token", "/nothing"] {
        let request = Request::get(path).body(Full::new(Bytes::new())).unwrap();
        let response = router.call(request).await.unwrap();
        assert_eq!(response.status(), 403);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let error: ControlError = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.kind, ErrorKind::Forbidden);
    }
}
