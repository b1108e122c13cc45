use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::exchange::{End, parse, request};
use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn a_request_says_how_long_its_body_is() {
    let bytes = request("POST", "/attachments", b"{}");
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("POST /attachments HTTP/1.1\r\nhost: weft\r\nconnection: close\r\n"));
    assert!(text.ends_with("content-length: 2\r\n\r\n{}"), "{text}");
    let bytes = request("GET", "/x", b"");
    assert!(bytes.ends_with(b"close\r\n\r\n"));
}

#[test]
fn an_answer_is_whole_when_all_its_bytes_are_there() {
    for length in 0..ANSWER.len() {
        assert_eq!(parse(&ANSWER[..length], End::MayFollow), Ok(None), "{length}");
        assert!(parse(&ANSWER[..length], End::Reached).is_err(), "{length}");
    }
    let answer = parse(ANSWER, End::MayFollow).unwrap().unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    let empty = parse(b"HTTP/1.1 204 No Content\r\n\r\n", End::MayFollow).unwrap().unwrap();
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    let open = b"HTTP/1.1 200 OK\r\n\r\nabc";
    assert_eq!(parse(open, End::MayFollow), Ok(None));
    assert_eq!(parse(open, End::Reached).unwrap().unwrap().body, b"abc");
}

#[test]
fn what_is_no_answer_is_an_error() {
    for bad in [
        &b"SSH-2.0\r\n\r\n"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"\xff\r\n\r\n",
    ] {
        assert!(parse(bad, End::MayFollow).is_err(), "{bad:?}");
    }
    assert!(parse(&vec![b'a'; 20 << 10], End::MayFollow).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let _ = parse(&bytes, End::Reached);
        let framed = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n", &tail[..]].concat();
        let _ = parse(&framed, End::Reached);
        let _ = parse(&framed, End::MayFollow);
    }
}

#[test]
fn an_agent_that_says_nothing_is_not_waited_for_beyond_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("weft.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let start = Instant::now();
    let called = Agent::at(socket).call("GET", "/x", &[], Duration::from_millis(100));
    assert!(matches!(called, Err(CallError::Lost(_))), "{called:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_no_socket_is_not_taken_for_an_absent_agent() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("x".repeat(200));
    for (path, absent) in [(directory.path().join("none"), true), (long, false)] {
        let called = Agent::at(path).call("GET", "/x", &[], Duration::from_secs(1));
        assert_eq!(matches!(called, Err(CallError::Absent(_))), absent, "{called:?}");
    }
}
