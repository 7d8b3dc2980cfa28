//! `warplens servers` on process trees with the titles and arguments of vLLM.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use warplens_tests::harness::agent::{assert_refused, run, warplens};
use warplens_tests::harness::child::{Child, send};
use warplens_tests::harness::tree::{Tree, process, servers, tree_command};
use warplens_tests::harness::wait;
use warplens_tests::require;

const LIMIT: Duration = Duration::from_mins(1);

/// What must stand nowhere.
const SECRETS: [&str; 7] = [
    "s3cret-key",
    "s3cret-token",
    "s3cret-password",
    "s3cret-query",
    "s3cret-variable",
    "s3cret-late",
    "s3cret",
];

fn start(shape: &str, arguments: &[&str]) -> (Tree, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tree_command(shape, arguments);
    command.env("HF_TOKEN", "s3cret-variable").env("VLLM_API_KEY", "s3cret-variable");
    (Tree::start(&mut command, folder.path()).unwrap(), folder)
}

/// Name of a process, its role, its rank, and the name of its engine core.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>);

/// The server has these processes and no others.
fn check(tree: &Tree, server: &Value, rows: &[Row]) {
    for &(name, role, rank, engine) in rows {
        let found = process(server, tree.pid(name));
        let engine = engine.map(|engine| tree.pid(engine));
        assert_eq!(
            (&found["role"], &found["rank"], &found["engine_core"]),
            (&json!(role), &json!(rank), &json!(engine)),
            "{name} in {server:#}"
        );
    }
    assert_eq!(server["processes"].as_array().unwrap().len(), rows.len(), "{server:#}");
}

#[test]
fn one_engine_core_and_its_helper() {
    require!(Cli);
    let (tree, folder) = start("uni", &["org/m", "--served-model-name", "m", "--port", "8123"]);
    let server = tree.server(folder.path()).unwrap().unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("tracker", "process", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
        ],
    );
    assert_eq!(server["model"], "org/m");
    assert_eq!(server["served_model_name"], "m");
    assert_eq!((&server["port"], &server["origin"]), (&json!(8123), &json!("command")));
    assert_eq!((&server["container"], &server["pod"]), (&Value::Null, &Value::Null));
}

#[test]
fn tensor_parallel_workers() {
    require!(Cli);
    let (tree, folder) = start("mp", &["org/m", "-tp", "2"]);
    let server = tree.server(folder.path()).unwrap().unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("tracker", "process", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
            ("Worker_TP0", "worker", "TP0", Some("EngineCore")),
            ("Worker_TP1", "worker", "TP1", Some("EngineCore")),
        ],
    );
    assert_eq!(server["parallel"]["tensor"], 2);
    assert_eq!(process(&server, tree.pid("Worker_TP1"))["ranks"]["tensor"], 1);
}

#[test]
fn two_api_servers() {
    require!(Cli);
    let (tree, folder) = start("api", &["org/m", "--api-server-count", "2"]);
    let server = tree.server(folder.path()).unwrap().unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("tracker", "process", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
            ("Worker", "worker", "", Some("EngineCore")),
            ("APIServer_0", "api_server", "0", None),
            ("APIServer_1", "api_server", "1", None),
        ],
    );
}

#[test]
fn data_parallel_engines_with_experts_and_a_prefix_of_the_operators() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let mut command = tree_command("dp", &["org/m", "-dp", "2", "-tp", "2", "-ep"]);
    command.env("VLLM_PROCESS_NAME_PREFIX", "prod-llm-7");
    let tree = Tree::start(&mut command, folder.path()).unwrap();
    let server = tree.server(folder.path()).unwrap().unwrap();
    let (first, second) = (Some("EngineCore_DP0"), Some("EngineCore_DP1"));
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("DPCoordinator", "coordinator", "", None),
            ("EngineCore_DP0", "engine_core", "DP0", first),
            ("EngineCore_DP1", "engine_core", "DP1", second),
            ("Worker_DP0_TP0_EP0", "worker", "DP0_TP0_EP0", first),
            ("Worker_DP0_TP1_EP1", "worker", "DP0_TP1_EP1", first),
            ("Worker_DP1_TP0_EP2", "worker", "DP1_TP0_EP2", second),
            ("Worker_DP1_TP1_EP3", "worker", "DP1_TP1_EP3", second),
            ("APIServer_0", "api_server", "0", None),
            ("APIServer_1", "api_server", "1", None),
        ],
    );
    let worker = process(&server, tree.pid("Worker_DP1_TP1_EP3"));
    let ranks = &worker["ranks"];
    assert_eq!(
        (&ranks["data"], &ranks["tensor"], &ranks["expert"]),
        (&json!(1), &json!(1), &json!(3))
    );
    assert_eq!(worker["title"], "prod-llm-7::Worker_DP1_TP1_EP3");
}

#[test]
fn the_rust_frontend() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command =
        tree_command("rust", &["--config", "/nowhere.yaml", "--api-key", "s3cret-key"]);
    command.env("TREE_PORT", port.to_string());
    let tree = Tree::start(&mut command, folder.path()).unwrap();
    // Its name comes with its program, a little after its number.
    let server =
        tree.server_once(folder.path(), |server| server["served_model_name"] == "rusty").unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
            ("rust", "api_server", "", None),
        ],
    );
    assert_eq!((&server["model"], &server["port"]), (&json!("org/rust-model"), &json!(port)));
    assert_eq!(process(&server, tree.pid("rust"))["title"], "vllm-rs frontend");
    assert!(!server.to_string().contains("s3cret"), "{server:#}");
}

#[test]
fn a_script_with_an_engine_of_its_own() {
    require!(Cli);
    let (tree, folder) = start("offline", &["--key", "s3cret-key"]);
    let server = tree.server(folder.path()).unwrap().unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "script", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
            ("Worker_TP0", "worker", "TP0", Some("EngineCore")),
            ("Worker_TP1", "worker", "TP1", Some("EngineCore")),
        ],
    );
    assert_eq!((&server["model"], &server["port"]), (&Value::Null, &Value::Null));
    assert_eq!(server["origin"], "script");
}

#[test]
fn rays_workers_are_told_by_the_memory_they_share_and_not_guessed() {
    require!(Cli);
    let (tree, folder) =
        start("ray", &["org/m", "-tp", "2", "--distributed-executor-backend", "ray"]);
    let document = servers(folder.path()).unwrap();
    let server = tree.server(folder.path()).unwrap().unwrap();
    check(
        &tree,
        &server,
        &[
            ("frontend", "frontend", "", None),
            ("EngineCore", "engine_core", "", Some("EngineCore")),
            ("Worker_TP0", "worker", "TP0", Some("EngineCore")),
            ("Worker_TP1", "worker", "TP1", Some("EngineCore")),
        ],
    );
    assert_eq!(server["executor"], "ray");
    let unknown = document["workers_of_unknown_servers"].as_array().unwrap();
    let stray = unknown.iter().find(|worker| worker["pid"] == tree.pid("Worker_TP5"));
    assert_eq!(stray.unwrap()["rank"], "TP5", "{document:#}");
}

#[test]
fn a_child_is_described_again_when_it_has_said_what_it_is() {
    require!(Cli);
    let (tree, folder) = start("late", &["org/m"]);
    let (copy, spawned) = (tree.pid("copy:EngineCore"), tree.pid("spawn:APIServer_0"));
    let roles = |server: &Value| {
        [copy, spawned].map(|pid| process(server, pid)["role"].as_str().map(str::to_owned))
    };
    let server = tree.server(folder.path()).unwrap().unwrap();
    let plain = Some("process".to_owned());
    assert_eq!(roles(&server), [plain.clone(), plain], "{server:#}");

    let mut watching = Child::start(
        &mut warplens(&["servers", "--watch", "--json"]).unwrap(),
        folder.path(),
        "watch",
    )
    .unwrap();
    watching.line(&format!("\"id\":{}", tree.pid("frontend")), LIMIT).unwrap();
    // A signal may come before the program that understands it has begun.
    let told = wait::until(LIMIT, || {
        send(copy, Signal::USR1);
        let caught = std::fs::read_to_string(format!("/proc/{spawned}/status")).unwrap_or_default();
        let mask = caught.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        let caught = u64::from_str_radix(&mask, 16).ok()? >> (Signal::USR1.as_raw() - 1) & 1 == 1;
        caught.then(|| send(spawned, Signal::USR1))
    });
    assert!(told.is_some(), "the spawned child never listened");
    let engine = format!(
        "\"pid\":{copy},\"inner_pid\":{copy},\"parent\":{},\"role\":\"engine_core\"",
        tree.pid("frontend")
    );
    watching.line(&engine, LIMIT).unwrap();
    let server = tree.server(folder.path()).unwrap().unwrap();
    let [first, second] = roles(&server);
    assert_eq!((first.as_deref(), second.as_deref()), (Some("engine_core"), Some("api_server")));
}

#[test]
fn servers_come_and_go() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Child::start(
        &mut warplens(&["servers", "--watch", "--json"]).unwrap(),
        folder.path(),
        "watch",
    )
    .unwrap();
    watching.line("warplens.servers/v1", LIMIT).unwrap();
    let (tree, _place) = start("uni", &["org/comes-and-goes"]);
    let id = format!("\"id\":{},", tree.pid("frontend"));
    watching.line(&id, LIMIT).unwrap();
    drop(tree);
    let gone = wait::until(LIMIT, || {
        let text = watching.stdout();
        (!text.lines().last()?.contains(&id)).then_some(())
    });
    assert!(gone.is_some(), "{}", watching.stdout());
    watching.signal(Signal::TERM);
    assert_eq!(watching.wait(LIMIT).unwrap().code, 0);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_port_that_the_arguments_do_not_tell_is_found_by_its_socket() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = tree_command("uni", &["org/m", "--port", "0"]);
    command.env("TREE_PORT", port.to_string());
    let tree = Tree::start(&mut command, folder.path()).unwrap();
    let server = tree.server(folder.path()).unwrap().unwrap();
    assert_eq!(server["port"], port, "{server:#}");
    assert_eq!(server["listening"], json!([format!("127.0.0.1:{port}")]));
}

#[test]
fn what_the_configuration_file_says() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("vllm.yaml"),
        "model: org/from-file\nport: 8765\napi-key: s3cret-key\ntensor-parallel-size: 4\n",
    )
    .unwrap();
    let mut command = tree_command("uni", &["--config", "vllm.yaml", "-tp", "2"]);
    command.current_dir(folder.path());
    let tree = Tree::start(&mut command, folder.path()).unwrap();
    let server = tree.server(folder.path()).unwrap().unwrap();
    assert_eq!((&server["model"], &server["port"]), (&json!("org/from-file"), &json!(8765)));
    assert_eq!(server["parallel"]["tensor"], 2, "the command line comes first");
}

#[test]
fn no_secret_is_printed() {
    require!(Cli);
    let cases: [(&str, &[&str]); 4] = [
        (
            "uni",
            &["https://me:s3cret-password@host/m?token=s3cret-query", "--api-key", "s3cret-key"],
        ),
        ("mp", &["--api-key", "s3cret-key", "--hf-token=s3cret-token", "s3cret-late"]),
        ("rust", &["org/m", "--api-key", "s3cret-key"]),
        ("offline", &["--token", "s3cret-token"]),
    ];
    for (shape, arguments) in cases {
        let (tree, folder) = start(shape, arguments);
        assert!(tree.server(folder.path()).unwrap().is_some(), "{shape}");
        let none = ["record", "--model", "org/nothing-serves-this", "-d", "1s", "-o", "out"];
        for command in [&["servers"][..], &["servers", "--json"], &["doctor"], &none] {
            let mut command = warplens(command).unwrap();
            command.current_dir(folder.path());
            let ended = Child::run(&mut command, folder.path(), "warplens", LIMIT).unwrap();
            for secret in SECRETS {
                assert!(!format!("{ended:?}").contains(secret), "{shape}: {secret} in {ended:?}");
            }
        }
    }
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let mut command = tree_command("uni", &["org/there", "--served-model-name", "there-it-is"]);
    command.env("POD_NAME", "llm-0").env("POD_NAMESPACE", "serving");
    let _tree = Tree::start(&mut command, folder.path()).unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for (option, asked, part) in [
        ("--pod", "serving/llm-1", "serving/llm-0"),
        ("--pod", "other/llm-0", "serving/llm-0"),
        ("--model", "org/elsewhere", "there-it-is"),
        ("--container", "0123abcd", "no container `0123abcd`"),
        ("--container", "01", "too short"),
    ] {
        let ended =
            run(&["record", option, asked, "-d", "1s", "-o", out], folder.path(), "record", LIMIT)
                .unwrap();
        assert_refused(&ended, 1, part);
    }
    assert!(!std::path::Path::new(out).exists(), "nothing half-written");
}
