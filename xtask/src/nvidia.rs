//! NVIDIA's own libraries for the tier that runs the shim under them: CUPTI and the runtime from
//! their Python wheels, the driver library from Debian. Fetched as a user would, into a cache folder
//! outside the repository; nothing of them is ever stored in it.
//!
//! ```text
//! CACHE/12/libcupti.so.12, libcudart.so.12
//! CACHE/13/libcupti.so.13, libcudart.so.13
//! CACHE/driver/libcuda.so.1
//! ```

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::setup::Apt;
use crate::workspace::Workspace;

/// The driver's device of control.
const NODE: &str = "/dev/nvidiactl";

/// There is a GPU with its driver. The device's name alone says nothing: NVIDIA's library makes it, where root runs
/// it, without any.
pub(crate) fn has_gpu() -> bool {
    fs::File::open(NODE).is_ok()
}

const LIMIT: Duration = Duration::from_mins(5);

/// One CUDA major: the wheels that hold its libraries.
const MAJORS: [(&str, [&str; 2]); 2] = [
    ("12", ["nvidia-cuda-cupti-cu12==12.9.79", "nvidia-cuda-runtime-cu12==12.9.79"]),
    ("13", ["nvidia-cuda-cupti==13.0.85", "nvidia-cuda-runtime==13.0.96"]),
];

/// Makes sure the libraries are in the cache; the cache folder.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let cache = cache()?;
    for (major, wheels) in &MAJORS {
        let place = cache.join(major);
        if !place.join(format!("libcupti.so.{major}")).is_file() {
            wheel_libraries(workspace, wheels, &place)?;
        }
    }
    let driver = cache.join("driver");
    if !driver.join("libcuda.so.1").exists() {
        driver_library(workspace, &driver)?;
    }
    Ok(cache)
}

/// `WARPLENS_NVIDIA_DIR`, or a folder among the user's caches.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("WARPLENS_NVIDIA_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let caches = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(caches.join("warplens/nvidia"))
}

fn wheel_libraries(workspace: &Workspace, wheels: &[&str], place: &Path) -> Result<()> {
    let scratch = scratch(workspace, "wheels")?;
    let mut download = Command::new("python3");
    download
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&scratch)
        .args(wheels);
    child::run(&mut download, "pip download of NVIDIA's wheels", LIMIT)?;
    for wheel in files(&scratch)? {
        let mut unpack = Command::new("python3");
        unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(scratch.join("tree"));
        child::run(&mut unpack, &format!("unpack {}", wheel.display()), LIMIT)?;
    }
    copy_libraries(&scratch.join("tree"), place)?;
    fs::remove_dir_all(&scratch).with_context(|| format!("clear {}", scratch.display()))
}

/// Debian's `libcuda1`, from the non-free part of the release this machine runs.
fn driver_library(workspace: &Workspace, place: &Path) -> Result<()> {
    let scratch = scratch(workspace, "libcuda1")?;
    let apt = Apt::open(&scratch, &[format!("{} non-free", codename()?)])?;
    let version = apt
        .versions("libcuda1")?
        .into_iter()
        .next()
        .context("this Debian offers no libcuda1 in non-free")?;
    let tree = apt.unpack("libcuda1", &version)?;
    copy_libraries(&tree, place)?;
    fs::remove_dir_all(&scratch).with_context(|| format!("clear {}", scratch.display()))?;
    // The package has the library under its version; the loader asks for the soname.
    let library = files(place)?
        .into_iter()
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcuda.so."))
        })
        .context("libcuda1 holds no libcuda.so")?;
    let soname = place.join("libcuda.so.1");
    if !soname.exists() {
        fs::copy(&library, &soname)
            .with_context(|| format!("copy {} to {}", library.display(), soname.display()))?;
    }
    Ok(())
}

/// Copies the shared libraries anywhere below `tree` into `place`, all or none.
fn copy_libraries(tree: &Path, place: &Path) -> Result<()> {
    let partial = place.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("clear {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
    let mut folders = vec![tree.to_owned()];
    let mut copied = 0;
    while let Some(folder) = folders.pop() {
        for path in files(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains(".so") && path.is_file() {
                fs::copy(&path, partial.join(&name))
                    .with_context(|| format!("copy {}", path.display()))?;
                copied += 1;
            }
        }
    }
    if copied == 0 {
        bail!("no shared library below {}", tree.display());
    }
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("clear {}", place.display()))?;
    }
    fs::rename(&partial, place).with_context(|| format!("put {} in place", place.display()))
}

fn scratch(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.target.join("setup").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

/// Such as `bookworm`.
fn codename() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    if !text.lines().any(|line| line == "ID=debian") {
        bail!("libcuda1 is taken from Debian, and this is not Debian");
    }
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(str::to_owned)
        .context("/etc/os-release names no VERSION_CODENAME")
}
