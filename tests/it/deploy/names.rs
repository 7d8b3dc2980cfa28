//! Paths, ports, variables, options and capabilities of `deploy/`: each is what the code, or the file beside it, says.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use warplens::cli::{Cli, Command};
use warplens::commands::run::SHIM_FILE;
use warplens::daemon::Config;
use warplens_tests::harness::artefacts;
use warplens_tests::require;

use super::{containers, deploy, manifest, named, text};

/// Where the image has what `cargo xtask build` makes.
const PROGRAM: &str = "/usr/local/bin/warplens";
const LIBRARIES: &str = "/usr/local/lib";

/// The driver's own variable.
const INJECTION: &str = "CUDA_INJECTION64_PATH";

fn unit() -> String {
    text("systemd/warplens.service")
}

/// Values of a key of the unit, in their order.
fn settings<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The configuration file that a command line of the agent names.
fn configuration_of(words: &[&str]) -> PathBuf {
    match Cli::try_parse_from(words).unwrap().command {
        Command::Agent(agent) => agent.config.unwrap(),
        other => panic!("{words:?} is {other:?}"),
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn command_lines_are_the_agents() {
    require!(Deploy);
    let daemon_set = manifest("daemonset.yaml");
    let (agent, _) = containers(&daemon_set);
    let mut words = vec!["warplens"];
    words.extend(strings(&agent["args"]));
    let file = configuration_of(&words);
    // That file is the key of the map that is mounted there.
    let mount = named(&agent["volumeMounts"], "configuration");
    assert_eq!(mount["readOnly"], true);
    let key = file.strip_prefix(mount["mountPath"].as_str().unwrap()).unwrap();
    let map = manifest("configmap.yaml");
    assert!(map["data"][key.to_str().unwrap()].is_string(), "no {} in {map:#}", key.display());
    let volumes = &daemon_set["spec"]["template"]["spec"]["volumes"];
    assert_eq!(named(volumes, "configuration")["configMap"]["name"], map["metadata"]["name"]);

    let unit = unit();
    for line in [settings(&unit, "ExecStart"), settings(&unit, "ExecStartPre")].concat() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], PROGRAM);
        assert_eq!(configuration_of(&words), file, "{line}");
    }
    let image = text("container/Containerfile");
    assert!(image.contains(&format!("ENTRYPOINT [\"{PROGRAM}\"]")), "{image}");
    assert!(image.contains("CMD [\"agent\"]"), "{image}");
}

#[test]
fn ports_agree() {
    require!(Deploy);
    let port = u64::from(Config::default().listen.port());
    let map = manifest("configmap.yaml");
    let file = map["data"]["agent.toml"].as_str().unwrap();
    let listen = file.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap();
    let listen: SocketAddr = listen.trim_matches('"').parse().unwrap();
    assert_eq!(u64::from(listen.port()), port);
    // Loopback of a pod is nobody's to ask.
    assert!(listen.ip().is_unspecified());

    let daemon_set = manifest("daemonset.yaml");
    let (agent, _) = containers(&daemon_set);
    assert_eq!(named(&agent["ports"], "metrics")["containerPort"], port);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(agent[probe]["httpGet"]["port"], "metrics", "{probe}");
    }
    let annotations = &daemon_set["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], port.to_string());
    let policy = manifest("networkpolicy.yaml");
    assert_eq!(policy["spec"]["ingress"][0]["ports"], json!([{"port": port, "protocol": "TCP"}]));
    // It asks servers, at the port of the one that is shown.
    let server = manifest("server/deployment.yaml");
    let serves = &server["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"];
    assert_eq!(policy["spec"]["egress"][0]["ports"], json!([{"port": serves, "protocol": "TCP"}]));
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(&daemon_set["spec"]["selector"]["matchLabels"], labels);
}

/// What a server's pod gets: its volume, where that is mounted, the variable.
fn shim_in(pod: &Value) -> (Value, Value, Value) {
    let container = &pod["containers"][0];
    (
        named(&pod["volumes"], "warplens").clone(),
        named(&container["volumeMounts"], "warplens").clone(),
        named(&container["env"], INJECTION).clone(),
    )
}

#[test]
fn servers_load_the_shim_from_where_the_agent_lays_it() {
    require!(Deploy);
    let daemon_set = manifest("daemonset.yaml");
    let (agent, init) = containers(&daemon_set);
    let host = &named(&daemon_set["spec"]["template"]["spec"]["volumes"], "shim")["hostPath"];
    let script = init["args"][0].as_str().unwrap();
    let mount = named(&init["volumeMounts"], "shim")["mountPath"].as_str().unwrap();
    assert!(script.contains(&format!("cp {LIBRARIES}/{SHIM_FILE} ")), "{script}");
    assert!(script.contains(&format!(" {mount}/{SHIM_FILE}\n")), "{script}");
    let image = text("container/Containerfile");
    for line in [
        format!("COPY --chmod=0755 warplens {PROGRAM}"),
        format!("COPY --chmod=0755 {SHIM_FILE} {LIBRARIES}/{SHIM_FILE}"),
    ] {
        assert!(image.lines().any(|found| found == line), "no `{line}` in {image}");
    }
    // The agent itself needs of the host's files its logs and where its operator's switch may lie, and only to look at.
    let volumes = &daemon_set["spec"]["template"]["spec"]["volumes"];
    let mounts = agent["volumeMounts"].as_array().unwrap();
    let of_host =
        |mount: &&Value| named(volumes, mount["name"].as_str().unwrap()).get("hostPath").is_some();
    let of_host: Vec<&Value> = mounts.iter().filter(of_host).collect();
    assert!(of_host.iter().all(|mount| mount["readOnly"] == true), "{of_host:?}");
    let file = warplens::switch::Switch::default();
    let switch = file.path().parent().unwrap().to_owned();
    let logs = warplens::daemon::EvidenceConfig::default().logs().unwrap().folder;
    let wanted = [
        (switch, Some("DirectoryOrCreate")),
        (logs.join("pods"), None),
        (logs.join("containers"), None),
    ];
    assert_eq!(of_host.len(), wanted.len());
    for (folder, kind) in wanted {
        let of_folder = |mount: &&&Value| mount["mountPath"] == folder.to_str().unwrap();
        let mount = of_host.iter().find(of_folder).unwrap_or_else(|| panic!("{folder:?}"));
        let volume = named(volumes, mount["name"].as_str().unwrap());
        assert_eq!(volume["hostPath"]["path"], mount["mountPath"]);
        assert_eq!(volume["hostPath"].get("type").and_then(Value::as_str), kind);
    }
    // It writes its dumps and its socket where it may.
    let flight = named(&agent["volumeMounts"], "flight")["mountPath"].as_str().unwrap();
    let socket = named(&agent["env"], "WARPLENS_SOCKET")["value"].as_str().unwrap();
    let dumps = format!("dir = \"{flight}/dumps\"");
    assert!(Path::new(socket).starts_with(flight), "{socket}");
    assert!(text("kubernetes/configmap.yaml").contains(&dumps), "{dumps}");
    assert!(init["securityContext"]["capabilities"].get("add").is_none());

    let server = manifest("server/deployment.yaml");
    let expected = shim_in(&server["spec"]["template"]["spec"]);
    let (volume, mounted, variable) = &expected;
    assert_eq!(&volume["hostPath"], host);
    assert_eq!(mounted["readOnly"], true);
    let path = Path::new(mounted["mountPath"].as_str().unwrap()).join(SHIM_FILE);
    assert_eq!(variable["value"], path.to_str().unwrap());

    // The patch gives a server without anything the same.
    let mut bare = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "vllm", "env": [], "volumeMounts": []}], "volumes": []}}}});
    for operation in
        serde_json::from_str::<Vec<Value>>(&text("kubernetes/server/patch.json")).unwrap()
    {
        assert_eq!(operation["op"], "add");
        let list = operation["path"].as_str().unwrap().strip_suffix("/-").unwrap();
        let list = bare.pointer_mut(list).unwrap().as_array_mut().unwrap();
        list.push(operation["value"].clone());
    }
    let patched = &bare["spec"]["template"]["spec"];
    assert_eq!(shim_in(patched), expected);
    let environment = |pod: &Value| pod["containers"][0]["env"].clone();
    assert_eq!(environment(patched), environment(&server["spec"]["template"]["spec"]));

    // And so does the policy, whose expression only an API server evaluates.
    let policy = text("kubernetes/server/mutating-admission-policy.yaml");
    for value in [
        &volume["hostPath"]["path"],
        &volume["hostPath"]["type"],
        &mounted["mountPath"],
        &variable["value"],
        &variable["name"],
    ] {
        assert!(policy.contains(&format!(": {value}")), "{value} is not in the policy");
    }
    for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
        let count = |of| policy.chars().filter(|&character| character == of).count();
        assert_eq!(count(open), count(close), "{open} and {close}");
    }
}

#[test]
fn variables_are_known() {
    require!(Deploy);
    let documented =
        fs::read_to_string(artefacts::repository().join("docs/environment.md")).unwrap();
    let read_of_pods =
        fs::read_to_string(artefacts::repository().join("agent/src/proc/environment.rs")).unwrap();
    let server = manifest("server/deployment.yaml");
    let daemon_set = manifest("daemonset.yaml");
    let (agent, init) = containers(&daemon_set);
    for container in [&server["spec"]["template"]["spec"]["containers"][0], agent, init] {
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap();
            let known = documented.contains(&format!("| `{name}` |"))
                || read_of_pods.contains(&format!("{name:?}"));
            assert!(known, "nobody reads {name}");
        }
    }
}

#[test]
fn capabilities_agree() {
    require!(Deploy);
    let daemon_set = manifest("daemonset.yaml");
    let (agent, _) = containers(&daemon_set);
    let context = &agent["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!((&context["privileged"], &context["runAsUser"]), (&json!(false), &json!(0)));
    let added: BTreeSet<String> =
        strings(&context["capabilities"]["add"]).iter().map(|name| format!("CAP_{name}")).collect();
    let unit = unit();
    let bounding = settings(&unit, "CapabilityBoundingSet");
    let bounding: BTreeSet<String> =
        bounding.concat().split_whitespace().map(str::to_owned).collect();
    // No container is let at the kernel's log that is not privileged.
    let mut of_unit = added.clone();
    of_unit.insert("CAP_SYSLOG".to_owned());
    assert_eq!(bounding, of_unit);
    let log = warplens::daemon::EvidenceConfig::default().kernel_log.display().to_string();
    assert_eq!(settings(&unit, "DeviceAllow"), [format!("{log} r")]);
    assert!(text("kubernetes/configmap.yaml").contains("kernel_log = \"\""));
    // A row each says what is lost without it.
    let document = fs::read_to_string(artefacts::repository().join("docs/deploy.md")).unwrap();
    let rows: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `CAP_")?.split('`').next())
        .map(|name| format!("CAP_{name}"))
        .collect();
    let mut expected = of_unit;
    // Of `record` and `run` only.
    expected.insert("CAP_SYS_ADMIN".to_owned());
    assert_eq!(rows, expected);
}

#[test]
fn images_are_of_this_version() {
    require!(Deploy);
    let image = format!("warplens:{}", env!("CARGO_PKG_VERSION"));
    let daemon_set = manifest("daemonset.yaml");
    let (agent, init) = containers(&daemon_set);
    assert_eq!((&agent["image"], &init["image"]), (&json!(image), &json!(image)));
    assert!(text("container/Containerfile").contains(&format!("-t {image} ")));
}

#[test]
fn everything_is_in_one_namespace() {
    require!(Deploy);
    let namespace = manifest("namespace.yaml")["metadata"]["name"].clone();
    let account = manifest("serviceaccount.yaml");
    let daemon_set = manifest("daemonset.yaml");
    for document in
        [&account, &manifest("configmap.yaml"), &manifest("networkpolicy.yaml"), &daemon_set]
    {
        assert_eq!(document["metadata"]["namespace"], namespace, "{document:#}");
    }
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    // It asks the API server for nothing, so it gets no token.
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(account["automountServiceAccountToken"], false);
    assert!(deploy("kubernetes").is_dir());
}
