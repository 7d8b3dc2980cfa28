//! `analyze` of an Nsight Systems report, with a script in the place of `nsys`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    /// A folder with a report of no meaning and `nsys` as a shell script; `None`: no `nsys`.
    fn new(script: Option<&str>) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.path("report.nsys-rep"), b"\x00 only nsys reads this").unwrap();
        fs::create_dir(place.path("bin")).unwrap();
        if let Some(script) = script {
            let nsys = place.path("bin/nsys");
            fs::write(&nsys, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&nsys, fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn analyze(&self) -> Output {
        fs::create_dir_all(self.path("tmp")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_warplens"))
            .arg("analyze")
            .arg(self.path("report.nsys-rep"))
            .arg("--json")
            .env("PATH", self.path("bin"))
            .env("TMPDIR", self.path("tmp"))
            .env("EXPORT", self.path("export.sqlite"))
            .output()
            .unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An export with one kernel of 5 ns.
fn write_export(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER);
            INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 15, 3);",
        )
        .unwrap();
}

#[test]
fn a_report_is_exported_and_the_export_removed() {
    // Takes only the arguments nsys takes, and writes where it is told to.
    let place = Place::new(Some(
        "[ \"$1 $2 $3 $4 $5 $6\" = 'export --type sqlite --force-overwrite true --output' ] || exit 9
        case \"$8\" in *report.nsys-rep) /bin/cp \"$EXPORT\" \"$7\";; *) exit 8;; esac",
    ));
    write_export(&place.path("export.sqlite"));
    let output = place.analyze();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["devices"][0]["device"], 3);
    assert_eq!(report["devices"][0]["kernels"], 1);
    assert_eq!(report["devices"][0]["window_ns"], 5);
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0, "the export is gone");
}

#[test]
fn without_nsys_the_command_to_run_is_printed() {
    let place = Place::new(None);
    let output = place.analyze();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let expected = format!(
        "run `nsys export --type sqlite --output {} {}`",
        place.path("report.sqlite").display(),
        place.path("report.nsys-rep").display()
    );
    assert!(said(&output).contains(&expected), "{}", said(&output));
}

#[test]
fn what_nsys_says_about_its_failure_is_shown() {
    for script in [
        "echo 'Importer error: report is newer than this version' >&2; exit 3",
        "echo 'Importer error: report is newer than this version'; exit 3",
        // Success without an export is none.
        "echo 'Importer error: report is newer than this version'; exit 0",
    ] {
        let place = Place::new(Some(script));
        let output = place.analyze();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("report is newer than this version"), "{}", said(&output));
        assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0, "nothing is left");
    }
}
