//! What `deploy/` starts, started: the agent with the map's configuration and the manifest's capabilities, the script
//! that lays the shim down, systemd's own check of the unit.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use warplens::commands::run::SHIM_FILE;
use warplens_tests::harness::agent::{assert_refused, run, warplens};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::require;

use super::{LIMIT, containers, manifest, named, text};

/// The map's file, written where the agent can read it.
fn configuration(folder: &Path) -> String {
    let file = folder.join("agent.toml");
    let map = manifest("configmap.yaml");
    let text = map["data"]["agent.toml"].as_str().unwrap();
    // Without the waits before a level goes up, and beside nobody's memory of crashes.
    let state = folder.join("breaker.json").display().to_string();
    let levels = format!("dwell_seconds = 0\ncanary_seconds = 0\nstate = {state:?}\n");
    assert!(!text.contains("[levels]"));
    fs::write(&file, format!("{text}\n[levels]\n{levels}")).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_agent_understands_its_configuration() {
    require!(Deploy);
    let folder = tempfile::tempdir().unwrap();
    let file = configuration(folder.path());
    let check =
        || run(&["agent", "--config", &file, "--check"], folder.path(), "w", LIMIT).unwrap();
    let ended = check();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout.starts_with("serves /metrics, "), "{}", ended.stdout);
    let right = fs::read_to_string(&file).unwrap();
    for (from, to, said) in [
        ("scan_seconds", "scan_second", "unknown field `scan_second`"),
        ("scan_seconds = 5", "scan_seconds = 0", "use 1 to 3600"),
        ("rules = \"\"", "rules = \"gemm moe\"", "no condition"),
    ] {
        assert!(right.contains(from), "{from}");
        fs::write(&file, right.replacen(from, to, 1)).unwrap();
        assert_refused(&check(), 1, said);
    }
}

/// The agent that the map configures, on a port of its own; where it serves.
fn start(agent: &mut Command, folder: &Path) -> (Child, String) {
    agent.args(["--listen", "127.0.0.1:0"]);
    let mut child = Child::start(agent, folder, "agent").unwrap();
    let line = child.error_line("serving http://", LIMIT).unwrap();
    let (_, rest) = line.split_once("http://").unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    (child, address.to_owned())
}

/// Status line and body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Asks until the answer is `good`.
fn until(address: &str, path: &str, good: impl Fn(&(String, String)) -> bool) {
    let begin = Instant::now();
    loop {
        let answer = get(address, path);
        if good(&answer) {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "{path}: {} {}", answer.0, answer.1);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn every_path_that_is_asked_for_is_served() {
    require!(Deploy);
    let folder = tempfile::tempdir().unwrap();
    let file = configuration(folder.path());
    let (mut agent, address) =
        start(&mut warplens(&["agent", "--config", &file]).unwrap(), folder.path());
    let daemon_set = manifest("daemonset.yaml");
    let (container, _) = containers(&daemon_set);
    let annotations = &daemon_set["spec"]["template"]["metadata"]["annotations"];
    for path in [
        &container["startupProbe"]["httpGet"]["path"],
        &container["readinessProbe"]["httpGet"]["path"],
        &container["livenessProbe"]["httpGet"]["path"],
        &annotations["prometheus.io/path"],
    ] {
        until(&address, path.as_str().unwrap(), |(status, _)| status == "HTTP/1.1 200 OK");
    }
    assert_eq!(get(&address, "/nothing").0, "HTTP/1.1 404 Not Found");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(LIMIT).unwrap().code, 0);
}

/// A worker of a user who may do nothing, as containers have them, with everything it needs in `folder`.
fn worker_of_nobody(folder: &Path) -> Child {
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(folder);
    let copy = |from: &Path| {
        let to = folder.join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        open(&to);
        to
    };
    for library in fs::read_dir(artefacts::simulator().unwrap()).unwrap() {
        copy(&library.unwrap().path());
    }
    let shim = copy(&artefacts::shim().unwrap());
    let worker = copy(&artefacts::cuda_worker().unwrap());
    let mut limited = command("setpriv");
    limited.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    limited.arg(worker).args(["--seconds", "100", "--rate", "500"]).current_dir(folder);
    limited.env("LD_LIBRARY_PATH", folder).env("CUDA_INJECTION64_PATH", shim);
    let mut child = Child::start(&mut limited, folder, "worker").unwrap();
    child.line("\"ready\"", LIMIT).unwrap();
    child
}

/// The worker is another user's, the agent has the capabilities of the manifest and no others.
#[test]
fn the_capabilities_of_the_manifest_suffice() {
    require!(Bpf);
    let strange = tempfile::tempdir().unwrap();
    let mut worker = worker_of_nobody(strange.path());
    let folder = tempfile::tempdir().unwrap();
    let file = configuration(folder.path());
    let daemon_set = manifest("daemonset.yaml");
    let (container, _) = containers(&daemon_set);
    let added = container["securityContext"]["capabilities"]["add"].as_array().unwrap();
    let added = added.iter().map(|name| format!("+{}", name.as_str().unwrap().to_lowercase()));
    let kept: Vec<String> = std::iter::once("-all".to_owned()).chain(added).collect();
    let mut limited = command("setpriv");
    limited
        .args(["--no-new-privs", "--bounding-set", &kept.join(",")])
        .arg(artefacts::agent().unwrap());
    limited.args(["agent", "--config", &file]);
    let (mut agent, address) = start(&mut limited, folder.path());
    until(&address, "/metrics", |(_, body)| {
        let counts = |line: &str| !line.ends_with(" 0") && !line.ends_with(" 0.0");
        let has = |start: &str| body.lines().any(|line| line.starts_with(start) && counts(line));
        // Of the ring; of the kernel programs; of the counters.
        has("warplens_records_total{outcome=\"classified\"}")
            && has("warplens_host_offcpu_seconds_total{")
            && has("warplens_host_task_seconds_total{")
    });
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0);
    // Other processes of the machine may have rings of their own that cannot be observed, but not for this reason.
    for complaint in ["CAP_", "permitted", "denied"] {
        assert!(!ended.stderr.contains(complaint), "{}", ended.stderr);
    }
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
}

#[test]
fn the_shim_is_renamed_into_place() {
    require!(Deploy);
    let folder = tempfile::tempdir().unwrap();
    let (library, host) = (folder.path().join("lib"), folder.path().join("host"));
    fs::create_dir(&library).unwrap();
    fs::create_dir(&host).unwrap();
    let daemon_set = manifest("daemonset.yaml");
    let (_, init) = containers(&daemon_set);
    let mount = named(&init["volumeMounts"], "shim")["mountPath"].as_str().unwrap();
    let script = init["args"][0]
        .as_str()
        .unwrap()
        .replace(&format!(" {mount}/"), &format!(" {}/", host.display()))
        .replace("/usr/local/lib/", &format!("{}/", library.display()));
    let lay = |bytes: &str| {
        fs::write(library.join(SHIM_FILE), bytes).unwrap();
        let words: Vec<&str> =
            init["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut shell = command(words[0]);
        shell.args(&words[1..]).arg(&script);
        let ended = Child::run(&mut shell, folder.path(), "init", LIMIT).unwrap();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        let names: Vec<_> =
            fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [SHIM_FILE]);
        let laid = fs::metadata(host.join(SHIM_FILE)).unwrap();
        assert_eq!(laid.permissions().mode() & 0o7777, 0o755);
        laid.ino()
    };
    lay("first");
    // A server that has the file mapped keeps it as it was.
    let mut mapped = fs::File::open(host.join(SHIM_FILE)).unwrap();
    let before = mapped.metadata().unwrap().ino();
    assert_ne!(lay("second"), before);
    let mut kept = String::new();
    mapped.read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "first");
    assert_eq!(fs::read_to_string(host.join(SHIM_FILE)).unwrap(), "second");
}

#[test]
fn systemd_understands_the_unit() {
    require!(Deploy);
    if command("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIP systemd_understands_the_unit: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = text("systemd/warplens.service");
    // It asks whether the program is there.
    let program = artefacts::agent().unwrap();
    let unit = unit.replace("/usr/local/bin/warplens", program.to_str().unwrap());
    let said = |unit: &str| {
        let file = folder.path().join("warplens.service");
        fs::write(&file, unit).unwrap();
        let mut verify = command("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(&file);
        let ended = Child::run(&mut verify, folder.path(), "verify", LIMIT).unwrap();
        // Other units of this machine are none of ours.
        let about = |line: &&str| line.contains("warplens");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        said.lines().filter(about).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said(&unit), Vec::<String>::new());
    // It says nothing about a capability that it does not know: `capabilities_agree` finds that.
    for (from, to) in [
        ("ProtectSystem=strict", "ProtectSystems=strict"),
        ("ProtectSystem=strict", "ProtectSystem=very"),
        ("@system-service", "@system-servic"),
        ("ExecStart=", "ExecStart=/nowhere"),
    ] {
        assert!(unit.contains(from), "{from}");
        assert!(!said(&unit.replacen(from, to, 1)).is_empty(), "{from} -> {to}: nothing said");
    }
}
