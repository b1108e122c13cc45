use clap::{CommandFactory, FromArgMatches};

use super::*;

fn command() -> clap::Command {
    Cli::command()
}

fn walk(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&clap::Command, &str)) {
    visit(command, path);
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        walk(child, &format!("{path} {}", child.get_name()), visit);
    }
}

#[test]
fn the_definitions_do_not_contradict_each_other() {
    command().debug_assert();
}

#[test]
fn every_help_mentions_an_example_of_its_own_command() {
    walk(&command(), "weft", &mut |command, path| {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Examples:"), "{path}");
        let own =
            help.contains(path) || (path.starts_with("weft table") && help.contains("weft table"));
        assert!(own, "{path}\n{help}");
        assert!(command.get_about().is_some(), "{path}");
        let is_arguments_own = !command.get_about().unwrap().to_string().starts_with("How to");
        assert!(is_arguments_own, "{path}");
    });
}

#[test]
fn a_long_help_says_more_than_its_first_line() {
    let command = command();
    let create = command.find_subcommand("network").unwrap().find_subcommand("create").unwrap();
    assert!(create.clone().render_long_help().to_string().contains("Every live member"));
    let agent = command.find_subcommand("agent").unwrap();
    assert!(agent.clone().render_long_help().to_string().contains("SIGTERM"));
}

#[test]
fn every_flag_is_explained_in_a_line() {
    walk(&command(), "weft", &mut |command, path| {
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{path} {}", arg.get_id());
        }
    });
}

#[test]
fn no_command_takes_a_token_in_its_arguments() {
    walk(&command(), "weft", &mut |command, path| {
        for arg in command.get_arguments() {
            assert_ne!(arg.get_id(), "token", "{path}");
        }
    });
}

#[test]
fn every_reader_has_json_and_every_client_a_socket() {
    let local = ["weft", "weft agent", "weft completions", "weft lab up", "weft lab down"];
    let writers = ["leave", "rm", "detach", "create", "update", "delete", "pod del"];
    let without_agent = ["weft lab", "weft pod"];
    walk(&command(), "weft", &mut |command, path| {
        if local.contains(&path) || command.has_subcommands() {
            return;
        }
        let has = |name: &str| command.get_arguments().any(|arg| arg.get_id() == name);
        let is_writer = writers.iter().any(|name| path.ends_with(name));
        assert!(has("json") || is_writer, "{path}");
        let needs_none = without_agent.iter().any(|group| path.starts_with(group));
        assert_eq!(has("socket"), !needs_none, "{path}");
    });
}

#[test]
fn good_lines_are_understood_and_bad_ones_are_usage_errors() {
    let rows: [(&str, bool); 73] = [
        ("weft agent", true),
        ("weft agent --port 7951 --log-format json --advertise ::1", true),
        ("weft agent --init --join a", false),
        ("weft agent --port 65536", false),
        ("weft agent --log-format xml", false),
        ("weft agent --colour red", false),
        ("weft agent --advertise 192.0.2.1:7950", false),
        ("weft init", true),
        ("weft init --default4 10.0.0.0/8 --vni-first 4", true),
        ("weft init --default4 10.0.0.1/8", false),
        ("weft token -o -", true),
        ("weft token -o f --json", false),
        ("weft join 192.0.2.1", true),
        ("weft join --token-file - 192.0.2.1:1 [2001:db8::1]:2 node-c", true),
        ("weft join", false),
        ("weft join 192.0.2.1:0", false),
        ("weft join --token weft1-abc 192.0.2.1", false),
        ("weft leave --force", true),
        ("weft forget node-c 3f9a --force --json", true),
        ("weft forget", false),
        ("weft key ls --json", true),
        ("weft key rotate --force --json", true),
        ("weft key rm 0123abcd --force", true),
        ("weft key rm", false),
        ("weft members --json --socket /s", true),
        ("weft status", true),
        ("weft doctor --json", true),
        ("weft network create blue", true),
        ("weft network create blue --subnet 10.1.0.0/16 --gateway 10.1.0.1 -o a=b -o c=", true),
        ("weft network create", false),
        ("weft network create blue --subnet 10.1.0.0", false),
        ("weft network create blue --subnet 10.1.2.3/16", false),
        ("weft network create blue --subnet 10.1.0.0/33", false),
        ("weft network create blue -o a", false),
        ("weft network create blue --mtu 67", false),
        ("weft network inspect blue --verbose --json", true),
        ("weft network rm", false),
        ("weft attach blue --netns /n --ip 10.0.0.1 --ip fd00::1 --mac 02:00:00:00:00:01", true),
        ("weft attach blue --pid 7", true),
        ("weft attach blue", false),
        ("weft attach blue --netns /n --pid 7", false),
        ("weft attach blue --pid 0", false),
        ("weft attach blue --netns /n --ip 10.0.0.1/24", false),
        ("weft attach blue --netns /n --mac 02:00", false),
        ("weft attach blue --netns /n --ifname sixteen-letters-", false),
        ("weft detach", false),
        ("weft endpoint join web --netns /n", true),
        ("weft endpoint join web", false),
        ("weft table watch blue", true),
        ("weft table create blue t k -", true),
        ("weft table create blue t k", false),
        ("weft pod add blue --netns web --args A=1;B=2 --cap mac=\"x\" --cap {\"ips\":[]}", true),
        ("weft pod add --conf f --pid 7 --bin-dir /a:/b --bin-dir /c --json", true),
        ("weft pod add blue --conf f --netns web", false),
        ("weft pod add --netns web", false),
        ("weft pod add blue", false),
        ("weft pod add blue --netns web --pid 7", false),
        ("weft pod add blue --netns web --args A", false),
        ("weft pod add blue --netns web --cap mac=x", false),
        ("weft pod add blue --netns web --ifname a/b", false),
        ("weft pod del blue --container-id web-1", true),
        ("weft pod del blue --container-id a/b", false),
        ("weft pod check blue --netns web --json", true),
        ("weft pod status", false),
        ("weft pod status blue --netns web", false),
        ("weft pod gc blue --dry-run --json", true),
        ("weft pod gc", false),
        ("weft pod ls --cache-dir /c --container-id web-1", true),
        ("weft cni install --bin-dir /a --bin-dir /b --network pods --force --json", true),
        ("weft cni install --network a/b", false),
        ("weft cni", false),
        ("weft completions bash", true),
        ("weft completions elvishish", false),
    ];
    for (line, is_good) in rows {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), is_good, "{line}: {:?}", parsed.err());
        if let Err(error) = parsed {
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

#[test]
fn the_lab_has_the_shape_of_the_demo_by_default() {
    let command = LabArgs::augment_args(clap::Command::new("lab"));
    let matches = command.try_get_matches_from(["lab", "run", "--ipv6"]).unwrap();
    let LabCommand::Run(run) = LabArgs::from_arg_matches(&matches).unwrap().command else {
        panic!("not run");
    };
    let LabShape { nodes, networks, endpoints, ipv6, underlay_ipv6, weft_bin } = run.shape;
    assert_eq!((nodes, networks, endpoints), (3, 2, 2));
    assert!(ipv6 && !underlay_ipv6 && weft_bin.is_none());
}

#[test]
fn an_empty_name_is_no_name() {
    for line in [["weft", "detach", ""], ["weft", "join", ""]] {
        assert!(Cli::try_parse_from(line).is_err());
    }
}
