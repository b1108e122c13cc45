//! House rules and documents, checked: style that is not checked is not style, and a page that is
//! not checked is not true for long.

#![expect(clippy::unwrap_used, reason = "what cannot be read here is a failure of the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use serde_json::Value;

/// Lines of a source file, tests included.
const LINES_MAX: usize = 600;
/// Columns of a line of source.
const COLUMNS_MAX: usize = 100;
/// Names that say nothing about what is in a file.
const DRAWERS: [&str; 4] = ["utils", "common", "helpers", "manager"];
/// Crates without I/O, and the folder in them that is not pure.
const PURE: [(&str, Option<&str>); 4] =
    [("api", None), ("networkdb", None), ("ipam", None), ("overlay", Some("overlay/src/netlink"))];
/// What a pure crate may not name.
const IMPURE: [&str; 14] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "tokio::",
    "nix::",
    "getrandom",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "HashMap",
    "HashSet",
];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests stand in the workspace").to_owned()
}

/// Returns the files of the project, by their path in it: what git tracks or would, and all there
/// is where there is no git.
fn files() -> Vec<String> {
    let git = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root())
        .output();
    let mut files = match git {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .unwrap()
            .split_terminator('\0')
            .map(ToOwned::to_owned)
            .filter(|path| root().join(path).is_file())
            .collect(),
        Ok(_) | Err(_) => {
            let mut found = Vec::new();
            walk(&root(), &mut found);
            found
        }
    };
    files.sort();
    files.dedup();
    assert!(files.len() > 100, "the project has more than {} files", files.len());
    files
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && name != ".git" {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn read(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(path)).unwrap()).into_owned()
}

/// Returns path and text of the files with one of these endings.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Returns what stands between single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the names of all functions there are.
fn functions() -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    texts(&[".rs"])
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(|c| !is_name(c)).next())
        .map(ToOwned::to_owned)
        .collect()
}

/// Returns the names of all tests there are.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in texts(&[".rs"]) {
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                found.insert(rest.split('(').next().unwrap_or_default().to_owned());
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn files_and_lines_stay_short() {
    let mut found = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines"));
        }
        for (index, line) in text.lines().enumerate() {
            let is_data = line.contains("://") || line.trim_start().starts_with('"');
            if line.chars().count() > COLUMNS_MAX && !is_data {
                found.push(format!("{path}:{}: {} columns", index + 1, line.chars().count()));
            }
        }
    }
    none("too long", &found);
}

#[test]
fn a_file_is_a_noun_and_no_drawer() {
    let found: Vec<String> = files()
        .into_iter()
        .filter(|path| {
            let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
            path.ends_with("/mod.rs") || stem.is_some_and(|stem| DRAWERS.contains(&stem))
        })
        .collect();
    none("files whose name says nothing", &found);
}

#[test]
fn nothing_is_skipped_or_left_to_do() {
    // Written in two parts, or this file would be found.
    let marks = [
        concat!("#[", "ignore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut found = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        for mark in marks.iter().filter(|mark| text.contains(**mark)) {
            found.push(format!("{path}: {mark}"));
        }
    }
    none("not finished", &found);
}

#[test]
fn no_path_of_a_workplace_is_in_a_file() {
    let place = concat!("/wo", "rk/");
    let found: Vec<String> =
        files().into_iter().filter(|path| read(path).contains(place)).collect();
    none("a path of somebody's machine", &found);
}

#[test]
fn pure_crates_have_no_io_and_no_clock() {
    let mut found = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        let is_pure = PURE.iter().any(|(name, but)| {
            path.starts_with(&format!("{name}/src/"))
                && !but.is_some_and(|but| path.starts_with(but))
        });
        if !is_pure || path.contains("/tests") {
            continue;
        }
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (index, line) in production.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            for word in IMPURE.iter().filter(|word| !is_comment && line.contains(**word)) {
                found.push(format!("{path}:{}: {word}", index + 1));
            }
        }
    }
    none("impure", &found);
}

#[test]
fn bytes_are_made_in_one_file_of_a_crate() {
    let codecs = ["networkdb/src/wire/codec.rs", "ipam/src/codec.rs", "overlay/src/record.rs"];
    let found: Vec<String> = texts(&[".rs"])
        .into_iter()
        .filter(|(path, text)| {
            let is_pure = PURE.iter().any(|(name, _)| path.starts_with(&format!("{name}/src/")));
            is_pure && text.contains(concat!("bincode", "::")) && !codecs.contains(&path.as_str())
        })
        .map(|(path, _)| path)
        .collect();
    none("a second codec", &found);
}

fn metadata() -> Value {
    // One platform: the crates of others need not be on this machine.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn arrows_between_crates_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("weft-api", [].as_slice()),
        ("weft-cni", &[]),
        ("weft-networkdb", &["weft-api"]),
        ("weft-ipam", &["weft-api"]),
        ("weft-overlay", &["weft-api"]),
        ("weft-agent", &["weft-api", "weft-networkdb", "weft-ipam", "weft-overlay", "weft-cni"]),
    ]);
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(allowed) = allowed.get(text(package, "name")) else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = text(dependency, "name");
            assert!(
                !name.starts_with("weft-") || allowed.contains(&name),
                "{} depends on {name}",
                text(package, "name")
            );
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let path = format!("{}/Cargo.toml", member.as_str().unwrap());
        let manifest: toml::Table = read(&path).parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{path}");
    }
}

/// Tells whether an SPDX expression can be met with the licences allowed.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = any_of(&words, allowed);
    assert!(rest.is_empty(), "`{expression}` is no licence expression");
    met
}

fn any_of<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = all_of(words, allowed);
    while let ["OR", after @ ..] = rest {
        let (other, left) = all_of(after, allowed);
        (met, rest) = (met || other, left);
    }
    (met, rest)
}

fn all_of<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", after @ ..] = rest {
        let (other, left) = one(after, allowed);
        (met, rest) = (met && other, left);
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => match any_of(inner, allowed) {
            (met, [")", rest @ ..]) => (met, rest),
            (_, rest) => (false, rest),
        },
        [licence, "WITH", exception, rest @ ..] => {
            (allowed.contains(&format!("{licence} WITH {exception}")), rest)
        }
        [licence, rest @ ..] => (allowed.contains(*licence), rest),
        [] => (false, words),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC WITH X".to_owned()]);
    for met in ["MIT", "GPL-3.0 OR MIT", "GPL/MIT", "(MIT OR GPL) AND ISC WITH X", "((MIT))"] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "MIT AND GPL", "ISC", "MIT AND (GPL OR ISC)"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn every_licence_is_on_the_list() {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let allowed = allowed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let metadata = metadata();
    let resolved: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|n| text(n, "id")).collect();
    let found: Vec<String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| resolved.contains(text(package, "id")))
        .filter(|package| !is_met(text(package, "license"), &allowed))
        .map(|package| format!("{}: {}", text(package, "name"), text(package, "license")))
        .collect();
    none("licences that deny.toml does not allow", &found);
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let page = read("ARCHITECTURE.md");
    let section = page.split("\n## Invariants\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let tests = tests();
    let mut found = Vec::new();
    let invariants: Vec<&str> = section.split("\n- ").skip(1).collect();
    for invariant in &invariants {
        let subject = invariant.lines().next().unwrap_or_default();
        let guards = invariant.split("\n\n").next().unwrap_or_default().split("Guard:").nth(1);
        let guards: Vec<&str> = guards.map(|guards| quoted(guards).collect()).unwrap_or_default();
        if guards.is_empty() {
            found.push(format!("no guard: {subject}"));
        }
        for guard in guards.iter().filter(|guard| !tests.contains(**guard)) {
            found.push(format!("`{guard}` is no test: {subject}"));
        }
    }
    assert!(invariants.len() > 20, "only {} invariants were read", invariants.len());
    none("invariants without guard", &found);
}

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = functions();
    let is_claim = |name: &&str| {
        name.matches('_').count() >= 3
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut found = Vec::new();
    for (path, text) in texts(&[".md"]) {
        if path != "docs/PROTOCOL.md" && !path.starts_with("docs/adr/") {
            continue;
        }
        for name in quoted(&text).filter(is_claim).filter(|name| !functions.contains(*name)) {
            found.push(format!("{path}: {name}"));
        }
    }
    none("tests that do not exist", &found);
}

/// Returns the anchor that a heading gets on a page.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut found = Vec::new();
    for (path, text) in texts(&[".md"]) {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            let has_heading = || {
                let page = std::fs::read_to_string(&target).unwrap_or_default();
                page.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            if !target.exists() || (!heading.is_empty() && !has_heading()) {
                found.push(format!("{path}: {link}"));
            }
        }
    }
    none("links that lead nowhere", &found);
}

/// Lists the commands that do something: those without commands below them.
fn leaves(command: &clap::Command, name: &str, found: &mut BTreeSet<String>) {
    let below: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
    if below.is_empty() {
        found.insert(name.to_owned());
    }
    for command in below {
        leaves(command, &format!("{name} {}", command.get_name()), found);
    }
}

#[test]
fn the_readme_lists_every_command_and_no_other() {
    let mut commands = BTreeSet::new();
    leaves(&weft_agent::cli::Cli::command(), "weft", &mut commands);
    let readme = read("README.md");
    let listed: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with("| `weft"))
        .filter_map(|line| quoted(line).next())
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(listed, commands);
}

#[test]
fn the_operations_page_names_every_configuration_key() {
    let page = read("docs/OPERATIONS.md");
    let quoted: BTreeSet<&str> = quoted(&page).collect();
    let found: Vec<String> = weft_agent::config::Layer::KEYS
        .iter()
        .filter(|key| !quoted.contains(*key))
        .map(|key| (*key).to_owned())
        .collect();
    none("keys that the page does not name", &found);
}

#[test]
fn decisions_are_numbered_without_gaps_and_indexed() {
    let index = read("docs/adr/README.md");
    let pages: Vec<(String, String)> = texts(&[".md"])
        .into_iter()
        .filter(|(path, _)| path.starts_with("docs/adr/") && !path.ends_with("README.md"))
        .collect();
    for (number, (path, text)) in (1..).zip(&pages) {
        let name = path.trim_start_matches("docs/adr/");
        assert!(name.starts_with(&format!("{number:04}-")), "{name} should be number {number}");
        assert!(text.starts_with(&format!("# {number}. ")), "{name}: its title has its number");
        assert!(index.contains(&format!("[{number}]({name})")), "{name} is not in the index");
    }
}
