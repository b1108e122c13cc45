//! Golden bytes: what version 1 of each message looks like, and must for ever.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use weft_api::{Boot, ClusterId, Definition, NetworkId, NodeId, Stamp, Subnet, Vni};

use super::*;
use crate::FactKind;
use crate::claims::{ClaimBody, ClaimId, Origin, Reach};
use crate::keys::{Fingerprint, Key, NamedKey, RingState};
use crate::membership::identity::{Identity, Record, Standing};
use crate::output::JoinRefusal;
use crate::sync::message::{Delta, DeltaKind, Pushed, Relay, Rest, WireFact, Wish};
use crate::table::log::Extent;
use crate::table::record::{EntryKey, Record as TableRecord};

const NODE: NodeId = NodeId::from_bytes([0x11; 16]);
const OTHER: NodeId = NodeId::from_bytes([0x22; 16]);
const NET: NetworkId = NetworkId::from_bytes([0x33; 16]);
const BOOT: Boot = Boot { counter: 5, nonce: 0x0102_0304_0506_0708 };

fn identity(addr: &str) -> Identity {
    let addr = addr.parse().unwrap();
    Identity { node: NODE, boot: BOOT, renewal: 1, addr, name: "one".to_owned() }
}

fn records() -> Vec<Record> {
    [Standing::Alive, Standing::Suspect, Standing::Down]
        .into_iter()
        .zip(["10.0.0.1:7950", "[fd00::1]:7950", "10.0.0.2:7951"])
        .map(|(standing, addr)| Record { identity: identity(addr), incarnation: 300, standing })
        .collect()
}

fn join_messages() -> Vec<JoinMessage> {
    let mut all = vec![
        JoinMessage::Hello {
            cluster: ClusterId::from_bytes([0x44; 16]),
            identity: identity("10.0.0.1:7950"),
            members: records(),
        },
        JoinMessage::Welcome { identity: identity("10.0.0.1:7950"), members: records() },
        JoinMessage::Members(records()),
        JoinMessage::WhoIs(OTHER),
        JoinMessage::Leaving,
        JoinMessage::LeaveNoted,
    ];
    let refusals = [
        JoinRefusal::Unreachable("why".to_owned()),
        JoinRefusal::Left(NODE),
        JoinRefusal::Forgotten(NODE),
        JoinRefusal::ForeignCluster,
        JoinRefusal::Version { theirs: 2, ours: 1 },
        JoinRefusal::Full(4096),
        JoinRefusal::RolledBack(BOOT),
    ];
    all.extend(refusals.map(JoinMessage::Refused));
    all
}

fn table_records() -> Vec<TableRecord> {
    let at = EntryKey::new("table", "key");
    vec![
        TableRecord { seq: 7, stamp: 300, at: at.clone(), value: Some(vec![1, 2, 3].into()) },
        TableRecord { seq: 8, stamp: 301, at, value: None },
    ]
}

fn fact() -> WireFact {
    WireFact { kind: FactKind::LEFT, subject: vec![0x11; 16], state: vec![1] }
}

fn sync_messages() -> Vec<sync::Message> {
    use sync::Message;
    let network = NET;
    let extent = Extent { head: 7, ..Extent::default() };
    let heads = vec![(NODE, 7), (OTHER, 300)];
    let delta = |kind| Delta {
        owner: NODE,
        head: 8,
        floor: 2,
        from: 6,
        to: 8,
        kind,
        records: table_records(),
    };
    vec![
        Message::Push {
            network,
            relay: Relay::New,
            logs: vec![Pushed { owner: NODE, records: table_records() }],
        },
        Message::PushFacts { relay: Relay::Never, facts: vec![fact()] },
        Message::Check { hash: u64::MAX, wish: Wish::Difference },
        Message::Same,
        Message::Hashes { facts: 1, networks: vec![(NET, 2)] },
        Message::Heads { network, extents: vec![(NODE, extent.clone())] },
        Message::Announce { network, heads: heads.clone(), wish: Wish::Word },
        Message::Held { network, heads },
        Message::Pull { network, extents: vec![(OTHER, extent)] },
        Message::Deltas {
            network,
            deltas: vec![delta(DeltaKind::Since), delta(DeltaKind::Map)],
            rest: Rest::More,
        },
        Message::FactBuckets { buckets: vec![1, 2, 3] },
        Message::FactDigest { buckets: vec![1, 255], items: vec![(1, 2)] },
        Message::Facts { facts: vec![fact()], rest: Rest::Nothing, pull: vec![9] },
    ]
}

fn definition() -> Definition {
    Definition {
        id: NET,
        name: "net".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![Subnet {
            pool: "10.128.0.0/20".parse().unwrap(),
            gateway: Some("10.128.0.1".parse().unwrap()),
            range: None,
            auxiliary: BTreeMap::new(),
            vni: Vni::new(8_388_608).unwrap(),
        }],
        options: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        mtu: Some(1400),
        internal: true,
        stamp: Stamp { lamport: 9, node: NODE },
    }
}

fn claims_messages() -> Vec<claims::Message> {
    use claims::{Message, Refusal, Subject, Verdict};
    let claim = ClaimId { node: NODE, number: 3 };
    let define = ClaimBody::Define { definition: definition(), origins: vec![Origin::Asked] };
    let subject = Subject::Definition(NET);
    let mut all = vec![
        Message::Propose { claim, round: 1, body: define.clone() },
        Message::Propose { claim, round: 2, body: ClaimBody::Delete(NET) },
        Message::Accepted { claim, round: 1, subject, members: vec![NODE, OTHER] },
        Message::Inquire { claim, subject: Subject::Delete(NET) },
        Message::Settled { claim, verdict: Verdict::InForce },
        Message::Settled { claim, verdict: Verdict::Withdrawn },
        Message::Pending { claims: vec![(claim, define.clone())] },
    ];
    let refusals = [
        Refusal::InForce(definition()),
        Refusal::Pending { claim, body: define },
        Refusal::Deleted,
        Refusal::InUse(vec![OTHER]),
        Refusal::Full,
        Refusal::Invalid,
    ];
    all.extend(refusals.map(|refusal| Message::Refused { claim, refusal }));
    all.extend(forget_messages(claim));
    all
}

/// Appended to the fixture when they came.
fn rotation_messages() -> Vec<Message> {
    use claims::{Refusal, Subject};
    let claim = ClaimId { node: NODE, number: 3 };
    let (key, base) = (Fingerprint::from_bytes([0x55; 8]), Fingerprint::from_bytes([0x66; 8]));
    let body = ClaimBody::Rotate { key, rotation: 300, base, reach: Reach::Everyone };
    let named = NamedKey { id: 0x77, key: Key::from_bytes([0x88; 32]) };
    let state = RingState::rotated((300, key), base).encode();
    vec![
        Message::Claims(claims::Message::Propose { claim, round: 1, body }),
        Message::Claims(claims::Message::Inquire { claim, subject: Subject::Rotate(key) }),
        Message::Claims(claims::Message::Refused { claim, refusal: Refusal::Rotated }),
        Message::Join(JoinMessage::Refused(JoinRefusal::WrongKey)),
        Message::Keys(KeysMessage::Ring { state, keys: vec![named.clone()] }),
        Message::Keys(KeysMessage::Next(named)),
    ]
}

fn forget_messages(claim: ClaimId) -> Vec<claims::Message> {
    use claims::{Message, Refusal, Subject};
    let forget = |reach| ClaimBody::Forget { victims: vec![NODE, OTHER], reach };
    let subject = Subject::Forget(vec![NODE, OTHER]);
    vec![
        Message::Propose { claim, round: 1, body: forget(Reach::Everyone) },
        Message::Propose { claim, round: 1, body: forget(Reach::Present) },
        Message::Accepted { claim, round: 1, subject, members: vec![OTHER] },
        Message::Refused { claim, refusal: Refusal::Answers(vec![NODE]) },
        Message::Refused { claim, refusal: Refusal::Gone },
        Message::Ceded { claim, answer: u64::MAX, part: 0, parts: 2, facts: vec![fact()] },
    ]
}

/// At least one of each variant. The order is that of the fixture's lines.
fn samples() -> Vec<Message> {
    let mut all = vec![Message::Membership(vec![1, 2, 3])];
    all.extend(join_messages().into_iter().map(Message::Join));
    all.extend(sync_messages().into_iter().map(Message::Sync));
    all.extend(claims_messages().into_iter().map(Message::Claims));
    all.push(Message::App { channel: 1, bytes: vec![4, 5, 6] });
    all.extend(rotation_messages());
    let relay = Relay::Arc { until: OTHER };
    let arc = sync::Message::PushFacts { relay, facts: vec![fact()] };
    all.push(Message::Sync(arc));
    all.push(Message::Join(JoinMessage::Silent(vec![identity("10.0.0.3:7950")])));
    let by = identity("10.0.0.4:7950");
    let former = JoinMessage::Former(vec![by.clone()]);
    all.push(Message::Join(JoinMessage::Forgotten { by, node: OTHER, members: vec![OTHER] }));
    all.push(Message::Join(former));
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages-1.hex")
}

#[test]
fn messages_of_version_1_have_their_golden_bytes() {
    let lines: Vec<String> =
        samples().iter().map(|message| hex(&codec::encode(message).unwrap())).collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(fixture(), &text).unwrap();
    }
    let golden = std::fs::read_to_string(fixture()).unwrap();
    for ((line, golden), message) in lines.iter().zip(golden.lines()).zip(samples()) {
        assert_eq!(line, golden, "{message:?}");
    }
    assert_eq!(lines.len(), golden.lines().count());
}

#[test]
fn every_message_survives_its_bytes() {
    for message in samples() {
        let bytes = codec::encode(&message).unwrap();
        assert_eq!(codec::decode::<Message>(&bytes).unwrap(), message);
    }
}

#[test]
fn every_truncated_message_is_refused() {
    for message in samples() {
        let bytes = codec::encode(&message).unwrap();
        for len in 0..bytes.len() {
            assert!(codec::decode::<Message>(&bytes[..len]).is_err(), "{message:?} at {len}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = codec::decode::<Message>(&bytes);
    }

    #[test]
    fn mutated_messages_never_panic(
        message in prop::sample::select(samples()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = codec::encode(&message).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((message, used)) = codec::decode_prefix::<Message>(&bytes) {
            prop_assert!(used <= bytes.len());
            let _ = codec::encode(&message).unwrap();
        }
    }
}

#[test]
fn packets_of_the_membership_protocol_have_their_golden_bytes() {
    use foca::{Codec, Header, Message as Swim};
    let target = Identity { node: OTHER, ..identity("10.0.0.9:7950") };
    let messages = [
        Swim::Ping(1),
        Swim::Ack(2),
        Swim::PingReq { target: target.clone(), probe_number: 3 },
        Swim::IndirectPing { origin: target.clone(), probe_number: 4 },
        Swim::IndirectAck { target: target.clone(), probe_number: 5 },
        Swim::ForwardedAck { origin: target.clone(), probe_number: 6 },
        Swim::Announce,
        Swim::Feed,
        Swim::Gossip,
        Swim::Broadcast,
        Swim::TurnUndead,
    ];
    let mut lines = String::new();
    for message in messages {
        let (src, dst) = (identity("10.0.0.1:7950"), target.clone());
        let header = Header { src, src_incarnation: 300, dst, message };
        let mut bytes = Vec::new();
        codec::FocaCodec.encode_header(&header, &mut bytes).unwrap();
        lines += &(hex(&bytes) + "\n");
    }
    for record in records() {
        let mut bytes = Vec::new();
        codec::FocaCodec.encode_member(&foca::Member::from(record), &mut bytes).unwrap();
        lines += &(hex(&bytes) + "\n");
    }
    let path = fixture().with_file_name("membership-1.hex");
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), lines);
}
