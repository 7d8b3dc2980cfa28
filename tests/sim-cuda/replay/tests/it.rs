//! Replays a recording made here and compares the truth with it, exactly.
#![expect(clippy::expect_used, reason = "failing loudly is what a test is for")]

use std::path::Path;

use rusqlite::Connection;
use sim_check::{run, scratch};
use sim_truth::{Truth, WorkKind};

/// Device, stream, start, end, name; a name makes it a kernel, otherwise the kind's bytes count.
const KERNELS: [(u32, u32, u64, u64, &str); 5] = [
    (0, 7, 1_000_000, 1_020_000, "void gemm<float>(float*, int)"),
    (1, 15, 1_000_500, 1_300_000, "ncclDevKernel_AllReduce"),
    (0, 7, 1_020_000, 1_020_001, "tiny"),
    // These two overlap in one stream, as nodes of a graph replay may.
    (0, 8, 1_100_000, 1_200_000, "left"),
    (0, 8, 1_150_000, 1_250_000, "right"),
];
/// Device, stream, start, end, CUPTI's copy kind, bytes.
const COPIES: [(u32, u32, u64, u64, u32, u64); 2] =
    [(0, 7, 1_030_000, 1_040_000, 1, 4096), (1, 15, 1_400_000, 1_500_000, 8, 300 << 20)];
const SET: (u32, u32, u64, u64, u64) = (1, 15, 1_600_000, 1_600_800, 64);

fn write_recording(path: &Path) {
    let database = Connection::open(path).expect("create the recording");
    database
        .execute_batch(
            "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
             CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER,
                streamId INTEGER, demangledName INTEGER, gridX INTEGER, gridY INTEGER, gridZ INTEGER,
                blockX INTEGER, blockY INTEGER, blockZ INTEGER);
             CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, deviceId INTEGER,
                streamId INTEGER, copyKind INTEGER, bytes INTEGER);
             CREATE TABLE CUPTI_ACTIVITY_KIND_MEMSET (start INTEGER, end INTEGER, deviceId INTEGER,
                streamId INTEGER, bytes INTEGER);",
        )
        .expect("create the tables");
    for (id, (device, stream, start, end, name)) in (1..).zip(KERNELS) {
        database
            .execute("INSERT INTO StringIds VALUES (?1, ?2)", (id, name))
            .expect("insert a name");
        database
            .execute(
                "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?1, ?2, ?3, ?4, ?5, 1, 1, 1, 32, 1, 1)",
                (start.cast_signed(), end.cast_signed(), device, stream, id),
            )
            .expect("insert a kernel");
    }
    for (device, stream, start, end, kind, bytes) in COPIES {
        database
            .execute(
                "INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (start.cast_signed(), end.cast_signed(), device, stream, kind, bytes.cast_signed()),
            )
            .expect("insert a copy");
    }
    let (device, stream, start, end, bytes) = SET;
    database
        .execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_MEMSET VALUES (?1, ?2, ?3, ?4, ?5)",
            (start.cast_signed(), end.cast_signed(), device, stream, bytes.cast_signed()),
        )
        .expect("insert a set");
}

#[test]
fn every_piece_of_work_has_its_recorded_times() {
    let folder = scratch("replay");
    let recording = folder.join("recording.sqlite");
    write_recording(&recording);
    let truth = folder.join("truth");
    std::fs::create_dir(&truth).expect("create the folder for the truth");
    let text = |path: &Path| path.to_str().expect("a path of ASCII").to_owned();
    run(
        env!("CARGO_BIN_EXE_gpu-replay"),
        &[&text(&recording)],
        &[("WARPLENS_SIM_DEVICES", "2"), ("WARPLENS_SIM_TRUTH", &text(&truth))],
    );
    let file = std::fs::read_dir(&truth).expect("list").next().expect("a truth file");
    let truth = Truth::read(&file.expect("an entry").path()).expect("a readable truth file");

    let begin = truth.works.iter().map(|work| work.start_ns).min().expect("some work");
    let mut seen: Vec<_> = truth
        .works
        .iter()
        .map(|work| {
            let name = truth.names.get(&work.name).cloned().unwrap_or_default();
            let bytes = if work.kind == WorkKind::Kernel { 0 } else { work.bytes };
            (work.device, work.start_ns - begin, work.end_ns - begin, name, bytes)
        })
        .collect();
    let offset = |time: u64| time - KERNELS[0].2;
    let kernels = KERNELS.map(|(device, _, start, end, name)| {
        (device, offset(start), offset(end), name.to_owned(), 0)
    });
    let copies = COPIES.map(|(device, _, start, end, _, bytes)| {
        (device, offset(start), offset(end), String::new(), bytes)
    });
    let set = (SET.0, offset(SET.2), offset(SET.3), String::new(), SET.4);
    let mut expected: Vec<_> = kernels.into_iter().chain(copies).chain([set]).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    drop(std::fs::remove_dir_all(folder));
}
