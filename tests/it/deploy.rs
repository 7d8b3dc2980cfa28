//! `deploy/`: manifests against Kubernetes' published schemas, the unit against systemd, and every name in them
//! against the code that gives it its meaning. No cluster is asked.

mod names;
mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::require;

const LIMIT: Duration = Duration::from_mins(1);

/// The oldest version that the manifests are meant for, one in between, the newest with a schema.
const EVERY: &str = "1.28,1.32,1.37";
/// From its first version with the stable API on.
const POLICY: &str = "1.36,1.37";

/// A manifest, and the versions of Kubernetes that it must fit.
const MANIFESTS: [(&str, &str); 7] = [
    ("namespace.yaml", EVERY),
    ("serviceaccount.yaml", EVERY),
    ("configmap.yaml", EVERY),
    ("networkpolicy.yaml", EVERY),
    ("daemonset.yaml", EVERY),
    ("server/deployment.yaml", EVERY),
    ("server/mutating-admission-policy.yaml", POLICY),
];

/// What `check_manifests.py` says.
#[derive(Debug, Deserialize)]
struct Checked {
    documents: Vec<Value>,
    problems: Vec<String>,
}

fn deploy(name: &str) -> PathBuf {
    artefacts::repository().join("deploy").join(name)
}

fn text(name: &str) -> String {
    let path = deploy(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn checked(versions: &str, file: &Path) -> Checked {
    let folder = tempfile::tempdir().unwrap();
    let mut check = command(artefacts::kubernetes_python().unwrap());
    check.arg(artefacts::program("check_manifests.py")).arg(versions).arg(file);
    let ended = Child::run(&mut check, folder.path(), "check", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The only document of a manifest.
fn manifest(name: &str) -> Value {
    let (_, versions) = MANIFESTS.iter().find(|(file, _)| *file == name).unwrap();
    let mut checked = checked(versions, &deploy("kubernetes").join(name));
    assert_eq!(checked.documents.len(), 1, "{name}");
    checked.documents.remove(0)
}

/// The agent's container, and the one that lays the shim down.
fn containers(daemon_set: &Value) -> (&Value, &Value) {
    let pod = &daemon_set["spec"]["template"]["spec"];
    (&pod["containers"][0], &pod["initContainers"][0])
}

/// Objects of a list, by their name.
fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    list.as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["name"] == name)
        .unwrap_or_else(|| panic!("no `{name}` in {list:#}"))
}

#[test]
fn manifests_fit_the_schemas() {
    require!(Deploy);
    for (name, versions) in MANIFESTS {
        let checked = checked(versions, &deploy("kubernetes").join(name));
        assert_eq!(checked.problems, Vec::<String>::new());
        assert!(!checked.documents.is_empty(), "{name} is empty");
    }
}

#[test]
fn no_manifest_is_left_out() {
    require!(Deploy);
    let mut found = Vec::new();
    for folder in ["kubernetes", "kubernetes/server"] {
        for entry in fs::read_dir(deploy(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.strip_prefix(deploy("kubernetes")).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    // A list of files that only Kustomize reads; below, it is compared with the files.
    found.retain(|name| name != "kustomization.yaml");
    found.sort();
    let mut known: Vec<&str> = MANIFESTS.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(found, known);
    let applied: Vec<String> = text("kubernetes/kustomization.yaml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ").map(str::to_owned))
        .collect();
    let mut expected: Vec<&str> =
        known.into_iter().filter(|name| !name.starts_with("server/")).collect();
    let mut applied: Vec<&str> = applied.iter().map(String::as_str).collect();
    applied.sort_unstable();
    expected.sort_unstable();
    assert_eq!(applied, expected, "of kustomization.yaml");
}

#[test]
fn what_is_wrong_with_a_manifest_is_found() {
    require!(Deploy);
    let daemon_set = text("kubernetes/daemonset.yaml");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    let check = |from: &str, to: &str, versions: &str, expected: &str| {
        assert!(daemon_set.contains(from), "{from:?} is not in the manifest");
        fs::write(&file, daemon_set.replacen(from, to, 1)).unwrap();
        let problems = checked(versions, &file).problems;
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{from:?} -> {to:?}: {problems:?} do not say {expected:?}"
        );
    };
    check("hostPID: true", "hostPid: true", "1.37", "'hostPid' was unexpected");
    check("hostPID: true", "hostPID: \"true\"", "1.37", "not of type");
    check("hostPID: true", "hostPID: true\n      hostPID: true", "1.37", "stands twice");
    check("containerPort: 9400", "containerPort: metrics", "1.37", "not of type");
    check("kind: DaemonSet", "kind: DeamonSet", "1.37", "Couldn't find schema");
    check("apps/v1", "apps/v1beta1", "1.37", "Couldn't find schema");
    check("hostPID: true", "hostPID: true", "1.99", "no schemas of Kubernetes 1.99");
    check("    spec:\n", "    spec: [\n", "1.37", "wrong.yaml");
}
