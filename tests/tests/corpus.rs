//! Every input that a fuzzer kept, once more.

use std::fs;
use std::path::{Path, PathBuf};

use weft_tests::fuzz::TARGETS;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The files of a target's corpus, by name.
fn inputs(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus(target)).unwrap_or_else(|e| panic!("`{target}`: {e}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_fuzzers_kept_does_no_harm() {
    let mut harmful = Vec::new();
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "`{name}` has no corpus");
        for path in inputs {
            let input = fs::read(&path).expect("an input");
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                harmful.push(path);
            }
        }
    }
    assert_eq!(harmful, Vec::<PathBuf>::new());
}

#[test]
fn every_target_has_a_program_and_no_corpus_is_of_none() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory").flatten();
        let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mut names: Vec<String> = entries.filter_map(|entry| stem(entry.path())).collect();
        names.sort();
        names
    };
    let targets = TARGETS.map(|(name, _)| name);
    assert_eq!(names(&programs), targets);
    assert_eq!(names(&corpus("")), targets);
}
