//! An issue report from a running daemon: everything is in it but what identifies.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{assert_refused, run, warplens};
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::server::Run;
use warplens_tests::require;

use super::LIMIT;
use super::flight::{Daemon, armed};

/// Planted in environments, arguments and files; none of it may leave.
const PLANTED: [&str; 4] =
    ["hf_PlantedPlantedPlanted", "planted-password", "10.99.88.77", "planted-project"];

/// Everything below a folder, recordings unpacked.
fn bytes_below(folder: &Path, all: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, all);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        if path.ends_with("recording.warplens") {
            all.extend(zstd::decode_all(&bytes[16..]).unwrap());
        }
        all.extend(bytes);
    }
}

fn contains(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|window| window == text.as_bytes())
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn a_bundle_tells_what_happened_and_not_where_or_whose() {
    require!(E2e);
    let run_folder = Run::new(1)
        .unwrap()
        .with_shim()
        .unwrap()
        .with("HF_TOKEN", PLANTED[0])
        .with("SERVICE_PASSWORD", PLANTED[1]);
    let folder = run_folder.folder();
    let daemon = Daemon::start(&run_folder);
    let mut worker = run_folder.work(&["--seconds", "0", "--rate", "2000"]).unwrap();
    armed(worker.pid());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let config = folder.join("sent.toml");
    let text = format!(
        "listen = \"{}:9400\"\n[flight]\ndir = \"/home\u{2f}eve/{}\"\n[extra]\ntoken = \"{}\"\n",
        PLANTED[2], PLANTED[3], PLANTED[1]
    );
    fs::write(&config, text).unwrap();
    let out = folder.join("b.tar.zst");
    let bundle = |more: &[&str], name: &str| {
        let mut command = warplens(&["bundle", "--anonymous", "--json", "--socket"]).unwrap();
        command.arg(&daemon.socket).arg("--config").arg(&config).arg("-o").arg(&out).args(more);
        Child::run(&mut command, folder, name, LIMIT).unwrap()
    };
    let dry = json(&bundle(&["--dry-run"], "dry"));
    assert!(!out.exists() && dry.get("path").is_none());
    let made = json(&bundle(&[], "bundle"));
    assert_eq!(made["manifest"]["missing"], Value::Array(Vec::new()), "{made}");
    let files = made["manifest"]["files"].as_array().unwrap().iter();
    let files: Vec<&str> = files.map(|file| file["path"].as_str().unwrap()).collect();
    let expected = [
        "1/recording.warplens",
        "1/report.json",
        "1/report.md",
        "1/why.json",
        "metrics.txt",
        "config.toml",
        "doctor.json",
        "versions.json",
    ];
    assert_eq!(files, expected);

    let extracted = folder.join("extracted");
    let view = |arguments: &[&str], name: &str| {
        let mut command = warplens(&["view"]).unwrap();
        command.arg(&out).args(arguments);
        Child::run(&mut command, folder, name, LIMIT).unwrap()
    };
    let seen = json(&view(&["--json"], "view"));
    assert!(seen["recordings"][0]["report"]["devices"][0]["kernels"].as_u64().unwrap() > 1_000);
    assert_eq!(seen["recordings"][0]["why"]["trigger"], "asked");
    assert!(seen["versions"]["kernel"].is_string() && seen["doctor"]["checks"].is_array());
    let shown = view(&["--extract", extracted.to_str().unwrap()], "extract");
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in ["SIMULATED", "GPU 0", "Versions", "It was asked for.", "last kernel of"] {
        assert!(shown.stdout.contains(part), "{part} not in {}", shown.stdout);
    }
    assert_refused(&view(&["--extract", extracted.to_str().unwrap()], "again"), 1, "there already");

    let mut all = Vec::new();
    bytes_below(&extracted, &mut all);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for planted in PLANTED {
        assert!(!contains(&all, planted), "{planted}");
    }
    // A short one stands in other words, too.
    assert!(host.len() < 6 || !contains(&all, &host), "{host}");
    assert_eq!(seen["recordings"][0]["report"]["source"], "[host-1]");
    assert!(contains(&all, "warplens_gpu_seconds_total") && contains(&all, "[secret-1]"));
    // What was unpacked is what other commands read.
    let analyzed =
        run(&["analyze", extracted.to_str().unwrap()], folder, "analyze", LIMIT).unwrap();
    assert_eq!(analyzed.code, 0, "{analyzed:?}");

    // A file that is cut is refused.
    let bytes = fs::read(&out).unwrap();
    fs::write(&out, &bytes[..bytes.len() / 2]).unwrap();
    assert_refused(&view(&[], "cut"), 1, "damaged");
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    daemon.stop();
}
