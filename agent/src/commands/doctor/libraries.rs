//! Where CUPTI and the shim are. The shim looks for CUPTI in the worker, next to its libcudart; the
//! places named here are those of this machine, which a container may not share.

use std::path::{Path, PathBuf};

use super::Check;
use crate::commands::run::{SHIM_FILE, shim_path};

pub(super) fn checks() -> Vec<Check> {
    let cupti = cupti_places();
    vec![
        match cupti.as_slice() {
            [] => Check::missing(
                "CUPTI",
                "no libcupti.so in the usual places",
                "install it in the worker's environment: `pip install nvidia-cuda-cupti-cu12`",
            ),
            places => Check::ok("CUPTI", list(places)),
        },
        match shim_path() {
            Some(place) => Check::ok("shim", place.display().to_string()),
            None => Check::missing(
                "shim",
                format!("{SHIM_FILE} is neither beside this program nor named by WARPLENS_SHIM"),
                "build it with `cargo xtask shim` and set WARPLENS_SHIM to its path",
            ),
        },
    ]
}

fn cupti_places() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|paths| std::env::split_paths(&paths).collect())
        .unwrap_or_default();
    let cuda =
        ["lib64", "extras/CUPTI/lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];
    for home in matching(Path::new("/usr/local"), "cuda") {
        folders.extend(cuda.iter().map(|folder| home.join(folder)));
    }
    folders.extend(
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
            .map(PathBuf::from),
    );
    for root in ["/usr/lib", "/usr/local/lib"] {
        for python in matching(Path::new(root), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                let nvidia = python.join(packages).join("nvidia");
                folders.push(nvidia.join("cuda_cupti/lib"));
                folders.push(nvidia.join("cu13/lib"));
            }
        }
    }
    let mut places: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| matching(folder, "libcupti.so"))
        // A folder and the links to it are one place.
        .filter_map(|place| place.canonicalize().ok())
        .collect();
    places.sort();
    places.dedup();
    places
}

/// Entries of `folder` whose name starts with `prefix`, by name.
fn matching(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn list(places: &[PathBuf]) -> String {
    let texts: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    texts.join(", ")
}
