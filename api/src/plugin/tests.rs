use super::ipam::*;
use super::network::*;
use super::*;

#[test]
fn requests_read_as_an_engine_writes_them() {
    let create: CreateNetworkRequest = serde_json::from_str(
        r#"{"NetworkID":"n","Options":{"com.docker.network.enable_ipv6":false},
            "IPv4Data":[{"AddressSpace":"weft-local","AuxAddresses":{"r1":"10.77.5.9/16"},
            "Gateway":"10.77.0.1/16","Pool":"10.77.0.0/16"}],"IPv6Data":null}"#,
    )
    .unwrap();
    assert_eq!(create.ipv4_data[0].gateway, Some("10.77.0.1/16".parse().unwrap()));
    assert!(create.ipv6_data.is_empty());
    let address: RequestAddressRequest =
        serde_json::from_str(r#"{"PoolID":"p","Address":"10.77.5.9","Options":null}"#).unwrap();
    assert_eq!((address.pool_id.as_str(), address.options.len()), ("p", 0));
    let news: DiscoveryNotification = serde_json::from_str(
        r#"{"DiscoveryType":1,"DiscoveryData":{"Address":"10.99.0.1","Self":true}}"#,
    )
    .unwrap();
    assert!(news.discovery_data.is_self);
}

#[test]
fn answers_are_written_as_an_engine_reads_them() {
    let join = JoinResponse {
        interface_name: Some(InterfaceName { src_name: "a".into(), dst_prefix: "eth".into() }),
        ..JoinResponse::default()
    };
    let json = r#"{"InterfaceName":{"SrcName":"a","DstPrefix":"eth"}}"#;
    assert_eq!(serde_json::to_string(&join).unwrap(), json);
    let capabilities = network::Capabilities { scope: "local".into(), ..Default::default() };
    assert_eq!(serde_json::to_string(&capabilities).unwrap(), r#"{"Scope":"local"}"#);
    let endpoint = serde_json::to_string(&CreateEndpointResponse::default()).unwrap();
    assert_eq!(endpoint, r#"{"Interface":{}}"#);
    let (network, ipam) =
        (network::Failure { err: "no".into() }, ipam::Failure { error: "no".into() });
    assert_eq!(serde_json::to_string(&network).unwrap(), r#"{"Err":"no"}"#);
    assert_eq!(serde_json::to_string(&ipam).unwrap(), r#"{"Error":"no"}"#);
}

#[test]
fn an_empty_object_is_an_empty_request() {
    let empty: CreateEndpointRequest = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, CreateEndpointRequest::default());
    assert_eq!(
        serde_json::from_str::<Manifest>(r#"{"Implements":null}"#).unwrap().implements,
        [""; 0]
    );
}
