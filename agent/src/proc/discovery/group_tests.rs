//! The trees that vLLM makes, as tables of processes.

use super::*;
use crate::proc::stat::Stat;

/// PID, parent, command line; `comm` is its first word unless it begins with `@comm `.
type Row = (u32, u32, &'static str);

const FRONTEND: &str = "/v/bin/python /v/bin/vllm serve org/m";
const TRACKER: &str = "/v/bin/python -c from multiprocessing.resource_tracker import main;main(32)";
const SPAWN: &str = "/v/bin/python -c from multiprocessing.spawn import spawn_main; spawn_main()";

fn glances(rows: &[Row]) -> HashMap<u32, Glance> {
    let glance = |&(pid, parent, line): &Row| {
        let words: Vec<String> = if line.contains("::") {
            vec![line.to_owned()]
        } else {
            line.split(' ').map(str::to_owned).collect()
        };
        let comm = words[0].rsplit('/').next().unwrap().chars().take(15).collect();
        let stat = Stat {
            comm,
            state: 'S',
            parent,
            session: 7,
            kernel: false,
            threads: 1,
            start: u64::from(pid),
            size: 1,
        };
        (pid, Glance::new(&stat, &words))
    };
    rows.iter().map(glance).collect()
}

fn check(rows: &[Row], expected: &[(u32, &[(u32, Role)])], unknown: &[u32]) {
    let groups = group(&glances(rows));
    let expected = expected
        .iter()
        .map(|(root, members)| (*root, members.iter().copied().collect()))
        .collect::<BTreeMap<u32, BTreeMap<u32, Role>>>();
    assert_eq!(groups.servers, expected);
    assert_eq!(groups.unknown.keys().copied().collect::<Vec<_>>(), unknown);
}

use Role::{ApiServer, Coordinator, EngineCore, Frontend, Process, Script, Worker};

#[test]
fn a_worker_inside_the_engine_core() {
    check(
        &[(1, 0, "init"), (10, 1, FRONTEND), (11, 10, TRACKER), (12, 10, "VLLM::EngineCore")],
        &[(10, &[(10, Frontend), (11, Process), (12, EngineCore)])],
        &[],
    );
}

#[test]
fn tensor_parallel_workers_and_two_servers() {
    check(
        &[
            (1, 0, "init"),
            (2, 1, "bash"),
            (10, 2, FRONTEND),
            (12, 10, "VLLM::EngineCore"),
            (13, 12, "VLLM::Worker_TP0"),
            (14, 12, "VLLM::Worker_TP1"),
            (20, 2, FRONTEND),
            (22, 20, "prod::EngineCore"),
        ],
        &[
            (10, &[(10, Frontend), (12, EngineCore), (13, Worker), (14, Worker)]),
            (20, &[(20, Frontend), (22, EngineCore)]),
        ],
        &[],
    );
}

#[test]
fn several_api_servers_and_data_parallel_engines() {
    check(
        &[
            (10, 1, FRONTEND),
            (11, 10, "VLLM::DPCoordinator"),
            (12, 10, "VLLM::EngineCore_DP0"),
            (13, 10, "VLLM::EngineCore_DP1"),
            (14, 12, "VLLM::Worker_DP0_TP0"),
            (15, 13, "VLLM::Worker_DP1_TP0"),
            (16, 10, "VLLM::APIServer_0"),
            (17, 10, "VLLM::APIServer_1"),
        ],
        &[(
            10,
            &[
                (10, Frontend),
                (11, Coordinator),
                (12, EngineCore),
                (13, EngineCore),
                (14, Worker),
                (15, Worker),
                (16, ApiServer),
                (17, ApiServer),
            ],
        )],
        &[],
    );
}

#[test]
fn the_rust_frontend_belongs_to_the_one_that_started_it() {
    check(
        &[
            (10, 1, FRONTEND),
            (11, 10, "/v/vllm/vllm-rs frontend --args-json {}"),
            (12, 10, "VLLM::EngineCore"),
        ],
        &[(10, &[(10, Frontend), (11, ApiServer), (12, EngineCore)])],
        &[],
    );
}

#[test]
fn a_script_with_engines_of_its_own() {
    check(
        &[
            (9, 1, "bash"),
            (10, 9, "python3 offline.py --key s3cret"),
            (12, 10, "VLLM::EngineCore"),
            (13, 12, "VLLM::Worker_TP0"),
            (14, 10, "ffmpeg -i x"),
        ],
        &[(10, &[(10, Script), (12, EngineCore), (13, Worker), (14, Process)])],
        &[],
    );
}

#[test]
fn a_supervisor_is_no_script() {
    let mut glances = glances(&[(1, 0, "python3 supervisord"), (12, 1, "VLLM::EngineCore")]);
    glances.get_mut(&1).unwrap().session = 1;
    let groups = group(&glances);
    assert_eq!(groups.origins, BTreeMap::from([(12, Origin::Orphan)]));
}

#[test]
fn rays_workers_are_nobodys_by_their_parents() {
    check(
        &[
            (5, 1, "raylet --session x"),
            (10, 1, FRONTEND),
            (12, 10, "VLLM::EngineCore"),
            (20, 5, "VLLM::Worker_TP0"),
            (21, 5, "ray::RayWorkerProc.run"),
            (22, 5, "ray::IDLE"),
            // An engine inside a replica of Ray Serve.
            (30, 5, "ray::ServeReplica:app"),
            (31, 30, "VLLM::EngineCore"),
        ],
        &[(10, &[(10, Frontend), (12, EngineCore)]), (30, &[(30, Script), (31, EngineCore)])],
        &[20, 21],
    );
}

#[test]
fn a_child_without_a_title_yet_is_not_its_parent() {
    check(
        &[
            (10, 1, FRONTEND),
            // Forked by the frontend, spawned by the frontend, forked by the engine core.
            (11, 10, FRONTEND),
            (12, 10, SPAWN),
            (13, 10, "VLLM::EngineCore"),
            (14, 13, "VLLM::EngineCore"),
        ],
        &[(10, &[(10, Frontend), (11, Process), (12, Process), (13, EngineCore), (14, Process)])],
        &[],
    );
}

#[test]
fn wrappers_above_a_server_are_not_part_of_it() {
    check(
        &[
            (8, 1, "tini -- vllm serve org/m"),
            (9, 8, "sudo vllm serve org/m"),
            (10, 9, FRONTEND),
            (12, 10, "VLLM::EngineCore"),
        ],
        &[(10, &[(10, Frontend), (12, EngineCore)])],
        &[],
    );
}

#[test]
fn a_server_whose_frontend_died() {
    check(
        &[(1, 0, "init"), (12, 1, "VLLM::EngineCore"), (13, 12, "VLLM::Worker")],
        &[(12, &[(12, EngineCore), (13, Worker)])],
        &[],
    );
}

#[test]
fn a_circle_of_parents_is_left() {
    let glances = glances(&[(5, 6, "VLLM::Worker"), (6, 5, "VLLM::EngineCore")]);
    let line = line(5, |pid| glances.get(&pid)).unwrap();
    assert_eq!(line.steps.len(), LEVELS);
    assert_eq!(group(&glances).servers.len(), 2);
}

#[test]
fn a_circle_of_helpers_is_left() {
    let glances =
        glances(&[(10, 1, FRONTEND), (11, 12, "a"), (12, 11, "b"), (13, 10, "c"), (14, 13, "d")]);
    let members = &group(&glances).servers[&10];
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), [10, 13, 14]);
}

#[test]
fn engine_cores_above_a_worker() {
    let glances =
        glances(&[(10, 1, FRONTEND), (12, 10, "VLLM::EngineCore"), (13, 12, "VLLM::Worker")]);
    let engines =
        |pid| -> Vec<u32> { line(pid, |pid| glances.get(&pid)).unwrap().engines().collect() };
    assert_eq!((engines(13), engines(12)), (vec![12], vec![]));
}

/// Processes as a real server showed them; `None` where the files are not there.
fn captured(name: &str) -> Option<HashMap<u32, Glance>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/real-vllm/captured")
        .join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIP {name}: {} is not there", path.display());
        return None;
    };
    let mut glances = HashMap::new();
    for part in text.split("===== pid ").skip(1) {
        let line = |key: &str| part.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let head: Vec<&str> = part.lines().next().unwrap().split(' ').collect();
        let (pid, parent): (u32, u32) = (head[0].parse().unwrap(), head[2].parse().unwrap());
        let stat = Stat {
            comm: line("comm: ").to_owned(),
            state: 'S',
            parent,
            session: 1,
            kernel: false,
            threads: line("Threads:").trim().parse().unwrap(),
            start: u64::from(pid),
            size: 1,
        };
        let words: Vec<String> = line("cmdline: ").split(' ').map(str::to_owned).collect();
        glances.insert(pid, Glance::new(&stat, &words));
    }
    Some(glances)
}

#[test]
fn real_servers_as_they_were_captured() {
    for (name, root, members) in [
        (
            "idle-procs.txt",
            18755,
            vec![(18755, Frontend), (20709, Process), (20710, EngineCore), (21470, Worker)],
        ),
        (
            "tp2-procs.txt",
            4019,
            vec![
                (4019, Frontend),
                (4199, Process),
                (4200, EngineCore),
                (4326, Worker),
                (4327, Worker),
            ],
        ),
        (
            "api2-procs.txt",
            5017,
            vec![
                (5017, Frontend),
                (5247, Process),
                (5248, EngineCore),
                (5249, ApiServer),
                (5250, ApiServer),
                (5463, Worker),
            ],
        ),
    ] {
        let Some(glances) = captured(name) else {
            continue;
        };
        let groups = group(&glances);
        let expected = BTreeMap::from([(root, BTreeMap::from_iter(members))]);
        assert_eq!(groups.servers, expected, "{name}");
        let (_, options) = glances[&root].command.as_deref().unwrap();
        assert_eq!(options.model.as_deref(), Some("DIR/tiny"), "{name}");
        assert_eq!(options.served_name.as_deref(), Some("tiny"), "{name}");
        assert_eq!((options.port, options.host.as_deref()), (Some(8000), Some("127.0.0.1")));
        let tensor = if name.starts_with("tp2") { Some(2) } else { None };
        assert_eq!(options.sizes.tensor, tensor, "{name}");
        let ranks: Vec<&str> = glances
            .values()
            .filter(|glance| glance.title.role == Worker)
            .map(|glance| glance.title.rank.as_str())
            .collect();
        assert_eq!(ranks.concat().len(), if tensor.is_some() { 6 } else { 0 }, "{ranks:?}");
    }
}

#[test]
fn ray_and_vllm_overwrite_each_others_titles() {
    let before = glances(&[(20, 5, "VLLM::Worker_TP1")]).remove(&20).unwrap();
    let after = glances(&[(20, 5, "ray::RayWorkerProc.run")]).remove(&20).unwrap();
    assert_eq!(after.clone().after(&before).title, before.title);
    assert_eq!(before.clone().after(&after).title, before.title);
    // Another process of the same number.
    let mut other = after.clone();
    other.start += 1;
    assert_eq!(other.after(&before).title.rank, "");
}

#[test]
fn nothing_that_is_kept_holds_a_secret() {
    let rows: [Row; 4] = [
        (
            10,
            1,
            "/v/bin/python /v/bin/vllm serve https://u:s3cret@h/m --api-key s3cret --hf-token=s3cret",
        ),
        (11, 10, "vllm-rs frontend --args-json {\"api_key\":\"s3cret\",\"model_tag\":\"m\"}"),
        (12, 1, "python3 train.py --token s3cret"),
        (13, 1, "curl -H s3cret https://u:s3cret@h"),
    ];
    let glances = glances(&rows);
    assert!(!format!("{glances:?}").contains("s3cret"), "{glances:?}");
    assert!(!format!("{:?}", group(&glances)).contains("s3cret"));
}
