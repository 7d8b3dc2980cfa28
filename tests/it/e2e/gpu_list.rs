//! The list of questions for a GPU, asked on the simulated CUDA: it asks well, and says what it asked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::gpu::answer::{Answer, Answers, Outcome};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended, command};
use warplens_tests::harness::wait;
use warplens_tests::require;

const LIMIT: Duration = Duration::from_mins(2);

/// A folder as `cargo xtask gpu pack` lays it out.
fn bundle(folder: &Path) {
    let shim = artefacts::shim().unwrap();
    for (name, file) in [
        ("warplens", artefacts::agent().unwrap()),
        ("libwarplens_cuda.so", shim),
        ("cuda-worker", artefacts::cuda_worker().unwrap()),
        ("programs", artefacts::program("gpu")),
    ] {
        std::os::unix::fs::symlink(file, folder.join(name)).unwrap();
    }
    fs::write(folder.join("LIST"), "commit 1234567\n").unwrap();
}

fn start(folder: &Path, questions: &str) -> Child {
    let mut command = command(env!("CARGO_BIN_EXE_gpu-list"));
    command.arg("--simulated").arg(artefacts::simulator().unwrap());
    command.arg("--bundle").arg(folder).arg("--out").arg(folder.join("out"));
    command.args(["--only", questions]);
    Child::start(&mut command, folder, "list").unwrap()
}

fn ask(folder: &Path, questions: &str) -> (Ended, Answers) {
    let ended = start(folder, questions).wait(LIMIT).unwrap();
    (ended, Answers::read(&folder.join("out/answers.json")).unwrap().unwrap())
}

fn of<'a>(answers: &'a Answers, question: u32, step: &str) -> &'a Answer {
    let mut all = answers.answers.iter();
    all.find(|answer| answer.question == question && answer.step == step).unwrap()
}

/// What the worker printed at its end, in the scratch folder of a step.
fn worker_said(folder: &Path, step: &str) -> Value {
    let printed =
        fs::read_to_string(folder.join("out/scratch").join(step).join("run.stdout")).unwrap();
    let line = printed.lines().find(|line| line.contains("\"event\":\"end\"")).unwrap();
    serde_json::from_str(line).unwrap()
}

#[test]
fn answers_are_what_the_worker_did_and_say_that_it_was_simulated() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path());
    let (ended, answers) = ask(folder.path(), "1,2,4,8,9");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("SIMULATED, nothing of this was seen on a GPU"), "{ended:?}");
    assert_eq!(answers.commit, "1234567");
    for answer in &answers.answers {
        assert!(answer.simulated, "{answer:?}");
        assert_eq!(answer.machine.gpu, "simulated", "{answer:?}");
        assert!(answer.machine.cupti > 0 && answer.machine.cuda > 0, "{answer:?}");
        assert!(answer.machine.cupti_path.contains("libcupti.so"), "{answer:?}");
        let asked = answer.step == "worker";
        let expected = if asked { Outcome::Answered } else { Outcome::Cannot };
        assert_eq!(answer.outcome, expected, "{answer:?}");
    }

    let said = worker_said(folder.path(), "1-worker");
    let number = |said: &Value, key: &str| said[key].as_u64().unwrap();
    let (single, replayed) = (number(&said, "launches_ok"), number(&said, "graph_kernels"));
    let kernels = single + replayed;
    assert!(single > 500 && replayed > 500, "{said}");
    let expected = format!(
        "From the first launch on: {kernels} kernels recorded, {kernels} launched by the worker's own count ({single} one by one, {replayed} replayed); 0 lost, 0 without timestamps."
    );
    assert_eq!(of(&answers, 1, "worker").sentences[0], expected);

    let said = worker_said(folder.path(), "2-worker");
    let calls = number(&said, "launches_ok")
        + number(&said, "launches_captured")
        + number(&said, "graph_launches");
    let sentence = &of(&answers, 2, "worker").sentences[0];
    let counted = format!("eBPF counted {calls} (0 failed), the shim {calls} (0 failed): equal");
    assert!(sentence.contains(&counted), "{counted} is not what it says: {sentence}");

    let said = worker_said(folder.path(), "4-worker");
    let launched = number(&said, "launches_ok");
    let sentence = &of(&answers, 4, "worker").sentences[0];
    // The simulator starts a kernel 4 us after its launch call at the earliest.
    let begins = format!("{launched} of {launched} kernels with their launch: 0 start before it;");
    assert!(sentence.starts_with(&begins), "{begins} is not what it says: {sentence}");

    assert!(of(&answers, 8, "worker").sentences[0].starts_with("Attached and detached 2 times"));
    assert_eq!(of(&answers, 9, "none").sentences, ["not built yet"]);
}

#[test]
fn an_interrupted_list_keeps_its_answers_and_leaves_no_process() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path());
    // The second step runs for seconds, and the first is at once answered.
    let (_, answers) = ask(folder.path(), "9");
    assert_eq!(answers.answers.len(), 1);
    let mut list = start(folder.path(), "4,10");
    let running = folder.path().join("out/scratch/4-worker/run.stdout");
    let begun =
        || fs::read_to_string(&running).is_ok_and(|text| text.contains("ready")).then_some(());
    wait::until(LIMIT, begun).expect("the step begins");
    let printed = fs::read_to_string(&running).unwrap();
    let ready: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    list.signal(Signal::INT);
    let ended = list.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("interrupted"), "{ended:?}");
    let answers = Answers::read(&folder.path().join("out/answers.json")).unwrap().unwrap();
    let kept: Vec<u32> = answers.answers.iter().map(|answer| answer.question).collect();
    assert_eq!(kept, [9]);
    let worker = u32::try_from(ready["pid"].as_u64().unwrap()).unwrap();
    let gone = || (!warplens_tests::harness::process::alive(worker)).then_some(());
    assert!(wait::until(LIMIT, gone).is_some(), "worker {worker} lives on");
}
