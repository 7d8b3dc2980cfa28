//! Logs that a container runtime keeps: `pods/NAMESPACE_POD_UID/CONTAINER/N.log` below the folder of logs, where N counts
//! restarts, and `containers/POD_NAMESPACE_CONTAINER-ID.log`, a link to the latest of them, whose name tells the container.
//! Nothing is followed: of the link only the text is read.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::proc::Container;

/// Names looked at in one folder; a node has some hundred containers.
const NAMES_MAX: usize = 16 << 10;

/// The folder of one container's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodLog {
    /// `pods`.
    base: PathBuf,
    /// Below it: the pod's folder and the container's in it.
    below: PathBuf,
}

/// The logs of a container, as far as its id or its pod's tell them.
pub(super) fn find(folder: &Path, container: &Container) -> Option<PodLog> {
    let base = folder.join("pods");
    let below = by_id(&folder.join("containers"), &container.id)
        .or_else(|| only_one(&base, container.pod.as_deref()?))?;
    Some(PodLog { base, below })
}

impl PodLog {
    pub(super) fn name(&self) -> String {
        self.base.join(&self.below).display().to_string()
    }

    /// The part that is being written.
    pub(super) fn open(&self) -> io::Result<File> {
        let restart =
            |name: &OsString| -> Option<u64> { name.to_str()?.strip_suffix(".log")?.parse().ok() };
        let folder = self.within(&self.below, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let path =
            PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder)));
        let latest = names(&path).into_iter().filter_map(|name| restart(&name)).max();
        let latest = latest.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let file = self.below.join(format!("{latest}.log"));
        let file = self.within(&file, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(file)
    }

    fn within(&self, below: &Path, flags: OFlags) -> io::Result<File> {
        let base =
            open(&self.base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let found = openat2(&base, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        Ok(File::from(found))
    }
}

/// By the name of the link to it.
fn by_id(containers: &Path, id: &str) -> Option<PathBuf> {
    let end = format!("-{id}.log");
    let link = names(containers)
        .into_iter()
        .find(|name| name.to_str().is_some_and(|name| name.ends_with(&end)))?;
    let target = fs::read_link(containers.join(link)).ok()?;
    // `/var/log/pods/POD/CONTAINER/N.log`, by whatever way there.
    let mut parts = target.components().rev();
    let _log = parts.next()?;
    let (container, pod) = (normal(parts.next()?)?, normal(parts.next()?)?);
    (parts.next() == Some(Component::Normal(OsStr::new("pods"))))
        .then(|| Path::new(pod).join(container))
}

fn normal(part: Component<'_>) -> Option<&OsStr> {
    match part {
        Component::Normal(name) => Some(name),
        _ => None,
    }
}

/// Of a pod that has one container.
fn only_one(pods: &Path, uid: &str) -> Option<PathBuf> {
    let end = format!("_{uid}");
    let pod = names(pods)
        .into_iter()
        .find(|name| name.to_str().is_some_and(|name| name.ends_with(&end)))?;
    let containers = names(&pods.join(&pod));
    match containers.as_slice() {
        [only] => Some(Path::new(&pod).join(only)),
        _ => None,
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.take(NAMES_MAX).map(|entry| entry.file_name()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    const UID: &str = "1a2b3c4d-0000-4111-8222-0123456789ab";

    fn container(pod: Option<&str>) -> Container {
        Container { id: "c".repeat(64), runtime: "containerd", pod: pod.map(str::to_owned) }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let below = PathBuf::from(format!("serving_llm-0_{UID}/vllm"));
        let logs = folder.path().join("pods").join(&below);
        fs::create_dir_all(&logs).unwrap();
        fs::create_dir(folder.path().join("containers")).unwrap();
        for (restart, text) in [(2, "two"), (9, "nine"), (10, "ten")] {
            fs::write(logs.join(format!("{restart}.log")), text).unwrap();
        }
        fs::write(logs.join("9.log.20260101-000000"), "rotated").unwrap();
        (folder, below)
    }

    fn text(log: &PodLog) -> io::Result<String> {
        let mut text = String::new();
        log.open()?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn the_container_by_its_id_and_the_latest_restart() {
        let (folder, below) = folder();
        let name = format!("llm-0_serving_vllm-{}.log", "c".repeat(64));
        let target = Path::new("/var/log/pods").join(&below).join("10.log");
        symlink(target, folder.path().join("containers").join(name)).unwrap();
        let log = find(folder.path(), &container(None)).unwrap();
        assert_eq!(text(&log).unwrap(), "ten");
        assert_eq!(log.below, below);
    }

    #[test]
    fn the_only_container_of_a_pod() {
        let (folder, below) = folder();
        let log = find(folder.path(), &container(Some(UID))).unwrap();
        assert_eq!(text(&log).unwrap(), "ten");
        // With a second one it is not known which.
        let pod = folder.path().join("pods").join(below.parent().unwrap());
        fs::create_dir(pod.join("sidecar")).unwrap();
        assert_eq!(find(folder.path(), &container(Some(UID))), None);
        assert_eq!(find(folder.path(), &container(None)), None);
    }

    #[test]
    fn links_and_pipes_are_not_read() {
        let (folder, below) = folder();
        let log = find(folder.path(), &container(Some(UID))).unwrap();
        let logs = folder.path().join("pods").join(&below);
        symlink("/etc/passwd", logs.join("11.log")).unwrap();
        assert!(text(&log).is_err(), "a link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            logs.join("12.log"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(text(&log).is_err(), "a pipe");
        let elsewhere = PodLog { below: PathBuf::from("../containers"), ..log };
        assert!(text(&elsewhere).is_err(), "outside");
    }
}
