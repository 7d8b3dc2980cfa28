//! Workers that were started without the shim, and have it brought to them.

use serde_json::Value;
use warplens_tests::harness::agent::{record, run};
use warplens_tests::harness::child::Ended;
use warplens_tests::harness::server::Run;
use warplens_tests::require;

use super::{LIMIT, assert_recorded, fresh_seed, report, serve};

fn attach(run_: &Run, pids: &[u32], name: &str) -> Ended {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    run(&["attach", "--pid", &pids.join(","), "--json"], run_.folder(), name, LIMIT).unwrap()
}

fn rows(ended: &Ended) -> Vec<Value> {
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["schema"], "warplens.attach/v1");
    document["processes"].as_array().unwrap().clone()
}

#[test]
fn workers_of_a_busy_server_are_seen_exactly_from_then_on() {
    require!(E2e);
    let seed = fresh_seed();
    println!("seed {seed}");
    let run = Run::new(2).unwrap().with("WARPLENS_SIM_SEED", &seed.to_string());
    let mut server = serve(&run, seed, &["--rate", "6000", "--single-rate", "1500"]);
    let pids: Vec<u32> = server.workers.iter().map(|worker| worker.pid).collect();
    let ended = attach(&run, &pids, "attach");
    assert_eq!(ended.code, 0, "{ended:?}");
    for row in rows(&ended) {
        println!("{row}");
        assert_eq!(row["attached"], true, "{row}");
        assert!(row["stopped_ns"].as_u64().unwrap() > 0, "{row}");
    }
    // Once is enough.
    let again = attach(&run, &pids, "again");
    assert_eq!(again.code, 0, "{again:?}");
    for row in rows(&again) {
        assert_eq!((&row["attached"], &row["stopped_ns"]), (&Value::Bool(true), &Value::Null));
        assert!(row["reason"].as_str().unwrap().contains("already"), "{row}");
    }
    let (recorded, out) = record(server.pid(), 4, run.folder(), "out").unwrap();
    let stopped = server.stop().unwrap();
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{stopped:?}");
    let verdict = assert_recorded(&run, &recorded, &out, &format!("seed {seed}"));
    assert_eq!((verdict.devices, verdict.processes), (2, 2));
    for device in report(&out)["devices"].as_array().unwrap() {
        assert!(device["kernels"].as_u64().unwrap() > 6_000, "{device}");
    }
}

#[test]
fn what_has_no_driver_is_refused_and_goes_on() {
    require!(E2e);
    let run = Run::new(1).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let ended = attach(&run, &[sleeper.id(), 1 << 23], "attach");
    let runs = sleeper.try_wait().unwrap().is_none();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(runs && ended.code == 1, "{ended:?}");
    let reasons: Vec<String> =
        rows(&ended).iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons[0].contains("no CUDA driver"), "{reasons:?}");
    assert!(reasons[1].contains("is not there"), "{reasons:?}");
}
