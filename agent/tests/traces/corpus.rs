//! The traces where they lie, and the program under test.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::trace::Trace;
use crate::{kineto, nsys};

/// A trace of the corpus by its name, or the reason it cannot be had.
pub(crate) fn find(test: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/traces").join(name);
    if path.is_file() {
        return Some(path);
    }
    let reason = format!("{} is not there", path.display());
    assert!(
        !std::env::var("REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "golden")),
        "required and missing: {reason}"
    );
    println!("SKIP {test}: {reason}");
    None
}

/// The trace as this test reads it.
pub(crate) fn read(path: &Path) -> Trace {
    if path.extension().is_some_and(|extension| extension == "sqlite") {
        nsys::read(path)
    } else {
        kineto::read(path)
    }
}

/// `warplens analyze --json`.
pub(crate) fn analyze(path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("analyze")
        .arg(path)
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `warplens classify --explain` says about each name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) class: String,
    pub(crate) rule: String,
}

pub(crate) fn classify(mut lines: Vec<&str>) -> HashMap<String, Said> {
    lines.sort_unstable();
    lines.dedup();
    let mut child = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .args(["classify", "--explain"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said: HashMap<String, Said> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, class, _, rule] = columns[..] else { panic!("{line}") };
            (name.to_owned(), Said { class: class.to_owned(), rule: rule.to_owned() })
        })
        .collect();
    assert_eq!(said.len(), lines.len(), "a line for every name");
    said
}
