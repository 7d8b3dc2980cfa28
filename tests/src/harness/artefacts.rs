//! Where the built parts are: named by environment variables that `cargo xtask test` sets.

use std::env;
use std::path::{Path, PathBuf};

/// Something a test needs that is not there; the text says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// A file below `tests/programs`.
pub fn program(name: &str) -> PathBuf {
    repository().join("tests/programs").join(name)
}

/// The table of known kernels.
pub fn kernel_table() -> PathBuf {
    program("kernels.tsv")
}

/// The agent: `WARPLENS_BIN`.
///
/// # Errors
/// When it is not set or not there.
pub fn agent() -> Result<PathBuf, Missing> {
    named("WARPLENS_BIN", "the agent; `cargo xtask build` makes it")
}

/// The shim: `WARPLENS_SHIM`.
///
/// # Errors
/// When it is not set or not there.
pub fn shim() -> Result<PathBuf, Missing> {
    named("WARPLENS_SHIM", "the shim; `cargo xtask shim` makes it")
}

/// The folder of the simulated CUDA: `WARPLENS_SIM_DIR`.
///
/// # Errors
/// When it is not set or holds no `libcuda.so.1`.
pub fn simulator() -> Result<PathBuf, Missing> {
    let folder =
        named("WARPLENS_SIM_DIR", "the simulated CUDA's folder; `cargo xtask sim` makes it")?;
    if folder.join("libcuda.so.1").exists() {
        Ok(folder)
    } else {
        Err(Missing(format!("WARPLENS_SIM_DIR={}: no libcuda.so.1 in it", folder.display())))
    }
}

/// The second, foreign implementation of libcupti: `WARPLENS_FOREIGN_CUPTI`.
///
/// # Errors
/// When it is not set or not there.
pub fn foreign_cupti() -> Result<PathBuf, Missing> {
    named("WARPLENS_FOREIGN_CUPTI", "the foreign libcupti; `cargo xtask sim` makes it")
}

/// The folder with NVIDIA's own libraries: `WARPLENS_NVIDIA_DIR`.
///
/// # Errors
/// When it is not set or not there.
pub fn nvidia() -> Result<PathBuf, Missing> {
    named("WARPLENS_NVIDIA_DIR", "NVIDIA's libraries; `cargo xtask test` fetches them if it can")
}

/// The Rust worker: `WARPLENS_CUDA_WORKER`, else beside the test's own binary.
///
/// # Errors
/// When it was not built.
pub fn cuda_worker() -> Result<PathBuf, Missing> {
    if env::var_os("WARPLENS_CUDA_WORKER").is_some() {
        return named("WARPLENS_CUDA_WORKER", "the CUDA worker");
    }
    beside("cuda-worker", "cargo build -p cuda-worker")
}

/// `py-spy`: `WARPLENS_PY_SPY`.
///
/// # Errors
/// When it is not set or not there.
pub fn py_spy() -> Result<PathBuf, Missing> {
    named("WARPLENS_PY_SPY", "py-spy; `cargo xtask setup` installs it")
}

/// A Python that has Kubernetes' schemas: `WARPLENS_KUBERNETES_PYTHON`.
///
/// # Errors
/// When it is not set or not there.
pub fn kubernetes_python() -> Result<PathBuf, Missing> {
    const VARIABLE: &str = "WARPLENS_KUBERNETES_PYTHON";
    named(
        VARIABLE,
        "a Python with kubernetes-validate; `cargo xtask test --tier deploy` installs it",
    )?;
    // As it is: what the link in an environment leads to is not of that environment.
    Ok(env::var_os(VARIABLE).map(PathBuf::from).unwrap_or_default())
}

/// The script that runs a real vLLM server: `WARPLENS_REAL_VLLM`.
///
/// # Errors
/// When it is not set or not there.
pub fn real_vllm() -> Result<PathBuf, Missing> {
    named("WARPLENS_REAL_VLLM", "the script of a real vLLM server, `real-vllm`")
}

/// The judge, beside the test's own binary.
///
/// # Errors
/// When it was not built.
pub fn judge() -> Result<PathBuf, Missing> {
    beside("sim-judge", "cargo build -p warplens-tests")
}

fn beside(name: &str, command: &str) -> Result<PathBuf, Missing> {
    let own =
        env::current_exe().map_err(|error| Missing(format!("find the test's path: {error}")))?;
    // target/PROFILE/deps/it-HASH or target/PROFILE/sim-judge
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Missing(format!("`{name}` is not built: run `{command}`")))
}

fn named(variable: &str, what: &str) -> Result<PathBuf, Missing> {
    let Some(value) = env::var_os(variable) else {
        return Err(Missing(format!("{variable} is not set; it names {what}")));
    };
    let path = PathBuf::from(value);
    if path.exists() {
        // Children run in folders of their own.
        path.canonicalize()
            .map_err(|error| Missing(format!("{variable}={}: {error}", path.display())))
    } else {
        Err(Missing(format!("{variable}={}: nothing there; it names {what}", path.display())))
    }
}

/// The first file of this name below `folder`, at most 8 levels deep.
pub fn find_below(folder: &Path, name: &str) -> Option<PathBuf> {
    find(folder, name, 8)
}

fn find(folder: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(path);
        }
    }
    folders.sort();
    if depth == 0 {
        return None;
    }
    folders.iter().find_map(|folder| find(folder, name, depth - 1))
}
