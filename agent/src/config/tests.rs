use std::collections::{BTreeMap, BTreeSet};

use weft_api::Vni;

use super::*;

struct FixedHost;

impl Host for FixedHost {
    fn name(&self) -> Result<String, ConfigError> {
        Ok("host-1".to_owned())
    }

    fn default_address(&self) -> Result<IpAddr, ConfigError> {
        Ok("192.0.2.1".parse().unwrap())
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/srv")
    }
}

fn parse(text: &str) -> Result<Layer, ConfigError> {
    Layer::from_toml(Path::new("weft.toml"), text)
}

fn resolve(text: &str) -> Result<Config, ConfigError> {
    Config::resolve(parse(text)?, &FixedHost)
}

fn env(pairs: &[(&str, &str)]) -> Result<Layer, ConfigError> {
    let pairs: BTreeMap<String, OsString> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.into())).collect();
    Layer::from_env(|key| pairs.get(key).cloned())
}

const EXAMPLE: &str = include_str!("../../../dist/weft.toml");

/// The example with every key in force.
fn example_uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| {
            let setting = line.strip_prefix('#').filter(|rest| rest.contains(" = "));
            let is_key = |text: &&str| {
                text.split(" = ").next().is_some_and(|key| {
                    key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                })
            };
            setting.filter(is_key).unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_documents_every_key_and_no_other() {
    let table: toml::Table = example_uncommented().parse().unwrap();
    let documented: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = Layer::KEYS.iter().copied().collect();
    assert_eq!(documented, known);
    assert!(parse(EXAMPLE).is_ok_and(|layer| layer == Layer::default()));
    parse(&example_uncommented()).unwrap();
}

#[test]
fn the_example_shows_the_defaults() {
    let defaults = resolve("").unwrap();
    let mut layer = parse(&example_uncommented()).unwrap();
    // These seven have no default value, and these two come from the host.
    layer.docker_socket = None;
    layer.docker_scope = None;
    layer.docker_name = None;
    layer.docker_unused_seconds = None;
    layer.join = None;
    layer.token_file = None;
    layer.default6 = None;
    layer.name = None;
    layer.advertise = None;
    assert_eq!(Config::resolve(layer, &FixedHost).unwrap(), defaults);
}

#[test]
fn an_engine_calls_the_plugin_by_its_socket_unless_it_is_told_otherwise() {
    let name = |text: &str| resolve(text).unwrap().docker.unwrap().name;
    assert_eq!(name("docker_socket = \"/run/docker/plugins/weft.sock\""), "weft");
    assert_eq!(name("docker_socket = \"/run/docker/plugins/blue.sock\""), "blue");
    let told = "docker_socket = \"/run/weft.sock\"\ndocker_name = \"weft:latest\"";
    assert_eq!(name(told), "weft:latest");
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = resolve("").unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/weft"));
    assert_eq!(config.socket, Path::new("/run/weft/weft.sock"));
    assert_eq!(config.advertise_addr(), "192.0.2.1:7950".parse().unwrap());
    assert_eq!(config.vxlan_port, 4789);
    assert_eq!(config.start_up, StartUp::Wait);
    assert_eq!(config.rest, Duration::from_secs(60));
    assert_eq!(config.pools.default4.to_string(), "10.128.0.0/9");
    assert_eq!((config.pools.vni_first.get(), config.pools.vni_last.get()), (1 << 23, Vni::MAX));
}

#[test]
fn a_flag_goes_over_the_environment_and_the_environment_over_the_file() {
    let file = parse("name = \"file\"\nport = 1\nvxlan_port = 2\n").unwrap();
    let env = env(&[("WEFT_NAME", "env"), ("WEFT_PORT", "3"), ("WEFT_LOG", "")]).unwrap();
    let flags = Layer { name: Some("flag".to_owned()), ..Layer::default() };
    let config = Config::resolve(flags.over(env).over(file), &FixedHost).unwrap();
    assert_eq!((config.name.as_str(), config.port, config.vxlan_port), ("flag", 3, 2));
    assert_eq!(config.log, "info");
}

#[test]
fn every_key_can_be_given_by_the_environment() {
    let layer = env(&[
        ("WEFT_DATA_DIR", "/d"),
        ("WEFT_RUN_DIR", "/r"),
        ("WEFT_SOCKET", "/s"),
        ("WEFT_NAME", "n"),
        ("WEFT_ADVERTISE", "2001:db8::1"),
        ("WEFT_PORT", "1"),
        ("WEFT_VXLAN_PORT", "2"),
        ("WEFT_LOG_FORMAT", "json"),
        ("WEFT_LOG", "debug"),
        ("WEFT_INIT", "0"),
        ("WEFT_JOIN", "a:1, b"),
        ("WEFT_TOKEN_FILE", "/t"),
        ("WEFT_DOCKER_SOCKET", "/p"),
        ("WEFT_DOCKER_SCOPE", "global"),
        ("WEFT_DOCKER_NAME", "weft:latest"),
        ("WEFT_DOCKER_UNUSED_SECONDS", "8"),
        ("WEFT_PLUGIN_DIRS", "/a,/b"),
        ("WEFT_DEFAULT4", "10.0.0.0/8"),
        ("WEFT_DEFAULT4_PREFIX", "24"),
        ("WEFT_DEFAULT6", "fd00::/48"),
        ("WEFT_DEFAULT6_PREFIX", "80"),
        ("WEFT_VNI_FIRST", "5"),
        ("WEFT_VNI_LAST", "6"),
        ("WEFT_REST_SECONDS", "7"),
    ])
    .unwrap();
    let table = toml::Table::try_from(&layer).unwrap();
    assert_eq!(table.len(), Layer::KEYS.len());
    let config = Config::resolve(layer, &FixedHost).unwrap();
    let seeds = vec!["a:1".parse().unwrap(), "b".parse().unwrap()];
    assert_eq!(config.start_up, StartUp::Join { seeds, token_file: "/t".into() });
}

#[test]
fn a_relative_path_starts_where_the_agent_was_started() {
    let config = resolve("run_dir = \"r\"\ndata_dir = \"d\"").unwrap();
    assert_eq!(config.socket, Path::new("/srv/r/weft.sock"));
    assert_eq!(config.data_dir, Path::new("/srv/d"));
}

#[test]
fn each_mistake_has_its_sentence_and_a_hint() {
    let long = format!("socket = \"/{}\"", "s".repeat(120));
    let rows = [
        (
            "name = \"a\"\n\ncolour = 1\n",
            "line 3 of the configuration file `weft.toml`: unknown field `colour`",
        ),
        ("port = \"x\"", "line 1"),
        ("port = 70000", "line 1"),
        ("name = ", "line 1"),
        ("log_format = \"xml\"", "unknown variant `xml`"),
        ("advertise = \"192.0.2.1:7950\"", "line 1"),
        ("advertise = \"0.0.0.0\"", "`advertise` is 0.0.0.0"),
        ("advertise = \"224.0.0.1\"", "`advertise` is 224.0.0.1"),
        ("advertise = \"fe80::1\"", "`advertise` is fe80::1"),
        ("port = 0", "`port` is 0"),
        ("port = 4789", "both 4789"),
        ("name = \"a b\"", "the node name `a b`"),
        ("name = \"\"", "the node name ``"),
        ("init = true\njoin = [\"a\"]", "both set"),
        ("join = [\"a\"]", "`token_file` is not"),
        ("join = [\"a:b\"]\ntoken_file = \"t\"", "`a:b` is not an address"),
        ("default4 = \"10.1.0.0/9\"", "host bits"),
        ("default4 = \"fd00::/48\"", "line 1"),
        ("default4_prefix = 8", "larger than their pool"),
        ("default4_prefix = 31", "no room"),
        ("default4 = \"224.0.0.0/8\"", "no host can have"),
        ("default6_prefix = 32", "random pool"),
        ("default6 = \"fd00::/64\"\ndefault6_prefix = 60", "larger than their pool"),
        ("vni_first = 0", "`vni_first` is 0"),
        ("vni_last = 16777216", "`vni_last` is 16777216"),
        ("vni_first = 9\nvni_last = 8", "less than `vni_first`"),
        (long.as_str(), "longer than 107 bytes"),
    ];
    for (text, words) in rows {
        let error = resolve(text).unwrap_err();
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_variable_that_makes_no_sense_is_named() {
    for (variable, value) in [
        ("WEFT_PORT", "x"),
        ("WEFT_INIT", "maybe"),
        ("WEFT_LOG_FORMAT", "xml"),
        ("WEFT_DEFAULT4", "a"),
    ] {
        let error = env(&[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(variable) && error.contains(value), "{error}");
    }
}

#[test]
fn a_file_that_was_named_and_is_missing_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.toml");
    let loaded = Config::load(Some(&path), Layer::default(), |_| None, &FixedHost);
    assert!(matches!(loaded, Err(ConfigError::Read { .. })));
}
