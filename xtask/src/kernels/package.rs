//! Which package of Debian holds a kernel of the wanted series, and what is kept of it: the image, and the modules
//! that mount the file system of the machine around.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::modules;
use crate::child;
use crate::setup::Apt;

/// Debian's releases and what is offered beside them; no one of them has all kernels.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];
/// The newest of all.
pub(crate) const NEWEST: &str = "newest";
const PREFIX: &str = "linux-image-";
/// The kernel for servers and desktops; others have more behind the version (`-cloud-amd64`, `-rt-amd64`).
const SUFFIX: &str = "-amd64";
/// What mounts the file system of the machine around; the rest follows from what they need.
const MODULES: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];
const FACTS: &str = "package";
const XZ_LIMIT: Duration = Duration::from_mins(1);

/// A kernel that can be booted, in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    folder: PathBuf,
    /// Such as `linux-image-6.1.0-56-amd64=6.1.192-2`.
    pub package: String,
    /// In the order in which they go in.
    pub modules: Vec<String>,
}

impl Kernel {
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(crate) fn module(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.ko"))
    }

    /// What an earlier run kept.
    fn kept(folder: &Path) -> Option<Self> {
        let facts = fs::read_to_string(folder.join(FACTS)).ok()?;
        let mut lines = facts.lines().map(str::to_owned);
        let package = lines.next()?;
        Some(Self { folder: folder.to_owned(), package, modules: lines.collect() })
    }
}

/// Debian's packages, in a folder of our own.
#[derive(Debug)]
pub(crate) struct Kernels {
    folder: PathBuf,
    apt: Apt,
    names: Vec<String>,
}

impl Kernels {
    /// Reads Debian's lists.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let apt = Apt::open(&folder.join("apt"), &SUITES.map(str::to_owned))?;
        let names = apt.names("linux-")?;
        Ok(Self { folder: folder.to_owned(), apt, names })
    }

    /// The latest kernel of a series such as `6.1`, or [`NEWEST`]; downloaded unless it is there.
    pub(crate) fn fetch(&self, series: &str) -> Result<Kernel> {
        let release = latest(&self.names, series)
            .with_context(|| format!("Debian ({}) has no kernel {series}", SUITES.join(", ")))?;
        let folder = self.folder.join("images").join(&release);
        if let Some(kernel) = Kernel::kept(&folder) {
            return Ok(kernel);
        }
        let wanted = holders(&self.names, &release);
        let mut trees = Vec::new();
        let mut package = String::new();
        for name in &wanted {
            let version = self
                .apt
                .versions(name)?
                .into_iter()
                .next()
                .with_context(|| format!("Debian has no version of {name}"))?;
            println!("kernels: download {name}={version}");
            trees.push(self.apt.unpack(name, &version)?);
            if package.is_empty() {
                package = format!("{name}={version}");
            }
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let kernel = keep(&folder, &package, &trees);
        for tree in trees {
            fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
        }
        self.remove_archives()?;
        kernel
    }

    /// A static busybox.
    pub(crate) fn busybox(&self) -> Result<PathBuf> {
        let place = self.folder.join("busybox");
        if place.is_file() {
            return Ok(place);
        }
        let name = "busybox-static";
        let version =
            self.apt.versions(name)?.into_iter().next().context("Debian has no busybox-static")?;
        let tree = self.apt.unpack(name, &version)?;
        let program = find(&tree, &|name| name == "busybox")?
            .into_iter()
            // Other files of it have that name, too.
            .find(|path| path.ends_with("bin/busybox"))
            .context("busybox-static has no bin/busybox")?;
        copy(&program, &place)?;
        fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
        self.remove_archives()?;
        Ok(place)
    }

    /// Downloaded packages have some 100 MB each.
    fn remove_archives(&self) -> Result<()> {
        for archive in find(&self.folder.join("apt"), &|name| has_extension(name, "deb"))? {
            fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        }
        Ok(())
    }
}

/// The highest version of a series among the names of packages; without prefix, with suffix.
fn latest(names: &[String], series: &str) -> Option<String> {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|release| {
            let numbers = release.strip_suffix(SUFFIX).unwrap_or_default();
            // Flavours have another word before the architecture; meta-packages have no number behind the series.
            numbers.starts_with(|first: char| first.is_ascii_digit())
                && !["cloud", "rt", "deb11"].iter().any(|word| numbers.contains(word))
                && numbers.split(['.', '-', '+']).count() > 2
                && (series == NEWEST || numbers.starts_with(&format!("{series}.")))
        })
        .max_by_key(|release| numbers(release))
        .map(str::to_owned)
}

/// The numbers in a version, to compare by.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The packages that hold image and modules: one, or two where the first only names them.
fn holders(names: &[String], release: &str) -> Vec<String> {
    let [binary, modules] = ["binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    if names.contains(&binary) { vec![binary, modules] } else { vec![format!("{PREFIX}{release}")] }
}

/// Copies what is needed out of the unpacked packages.
fn keep(folder: &Path, package: &str, trees: &[PathBuf]) -> Result<Kernel> {
    let mut there = BTreeMap::new();
    let mut image = None;
    for tree in trees {
        image = find(tree, &|name| name.starts_with("vmlinuz"))?.into_iter().next().or(image);
        for path in find(tree, &|name| module_name(name).is_some())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            there.insert(module_name(&name).unwrap_or_default(), path);
        }
    }
    let image = image.with_context(|| format!("{package} has no vmlinuz"))?;
    // What a module needs is known once it is unpacked, and so are those it needs.
    let mut needs = BTreeMap::new();
    let mut open: Vec<String> = MODULES.map(str::to_owned).to_vec();
    while let Some(name) = open.pop() {
        let Some(path) = there.get(&name) else { continue };
        if needs.contains_key(&name) {
            continue;
        }
        let contents = unpacked(path)?;
        let of_it = modules::needs(&contents);
        let place = folder.join(format!("{name}.ko"));
        fs::write(&place, contents).with_context(|| format!("write {}", place.display()))?;
        open.extend(of_it.iter().cloned());
        needs.insert(name, of_it);
    }
    let modules = modules::order(&needs, &MODULES);
    copy(&image, &folder.join("vmlinuz"))?;
    // Last: what stands there is whole.
    let facts = [vec![package.to_owned()], modules].concat().join("\n") + "\n";
    let place = folder.join(FACTS);
    fs::write(&place, facts).with_context(|| format!("write {}", place.display()))?;
    Kernel::kept(folder).with_context(|| format!("read back {}", place.display()))
}

/// `a-b.ko` and `a-b.ko.xz` are the module `a_b`.
fn module_name(file: &str) -> Option<String> {
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    if !has_extension(&path.to_string_lossy(), "xz") {
        return fs::read(path).with_context(|| format!("read {}", path.display()));
    }
    let mut unpack = Command::new("xz");
    unpack.args(["--decompress", "--keep", "--force"]).arg(path);
    child::run(&mut unpack, &format!("unpack {}", path.display()), XZ_LIMIT)?;
    let plain = path.with_extension("");
    fs::read(&plain).with_context(|| format!("read {}", plain.display()))
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|of| of == extension)
}

/// Files below `folder` whose name is wanted.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let kind = entry.file_type().with_context(|| format!("look at {}", folder.display()))?;
        if kind.is_dir() {
            found.extend(find(&entry.path(), wanted)?);
        } else if kind.is_file() && wanted(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
        .map(drop)
}

/// Refuses what is no series before anything is downloaded.
pub(crate) fn check_series(series: &str) -> Result<()> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = series.split('.');
    if series != NEWEST && !(parts.clone().count() == 2 && parts.all(is_number)) {
        bail!("`{series}` is no series of kernels: give one such as 6.1, or `{NEWEST}`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        [
            "linux-image-amd64",
            "linux-image-6.1-amd64",
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.1.0-57-amd64-dbg",
            "linux-image-6.12.90+deb13.1-amd64",
            "linux-image-6.12.9+deb13-amd64",
            "linux-image-7.3.4+deb13-amd64",
            "linux-binary-7.3.4+deb13-amd64",
            "linux-modules-7.3.4+deb13-amd64",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn the_latest_of_a_series_is_chosen_by_number() {
        let check = |series, expected: Option<&str>| {
            assert_eq!(latest(&names(), series).as_deref(), expected, "{series}");
        };
        check("6.1", Some("6.1.0-56-amd64"));
        check("6.12", Some("6.12.90+deb13.1-amd64"));
        check("5.15", None);
        check(NEWEST, Some("7.3.4+deb13-amd64"));
    }

    #[test]
    fn image_and_modules_may_be_packages_apart() {
        assert_eq!(holders(&names(), "6.1.0-56-amd64"), ["linux-image-6.1.0-56-amd64"]);
        assert_eq!(
            holders(&names(), "7.3.4+deb13-amd64"),
            ["linux-binary-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"]
        );
    }

    #[test]
    fn modules_are_told_by_their_files() {
        assert_eq!(module_name("virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(module_name("9p.ko").as_deref(), Some("9p"));
        assert_eq!(module_name("9p.ko.sig"), None);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for series in ["6.1", "newest", "5.15"] {
            check_series(series).unwrap();
        }
        for series in ["6", "6.1.2", "6.x", "", "../6.1"] {
            check_series(series).unwrap_err();
        }
    }
}
