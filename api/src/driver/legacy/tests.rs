use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::driver::{Driver, Interface, JoinResult, NetworkRegistration, Scope};
use crate::error::Kind;

/// Runs a call that never waits, which is all the driver below makes.
fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the test driver never waits"),
    }
}

const NID: NetworkId = NetworkId::from_bytes([1; 16]);
const EID: EndpointId = EndpointId::from_bytes([2; 16]);

fn cidr(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0x42, 0, 0, 0, last])
}

/// Adds two interfaces to whatever it is given unless there are some, and names them.
#[derive(Default)]
struct TwoArms {
    calls: Mutex<Vec<&'static str>>,
    seen: Mutex<Vec<(i32, Option<IpNetwork>)>>,
    stubborn: bool,
}

impl TwoArms {
    fn note(&self, call: &'static str) -> Result<(), DriverError> {
        self.calls.lock().unwrap().push(call);
        Ok(())
    }
}

#[async_trait]
impl LegacyDriver for TwoArms {
    async fn config(&self, _: &Options) -> Result<(), DriverError> {
        self.note("config")
    }

    async fn create_network(&self, _: NetworkId, _: &Options) -> Result<(), DriverError> {
        self.note("create_network")
    }

    async fn delete_network(&self, _: NetworkId) -> Result<(), DriverError> {
        self.note("delete_network")
    }

    async fn create_endpoint(
        &self,
        _: NetworkId,
        _: EndpointId,
        info: &mut dyn EndpointInfo,
        _: &Options,
    ) -> Result<(), DriverError> {
        let seen: Vec<_> = info.interfaces().iter().map(|i| (i.id(), i.address())).collect();
        if seen.is_empty() || self.stubborn {
            info.add_interface(7, Some(mac(7)), Some(cidr("10.0.0.7/24")), None)?;
            info.add_interface(8, Some(mac(8)), None, Some(cidr("fd00::8/64")))?;
        }
        self.seen.lock().unwrap().extend(seen);
        self.note("create_endpoint")
    }

    async fn delete_endpoint(&self, _: NetworkId, _: EndpointId) -> Result<(), DriverError> {
        self.note("delete_endpoint")
    }

    async fn endpoint_oper_info(
        &self,
        _: NetworkId,
        _: EndpointId,
    ) -> Result<Options, DriverError> {
        Ok([("arms".to_owned(), 2.into())].into())
    }

    async fn join(
        &self,
        _: NetworkId,
        _: EndpointId,
        _: &str,
        info: &mut dyn LegacyJoinInfo,
        _: &Options,
    ) -> Result<(), DriverError> {
        for names in info.interface_names() {
            let id = names.id();
            names.set_names(&format!("veth{id}"), &format!("eth{id}"))?;
        }
        info.set_gateway(IpAddr::from([10, 0, 0, 1]))?;
        info.set_gateway_ipv6("fd00::1".parse().unwrap())?;
        info.set_hosts_path("hosts")?;
        info.set_resolv_conf_path("resolv.conf")?;
        self.note("join")
    }

    async fn leave(&self, _: NetworkId, _: EndpointId) -> Result<(), DriverError> {
        self.note("leave")
    }

    fn network_type(&self) -> &str {
        "two-arms"
    }
}

fn create(adapter: &LegacyAdapter<TwoArms>, interface: &mut Interface) -> Result<(), DriverError> {
    now(adapter.create_endpoint(NID, EID, interface, &Options::new()))
}

#[test]
fn an_empty_list_is_the_drivers_to_fill_in() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    let mut interface = Interface::default();
    create(&adapter, &mut interface).unwrap();
    let first =
        Interface { mac: Some(mac(7)), address: Some(cidr("10.0.0.7/24")), address_ipv6: None };
    assert_eq!(interface, first);
    let ids: Vec<_> = adapter.interfaces(NID, EID).iter().map(|i| i.id).collect();
    assert_eq!(ids, [7, 8]);
}

#[test]
fn a_given_address_is_only_read() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    let given = Interface { address: Some(cidr("10.0.0.2/24")), ..Default::default() };
    let mut interface = given.clone();
    create(&adapter, &mut interface).unwrap();
    assert_eq!(interface, given);
    assert_eq!(*adapter.driver().seen.lock().unwrap(), [(0, given.address)]);
}

#[test]
fn adding_to_a_list_that_was_given_errs() {
    let adapter = LegacyAdapter::new(TwoArms { stubborn: true, ..Default::default() });
    let mut interface = Interface { address_ipv6: Some(cidr("fd00::2/64")), ..Default::default() };
    let error = create(&adapter, &mut interface).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert!(adapter.interfaces(NID, EID).is_empty());
}

#[test]
fn a_mac_that_the_driver_does_not_honour_undoes_the_endpoint() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    let mut interface = Interface { mac: Some(mac(1)), ..Default::default() };
    let error = create(&adapter, &mut interface).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert_eq!(*adapter.driver().calls.lock().unwrap(), ["create_endpoint", "delete_endpoint"]);
    create(&adapter, &mut Interface { mac: Some(mac(7)), ..Default::default() }).unwrap();
}

#[test]
fn an_interface_id_is_unique_and_its_addresses_of_their_family() {
    let mut endpoint = LegacyEndpoint::new(Vec::new());
    endpoint.add_interface(1, None, None, None).unwrap();
    for (id, v4, v6, kind) in [
        (1, None, None, Kind::Forbidden),
        (2, Some("fd00::1/64"), None, Kind::InvalidParameter),
        (2, None, Some("10.0.0.1/24"), Kind::InvalidParameter),
    ] {
        let error = endpoint.add_interface(id, None, v4.map(cidr), v6.map(cidr)).unwrap_err();
        assert_eq!(error.kind, kind);
    }
    assert_eq!(endpoint.interfaces().len(), 1);
}

#[test]
fn join_tells_the_current_form_its_part_and_keeps_the_rest() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    create(&adapter, &mut Interface::default()).unwrap();
    let mut join = JoinResult::default();
    now(adapter.join(NID, EID, "box", &mut join, &Options::new())).unwrap();
    assert_eq!((join.src_name.as_str(), join.dst_prefix.as_str()), ("veth7", "eth"));
    assert_eq!(join.gateway, Some(IpAddr::from([10, 0, 0, 1])));
    assert_eq!(join.gateway_ipv6, Some("fd00::1".parse().unwrap()));
    let joined = adapter.joined(NID, EID).unwrap();
    assert_eq!(joined.names[1].dst_name, "eth8");
    assert_eq!(joined.hosts_path.as_deref(), Some("hosts"));
    assert_eq!(joined.resolv_conf_path.as_deref(), Some("resolv.conf"));
}

#[test]
fn leave_keeps_the_addresses_and_delete_forgets_them() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    create(&adapter, &mut Interface::default()).unwrap();
    now(adapter.join(NID, EID, "box", &mut JoinResult::default(), &Options::new())).unwrap();
    let before = adapter.interfaces(NID, EID);
    now(adapter.leave(NID, EID)).unwrap();
    assert_eq!(adapter.joined(NID, EID), None);
    assert_eq!(adapter.interfaces(NID, EID), before);
    let error = now(adapter.delete_network(NID)).unwrap_err();
    assert!(matches!(error, DriverError::ActiveEndpoints { .. }));
    now(adapter.delete_endpoint(NID, EID)).unwrap();
    assert!(adapter.interfaces(NID, EID).is_empty());
    now(adapter.delete_network(NID)).unwrap();
}

#[test]
fn names_and_paths_are_set_once() {
    let interface = LegacyInterface { id: 1, mac: None, address: None, address_ipv6: None };
    let mut join = LegacyJoin::new(&[interface]);
    for round in 0..2 {
        let results = [
            join.interface_names()[0].set_names("a", "b"),
            join.set_gateway(IpAddr::from([10, 0, 0, 1])),
            join.set_gateway_ipv6("fd00::1".parse().unwrap()),
            join.set_hosts_path("hosts"),
            join.set_resolv_conf_path("resolv.conf"),
        ];
        assert!(results.iter().all(|result| result.is_ok() == (round == 0)), "{results:?}");
    }
    assert_eq!(join.names[0].src_name, "a");
}

#[test]
fn what_2015_did_not_know_is_not_implemented() {
    let adapter = LegacyAdapter::new(TwoArms::default());
    let none = DriverError::NotImplemented;
    assert_eq!(now(adapter.network_free(NID)), Err(none.clone()));
    assert_eq!(now(adapter.revoke_external_connectivity(NID, EID)), Err(none));
    let mut info = NetworkRegistration::new(Scope::Local);
    now(adapter.create_network(NID, &Options::new(), &mut info, &[], &[])).unwrap();
    assert_eq!(now(adapter.driver_info(NID, EID)).unwrap()["arms"], 2);
    assert_eq!((adapter.network_type(), adapter.is_built_in()), ("two-arms", false));
}
