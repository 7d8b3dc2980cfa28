//! A worker in a mount namespace of its own, as in a container: its program, its shim and its CUDA
//! lie on a file system that the agent cannot see.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::record;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::harness::server::Run;
use warplens_tests::judge;
use warplens_tests::require;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_worker_whose_files_are_out_of_sight_is_seen_whole() {
    require!(E2e);
    let run = Run::new(1).unwrap();
    let hidden = run.folder().join("hidden");
    fs::create_dir(&hidden).unwrap();
    let script = "set -e; mount -t tmpfs none \"$HIDDEN\"; cp \"$WORKER\" \"$HIDDEN/worker\"; \
                  cp \"$SHIM\" \"$HIDDEN/shim.so\"; cp -L \"$LIBRARIES\"/* \"$HIDDEN\"; \
                  export LD_LIBRARY_PATH=\"$HIDDEN\" CUDA_INJECTION64_PATH=\"$HIDDEN/shim.so\"; \
                  exec \"$HIDDEN/worker\" --seconds 0 --rate 2000";
    let mut shell = command("unshare");
    shell
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .env("HIDDEN", &hidden)
        .env("WORKER", artefacts::cuda_worker().unwrap())
        .env("SHIM", artefacts::shim().unwrap())
        .env("LIBRARIES", artefacts::simulator().unwrap())
        .env("WARPLENS_SIM_DEVICES", "1")
        .env("WARPLENS_SIM_TRUTH", run.truth());
    let mut worker = Child::start(&mut shell, run.folder(), "worker").unwrap();
    worker.line("\"ready\"", LIMIT).unwrap();
    assert!(!hidden.join("worker").exists(), "the worker's files must be out of our sight");
    let (ended, out) = record(worker.pid(), 4, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let verdict =
        judge::judge(&run.truth(), &out.join("report.json"), &artefacts::kernel_table()).unwrap();
    assert!(verdict.exact(), "{verdict:?}");
    let folded = fs::read_to_string(out.join("gpu.folded")).unwrap();
    for site in ["attention_layer", "mlp_up", "mlp_down", "sampler"] {
        assert!(folded.contains(site), "no frame of `{site}`");
    }
    assert!(folded.contains("SIMULATED"), "the simulator's marker was found");
}
