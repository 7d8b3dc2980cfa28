//! `record --pod`, `--container`, `--model` and `--all` on process trees, in namespaces and control
//! groups like those of containers: which processes are observed, and what is known of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use warplens::pipeline::Input;
use warplens::recording::Reader;
use warplens_tests::harness::agent::run;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::command;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::tree::{Tree, process, tree_command};
use warplens_tests::harness::wait;
use warplens_tests::require;

use super::daemon;

const LIMIT: Duration = Duration::from_mins(1);

/// What a recording says of its processes, by PID; the last description of each.
fn recorded(out: &Path) -> Vec<analysis::event::ProcessInfo> {
    let mut reader = Reader::open(&out.join("recording.warplens")).unwrap();
    let mut infos: Vec<analysis::event::ProcessInfo> = Vec::new();
    while let Some(input) = reader.next_input().unwrap() {
        if let Input::Process { info, .. } = input {
            infos.retain(|known| known.pid != info.pid);
            infos.push(info);
        }
    }
    infos
}

/// Records what the option selects; the descriptions of what was observed.
fn observe(option: &[&str], folder: &Path, name: &str) -> Vec<analysis::event::ProcessInfo> {
    let out = folder.join(name);
    let arguments = [&["record"], option, &["-d", "1s", "-o", out.to_str().unwrap()]].concat();
    let ended = run(&arguments, folder, name, LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    for file in fs::read_dir(&out).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("s3cret"), "{option:?}");
    }
    recorded(&out)
}

fn pids(infos: &[analysis::event::ProcessInfo]) -> BTreeSet<u32> {
    infos.iter().map(|info| info.pid).collect()
}

fn all(tree: &Tree) -> BTreeSet<u32> {
    tree.pids.values().copied().collect()
}

#[test]
fn the_right_processes_by_pod_and_model() {
    require!(E2e);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |index: usize, model: &str| {
        let mut command = tree_command("mp", &[model, "--api-key", "s3cret"]);
        command.env("POD_NAME", format!("llm-{index}")).env("POD_NAMESPACE", "warplens-test");
        Tree::start(&mut command, folders[index].path()).unwrap()
    };
    let trees = [start(0, "org/zero-e2e"), start(1, "org/one-e2e")];
    let place = folders[0].path();
    for (option, tree) in [
        (["--pod", "warplens-test/llm-0"], &trees[0]),
        (["--pod", "llm-1"], &trees[1]),
        (["--model", "org/zero-e2e"], &trees[0]),
        (["--model", "One-E2E"], &trees[1]),
    ] {
        let infos = observe(&option, place, &option[1].replace('/', "-"));
        assert_eq!(pids(&infos), all(tree), "{option:?}");
        let worker = infos.iter().find(|info| info.pid == tree.pid("Worker_TP1")).unwrap();
        assert_eq!((worker.role.as_str(), worker.rank.as_str()), ("worker", "TP1"));
        assert_eq!(worker.server, tree.pid("frontend"));
        let service = &worker.service;
        assert_eq!((service.namespace.as_str(), service.engine.as_str()), ("warplens-test", "0"));
        assert!(service.pod.starts_with("llm-") && service.model.ends_with("-e2e"), "{service:?}");
    }
    // Others may run here, too.
    let everything = pids(&observe(&["--all"], place, "all"));
    assert!(everything.is_superset(&all(&trees[0])) && everything.is_superset(&all(&trees[1])));
}

#[test]
fn a_pod_by_its_own_namespaces() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    // A root of its own: its host name and its service account lie on a file system out of sight.
    let script = "set -e; hostname llm-in-namespaces; \
                  mount -t tmpfs none /run; mkdir -p /run/secrets/kubernetes.io/serviceaccount/..2026; \
                  cd /run/secrets/kubernetes.io/serviceaccount; \
                  printf serving-ns > ..2026/namespace; ln -s ..2026 ..data; ln -s ..data/namespace namespace; \
                  cd /; exec \"$@\"";
    let program = artefacts::program("server_tree.py");
    let mut shell = command("unshare");
    shell
        .args(["--mount", "--propagation", "private", "--uts", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "sh", "-c", script, "sh", "python3"])
        .arg(&program)
        .args(["mp", "--", "org/in-namespaces"])
        .env("POD_NAME", "llm-in-namespaces");
    let tree = Tree::start(&mut shell, folder.path()).unwrap();
    let inside = |name: &str| tree.pid(name);
    let document = warplens_tests::harness::tree::servers(folder.path()).unwrap();
    let servers = document["servers"].as_array().unwrap();
    let server = servers.iter().find(|server| server["model"] == "org/in-namespaces").unwrap();
    assert_eq!(
        (&server["pod"], &server["namespace"]),
        (&json!("llm-in-namespaces"), &json!("serving-ns"))
    );
    let found = |name: &str| {
        let processes = server["processes"].as_array().unwrap();
        processes.iter().find(|process| process["inner_pid"] == inside(name)).unwrap().clone()
    };
    assert_eq!(found("frontend")["role"], "frontend");
    assert_eq!(found("frontend")["inner_pid"], 1);
    assert_eq!(found("Worker_TP1")["rank"], "TP1");
    assert_ne!(found("Worker_TP1")["pid"], inside("Worker_TP1"));
    let infos = observe(&["--pod", "serving-ns/llm-in-namespaces"], folder.path(), "out");
    let numbers: BTreeSet<u32> = server["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| u32::try_from(process["pid"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(pids(&infos), numbers);
}

#[test]
fn the_daemon_tells_what_each_worker_serves() {
    require!(E2e);
    let run = Run::new(2)
        .unwrap()
        .with_shim()
        .unwrap()
        .with("POD_NAME", "llm-0")
        .with("POD_NAMESPACE", "warplens-test");
    let (mut agent, address) = daemon::start(&run);
    let mut server = run.serve(&["--rate", "2000", "--single-rate", "500"]).unwrap();
    let line = |rank: &str| {
        let (_, text) = daemon::get(&address, "/metrics")?;
        let part = format!(
            "namespace=\"warplens-test\",pod=\"llm-0\",container=\"\",model_name=\"sim/Llama-3.3-70B-Instruct\",engine=\"0\",role=\"worker\",rank=\"{rank}\"}} 1"
        );
        text.lines()
            .any(|line| {
                line.starts_with("warplens_worker_info{UUID=\"SIM-") && line.ends_with(&part)
            })
            .then_some(())
    };
    for rank in ["TP0", "TP1"] {
        let told = wait::until(LIMIT, || line(rank));
        assert!(told.is_some(), "{rank}: {:?}", daemon::get(&address, "/metrics"));
    }
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(LIMIT).unwrap().code, 0);
    assert_eq!(server.stop().unwrap().code, 0);
}

/// A control group that is removed in the end.
struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// `None` where no hierarchy can be written.
    fn make(path: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[2] == "cgroup2").then(|| PathBuf::from(fields[1]))
        })?;
        let mut group = Self { folders: Vec::new() };
        let mut folder = root;
        for part in path.split('/') {
            folder.push(part);
            if !folder.exists() {
                fs::create_dir(&folder).ok()?;
                group.folders.push(folder.clone());
            }
        }
        Some(group)
    }

    fn enter(&self, pid: u32) {
        fs::write(self.folders.last().unwrap().join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            // A process that has not been reaped keeps it for a moment.
            let removed = wait::until(Duration::from_secs(10), || fs::remove_dir(folder).ok());
            if removed.is_none() {
                println!("{} is left", folder.display());
            }
        }
    }
}

#[test]
fn a_container_by_its_control_group() {
    require!(E2e);
    let id = format!("{:064x}", u128::from(std::process::id()) << 64 | 0xabcd_ef01);
    let uid = "1a2b3c4d_0000_4111_8222_0123456789ab";
    let path = format!(
        "warplens-test-{}.slice/kubepods.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope",
        std::process::id()
    );
    let Some(group) = Group::make(&path) else {
        println!("SKIP a_container_by_its_control_group: no control group can be made here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command: Command = tree_command("mp", &["org/in-container"]);
    command.env("HOSTNAME", "llm-by-host-name");
    let tree = Tree::start(&mut command, folder.path()).unwrap();
    tree.pids.values().for_each(|&pid| group.enter(pid));
    let server = tree.server(folder.path()).unwrap().unwrap();
    let container = json!({
        "id": id,
        "runtime": "containerd",
        "pod_uid": uid.replace('_', "-"),
    });
    assert_eq!(server["container"], container, "{server:#}");
    // In a pod, the host's name is the pod's.
    assert_eq!(server["pod"], "llm-by-host-name");
    assert_eq!(process(&server, tree.pid("EngineCore"))["role"], "engine_core");
    for asked in [id.clone(), format!("containerd://{id}"), id[..50].to_owned()] {
        let infos = observe(&["--container", &asked], folder.path(), "container");
        assert_eq!(pids(&infos), all(&tree), "{asked}");
        assert!(infos.iter().all(|info| info.service.container == id), "{infos:?}");
        fs::remove_dir_all(folder.path().join("container")).unwrap();
    }
    drop(tree);
}
