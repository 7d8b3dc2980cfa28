//! Debian packages taken without installing them, with package state of its own: the machine's
//! sources and lists stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;

const LIMIT: Duration = Duration::from_mins(5);

/// A private apt state in a folder.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Reads the lists of `suites` (each such as `bookworm` or `bookworm non-free`) from the Debian
    /// mirror this machine is configured for, into `folder`.
    pub(crate) fn open(folder: &Path, suites: &[String]) -> Result<Self> {
        let mirror = debian_mirror()?;
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("create {}", folder.display()))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        if !Path::new(keyring).exists() {
            bail!("no Debian archive keyring here: {keyring}");
        }
        let sources: Vec<String> = suites
            .iter()
            .map(|suite| format!("deb [signed-by={keyring}] {mirror} {}", with_component(suite)))
            .collect();
        let list = folder.join("sources.list");
        fs::write(&list, sources.join("\n") + "\n")
            .with_context(|| format!("write {}", list.display()))?;
        let shown = |part: &str| folder.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", list.display()),
            format!("Dir::Etc::sourceparts={}", shown("parts")),
            format!("Dir::State::lists={}", shown("lists")),
            format!("Dir::Cache={}", shown("cache")),
            "APT::Sandbox::User=root".to_owned(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        let apt = Self { folder: folder.to_owned(), options };
        child::run(apt.command("apt-get").args(["-qq", "update"]), "apt-get update", LIMIT)?;
        Ok(apt)
    }

    /// Versions on offer, best first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let output = child::output(
            self.command("apt-cache").args(["madison", package]),
            "apt-cache",
            LIMIT,
        )?;
        Ok(parse_madison(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Names of the packages on offer that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let output = child::output(
            self.command("apt-cache").args(["pkgnames", prefix]),
            "apt-cache",
            LIMIT,
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Downloads one version and unpacks it; the folder that holds its tree.
    pub(crate) fn unpack(&self, package: &str, version: &str) -> Result<PathBuf> {
        let mut download = self.command("apt-get");
        download.args(["-qq", "download", &format!("{package}={version}")]);
        child::run(&mut download, &format!("download {package}"), LIMIT)?;
        let archive = fs::read_dir(&self.folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with(&format!("{package}_"))
                    && path.extension().is_some_and(|extension| extension == "deb")
            })
            .with_context(|| {
                format!("apt-get downloaded no {package} into {}", self.folder.display())
            })?;
        let tree = self.folder.join(format!("tree-{package}"));
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&archive).arg(&tree);
        child::run(&mut unpack, &format!("unpack {}", archive.display()), LIMIT)?;
        Ok(tree)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).current_dir(&self.folder);
        command
    }
}

fn with_component(suite: &str) -> String {
    if suite.contains(' ') { suite.to_owned() } else { format!("{suite} main") }
}

/// The machine's own Debian mirror; none is named here.
fn debian_mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| parse_mirror(&text))
        .context("no Debian mirror is configured in /etc/apt")
}

/// The first address that ends in `/debian`, of both file formats apt knows.
fn parse_mirror(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .find(|word| word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

/// The second column of `package | version | source`.
fn parse_madison(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|column| column.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_formats() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_mirror(text).as_deref(), expected);
        };
        check("deb http://a.example/debian bookworm main", Some("http://a.example/debian"));
        check(
            "deb [signed-by=/x] http://a.example/debian/ sid main",
            Some("http://a.example/debian/"),
        );
        check(
            "Types: deb\nURIs: http://b.example/debian\nSuites: sid",
            Some("http://b.example/debian"),
        );
        check("# deb http://a.example/debian bookworm main", None);
        check("deb http://a.example/debian-security bookworm-security main", None);
        check("deb http://a.example/ubuntu noble main", None);
    }

    #[test]
    fn versions_are_the_second_column() {
        let text =
            " rust-src | 1.95.0+dfsg1-1~bpo13+1 | http://a.example sid/main amd64 Packages\n";
        assert_eq!(parse_madison(text), ["1.95.0+dfsg1-1~bpo13+1"]);
    }
}
