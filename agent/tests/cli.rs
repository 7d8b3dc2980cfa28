//! The program from outside: exit codes, one-line errors, streams.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;

fn warplens(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warplens"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The command fails with `code` and says exactly one line, which starts with `expected`.
fn check_error(arguments: &[&str], code: i32, expected: &str) {
    let output = warplens(arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [&["--help"][..], &["--version"], &["analyze", "--help"]] {
        let output = warplens(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
    assert!(text(&warplens(&["--version"]).stdout).starts_with("warplens "));
    let help = text(&warplens(&["--help"]).stdout);
    assert!(!help.contains("probe-cuda") && help.contains("leaks"), "{help}");
}

#[test]
fn a_senseless_command_line_is_usage() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["analyze"],
        &["analyze", "x", "--fail-on", "sometimes"],
        &["record", "--pid", "none"],
        &["record", "--pid", "1", "--all"],
        &["record", "--all", "-d", "0s"],
        &["run"],
        &["leaks"],
        &["leaks", "--pid", "1", "--fail-on", "2"],
    ] {
        let output = warplens(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn bad_files_are_one_line_each() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let missing = place.path().join("missing").to_str().unwrap().to_owned();
    check_error(&["analyze", &missing], 1, &format!("warplens: open {missing}: "));
    let empty = file("empty.warplens", b"");
    check_error(&["analyze", &empty], 1, &format!("warplens: {empty}: empty file (0 bytes): "));
    let json = file("report.json", b"{\"schema\": \"warplens.report/v1\"}");
    check_error(
        &["analyze", &json],
        1,
        &format!("warplens: {json}: JSON without `traceEvents`: not a trace; "),
    );
    let json = file("cut.json", b"{\"traceEvents\": [{\"ph\"");
    check_error(
        &["analyze", &json],
        1,
        &format!("warplens: {json}: byte 22: the trace ends before its end: nothing could be read"),
    );
    let garbage = file("garbage.json", b"{\"traceEvents\": [\x01\x02");
    check_error(
        &["analyze", &garbage],
        1,
        &format!("warplens: {garbage}: byte 17: `\\x01` where JSON has something else: "),
    );
    let packed = file("garbage.gz", b"\x1f\x8b\x08\0rubbish");
    check_error(
        &["analyze", &packed],
        1,
        &format!("warplens: {packed}: byte 0: gzip data that holds no JSON: "),
    );
    let text = file("trace.sqlite", b"hello");
    check_error(
        &["analyze", &text],
        1,
        &format!("warplens: {text}: byte 0: named .sqlite but not a SQLite database"),
    );
    let version = wire::WIRE_VERSION.to_le_bytes();
    let head: [&[u8]; 3] = [b"WARPREC\n\x01\0\0\0", &version, b"\x28\xb5"];
    let cut = file("cut.warplens", &head.concat());
    check_error(&["analyze", &cut], 1, &format!("warplens: {cut}: byte 18: truncated"));
    let damaged = file("damaged.sqlite", &[b"SQLite format 3\0".as_slice(), &[7; 4000]].concat());
    check_error(
        &["analyze", &damaged],
        1,
        &format!("warplens: open {damaged} as a SQLite database"),
    );
    let folder = place.path().join("nothing");
    fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    check_error(&["analyze", folder], 1, &format!("warplens: {folder}: no recording.warplens"));
}

#[test]
fn databases_that_are_no_traces_are_told() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("x.sqlite");
    let name = path.to_str().unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    check_error(&["analyze", name], 1, &format!("warplens: {name}: no CUDA activity: "));
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, deviceId INTEGER)")
        .unwrap();
    check_error(
        &["analyze", name],
        1,
        &format!("warplens: {name}: table CUPTI_ACTIVITY_KIND_KERNEL has no column `end`"),
    );
}

/// An export of an old version: few columns, a kernel and a copy that overlap, a bad row.
fn small_trace(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
             INSERT INTO StringIds VALUES (1, 'ncclDevKernel_AllReduce_Sum_bf16');
             CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL
                 (start INTEGER, end INTEGER, deviceId INTEGER, shortName INTEGER);
             INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (100, 200, 0, 1), (500, 600, 0, 77);
             CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, deviceId INTEGER);
             INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (150, 250, 0);",
        )
        .unwrap();
}

#[test]
fn an_old_export_with_few_columns_is_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("old.sqlite");
    small_trace(&path);
    let output = warplens(&["analyze", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let device = &report["devices"][0];
    assert_eq!(device["window"], serde_json::json!({"start_ns": 100, "end_ns": 600}));
    assert_eq!(device["kernels"], 2);
    assert_eq!(device["exclusive_ns"]["communication"], 100);
    assert_eq!(device["exclusive_ns"]["idle"], 250);
    let names: Vec<&str> = device["kernel_totals"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|total| total["name"].as_str())
        .collect();
    assert!(names.contains(&"[string 77 is not in the trace]"), "{names:?}");
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "one verdict: {said}");
    assert!(said.contains("Next: `warplens"), "{said}");
}

#[test]
fn findings_decide_the_exit_only_when_asked() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("old.sqlite");
    small_trace(&path);
    let name = path.to_str().unwrap();
    assert_eq!(warplens(&["analyze", name]).status.code(), Some(0));
    assert_eq!(warplens(&["analyze", name, "--fail-on", "critical"]).status.code(), Some(0));
    // Half of the kernel time is in a kernel no rule knows.
    assert_eq!(warplens(&["analyze", name, "--fail-on", "warning"]).status.code(), Some(3));
}

#[test]
fn two_inputs_stand_beside_each_other() {
    let place = tempfile::tempdir().unwrap();
    small_trace(&place.path().join("rank0.sqlite"));
    small_trace(&place.path().join("rank1.sqlite"));
    let output = warplens(&["analyze", place.path().to_str().unwrap(), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown: Vec<_> = report["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device"].as_u64().unwrap(), device["kernels"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [(0, 2), (1, 2)]);
    assert_eq!(report["workers"][1]["device"], 1);
}

#[test]
fn gaps_are_listed_from_traces_and_reports() {
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("old.sqlite");
    small_trace(&trace);
    let trace = trace.to_str().unwrap();
    let report = place.path().join("report.json");
    fs::write(&report, warplens(&["analyze", trace, "--json"]).stdout).unwrap();
    for file in [trace, report.to_str().unwrap()] {
        let output = warplens(&["gaps", file]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
        assert!(stdout.contains("idle 250 ns of 500 ns (50.0 %)"), "{stdout}");
        assert!(stdout.lines().last().unwrap().contains("Next: `warplens "), "{stdout}");
        let output = warplens(&["gaps", file, "--json"]);
        for line in text(&output.stdout).lines() {
            let gap: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(gap["device"], 0, "{gap}");
        }
        assert_eq!(text(&output.stderr).lines().count(), 1, "the verdict");
    }
    assert_eq!(warplens(&["gaps", trace, "--cause", "boredom"]).status.code(), Some(2));
    let missing = place.path().join("missing").to_str().unwrap().to_owned();
    check_error(&["gaps", &missing], 1, &format!("warplens: open {missing}: "));
}

#[test]
fn diff_compares_traces_folders_and_reports() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("before");
    fs::create_dir(&folder).unwrap();
    let trace = place.path().join("after.sqlite");
    small_trace(&trace);
    let (folder_name, trace) = (folder.to_str().unwrap(), trace.to_str().unwrap());
    check_error(
        &["diff", folder_name, trace],
        1,
        &format!("warplens: {folder_name}: no recording.warplens"),
    );
    // A folder that holds a report and nothing better.
    let report = warplens(&["analyze", trace, "--json"]).stdout;
    fs::write(folder.join("report.json"), report).unwrap();
    let output = warplens(&["diff", folder_name, trace]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(stdout.contains("ncclDevKernel_AllReduce_Sum_bf16"), "{stdout}");
    assert!(stdout.lines().last().unwrap().contains("was not tested"), "{stdout}");
    // What could not be told is a finding for whoever asks for all of them.
    for (least, code) in [("info", 3), ("warning", 0)] {
        let output = warplens(&["diff", folder_name, trace, "--fail-on", least]);
        assert_eq!(output.status.code(), Some(code), "{least}");
    }
    let output = warplens(&["diff", folder_name, trace, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["tested"], false);
    let changes = json["changes"].as_array().unwrap();
    assert!(changes.len() > 5 && changes.iter().all(|change| change["share"]["change"] == 0.0));
    assert_eq!(warplens(&["diff", trace]).status.code(), Some(2));
}

#[test]
fn no_report_makes_gaps_or_diff_panic() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("report.json");
    let name = path.to_str().unwrap();
    let most = u64::MAX;
    let texts = [
        "{\"schema\": \"warplens.report/v1\"}".to_owned(),
        format!(
            r#"{{"schema": "warplens.report/v1", "devices": [{{"window_ns": {most}, "idle_gap_count": {most},
            "exclusive_ns": {{"gemm": {most}, "idle": {most}, "unobserved": {most}}},
            "idle_cause_ns": {{"sync": {most}, "\u0000": {most}}}, "kinds_ns": {{"": {{"": {most}}}}},
            "kernel_totals": [{{"name": "", "count": {most}, "total_ns": {most}}}, {{"name": "", "count": {most}}}],
            "ranges": [{{"total_ns": {most}, "kernels": {most}}}],
            "idle_gaps": [{{"start_ns": {most}, "end_ns": 0, "duration_ns": {most}, "sync": {{"start_ns": {most}}},
              "parts": [{{"cause": "x", "start_ns": {most}}}, {{"end_ns": {most}}}, {{"end_ns": {most}}}],
              "launch": {{"enter_ns": {most}}}, "stack": []}}]}}],
            "steps": [{{"phases": {{"decode": {{"count": {most}, "total_ns": {most}}}}}}},
              {{"phases": {{"decode": {{"count": {most}, "total_ns": {most}}}}}}}]}}"#
        ),
    ];
    for text_of_report in texts {
        fs::write(&path, &text_of_report).unwrap();
        for arguments in
            [&["gaps", name][..], &["diff", name, name], &["diff", name, name, "--json"]]
        {
            let output = warplens(arguments);
            let stderr = text(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{arguments:?} of {text_of_report}: {stderr}"
            );
        }
    }
}

#[test]
fn an_unwritable_folder_is_one_line_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("old.sqlite");
    small_trace(&trace);
    let file = place.path().join("file");
    fs::write(&file, b"").unwrap();
    for target in [file.clone(), file.join("below"), Path::new("/proc/nowhere").to_owned()] {
        let target = target.to_str().unwrap();
        check_error(
            &["analyze", trace.to_str().unwrap(), "-o", target],
            1,
            &format!("warplens: write to output folder {target}: "),
        );
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn classify_answers_line_by_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("classify")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"ncclDevKernel_AllReduce_Sum_bf16\r\n\nno such kernel\nlast without line feed")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        text(&output.stdout),
        "ncclDevKernel_AllReduce_Sum_bf16\tcommunication\tnccl\n\
         no such kernel\tother\tother\n\
         last without line feed\tother\tother\n"
    );
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("classify")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    for _ in 0..20_000 {
        // The program stops reading once nobody listens; then this pipe breaks, too.
        if stdin.write_all(b"some_kernel_name\n").is_err() {
            break;
        }
    }
    drop(stdin);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn doctor_answers_without_a_gpu() {
    let output = warplens(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    for name in ["kernel", "capabilities", "CUDA driver", "CUPTI", "shim"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for check in answer["checks"].as_array().unwrap() {
        let missing = check["state"] == "missing";
        assert_eq!(check["advice"].is_string(), missing, "{check}");
    }
}
