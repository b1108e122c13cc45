use super::*;
use crate::keys::Key;

fn end(byte: u8) -> End {
    End { node: NodeId::from_bytes([byte; 16]), boot: Boot { counter: 3, nonce: 77 } }
}

fn header() -> Header {
    Header {
        cluster: ClusterId::from_bytes([9; 16]),
        sender: end(1),
        key_id: 0,
        counter: 42,
        nonce: [5; 24],
    }
}

fn ring() -> KeyRing {
    KeyRing::new(1, Key::from_bytes([7; 32]))
}

#[test]
fn what_is_sealed_opens_for_its_receiver() {
    let bytes = seal(&ring(), header(), end(2), b"hello");
    assert_eq!(bytes.len(), OVERHEAD + 5);
    let read = Header::read(&bytes).unwrap();
    assert_eq!(read.counter, 42);
    assert_eq!(read.sender, end(1));
    assert_eq!(open(&ring(), &read, end(2), &bytes).unwrap(), b"hello");
}

#[test]
fn another_receiver_or_another_boot_of_it_cannot_open() {
    let bytes = seal(&ring(), header(), end(2), b"hello");
    let read = Header::read(&bytes).unwrap();
    assert_eq!(open(&ring(), &read, end(3), &bytes), Err(EnvelopeError::BadAuth));
    let reborn = End { boot: Boot { counter: 4, nonce: 77 }, ..end(2) };
    assert_eq!(open(&ring(), &read, reborn, &bytes), Err(EnvelopeError::BadAuth));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = seal(&ring(), header(), end(2), b"hello");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let opened = Header::read(&damaged).and_then(|h| open(&ring(), &h, end(2), &damaged));
        assert!(opened.is_err(), "bit {bit}");
    }
}

#[test]
fn an_older_key_of_the_ring_still_opens() {
    let old = ring();
    let bytes = seal(&old, header(), end(2), b"hello");
    let mut ring = KeyRing::new(2, Key::from_bytes([8; 32]));
    ring.add(1, Key::from_bytes([7; 32]));
    let read = Header::read(&bytes).unwrap();
    assert_eq!(open(&ring, &read, end(2), &bytes).unwrap(), b"hello");
    let strangers = KeyRing::new(3, Key::from_bytes([7; 32]));
    assert_eq!(open(&strangers, &read, end(2), &bytes), Err(EnvelopeError::BadAuth));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = seal(&ring(), header(), end(2), b"hello");
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        let opened = Header::read(cut).and_then(|h| open(&ring(), &h, end(2), cut));
        assert!(opened.is_err(), "{len}");
    }
}

#[test]
fn a_datagram_of_version_1_has_its_golden_bytes() {
    let sealed = seal(&ring(), header(), end(2), b"hello");
    let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/datagram-1.hex");
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(path, hex.clone() + "\n").unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), hex);
}
