//! Checks of the simulated CUDA: where its libraries are, and how to run a program on them.

#![expect(clippy::expect_used, reason = "failing loudly is what a test harness is for")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Crate and the file name of the library it simulates.
const LIBRARIES: [(&str, &str); 5] = [
    ("sim-driver", "libcuda.so.1"),
    ("sim-runtime-12", "libcudart.so.12"),
    ("sim-runtime-13", "libcudart.so.13"),
    ("sim-cupti-12", "libcupti.so.12"),
    ("sim-cupti-13", "libcupti.so.13"),
];

/// A library to inject.
const INJECTED: (&str, &str) = ("sim-injected", "libsim_injected.so");

/// A folder with the simulated libraries under their real names, built and copied once per process.
pub fn library_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let artifacts = artifacts();
        build(&artifacts);
        let folder = artifacts.join("sim-check-libraries");
        std::fs::create_dir_all(&folder).expect("create the folder for the libraries");
        for (package, name) in LIBRARIES.into_iter().chain([INJECTED]) {
            let built = artifacts.join(format!("lib{}.so", package.replace('-', "_")));
            // Renamed into place, so that a process that has the old file mapped keeps it.
            let fresh = folder.join(format!("{name}.{}", std::process::id()));
            std::fs::copy(&built, &fresh).expect("copy a simulated library");
            std::fs::rename(&fresh, folder.join(name)).expect("rename a simulated library");
        }
        folder
    })
}

/// The folder cargo built this test into: `target/PROFILE`.
fn artifacts() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let deps = test.parent().expect("a test lies in a folder");
    if deps.ends_with("deps") { deps.parent().unwrap_or(deps).to_owned() } else { deps.to_owned() }
}

/// cdylibs are no dependencies that cargo would build for a test, so it is asked to, with the profile and
/// the target folder this test was built with.
fn build(artifacts: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]);
    for (package, _) in LIBRARIES.into_iter().chain([INJECTED]) {
        cargo.args(["--package", package]);
    }
    if artifacts.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.env("CARGO_TARGET_DIR", artifacts.parent().unwrap_or(artifacts));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(
        cargo.status().expect("run cargo").success(),
        "building the simulated libraries failed"
    );
}

/// Runs a program on the simulated libraries, with a clean environment of these settings; panics with
/// its output when it fails.
pub fn run(program: &str, arguments: &[&str], settings: &[(&str, &str)]) {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_LIBRARY_PATH", library_folder());
    for key in ["CUDA_VISIBLE_DEVICES", "CUDA_INJECTION64_PATH"] {
        command.env_remove(key);
    }
    let output = command.envs(settings.iter().copied()).output().expect("run the program");
    assert!(
        output.status.success(),
        "{program} {arguments:?} with {settings:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A new, empty folder for what a program writes.
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sim-check-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("create a scratch folder");
    folder
}
