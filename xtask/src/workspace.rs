//! Where things are: the repository's root, cargo's target folder, and cargo called with an
//! environment that an outer `cargo run` did not colour.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The checkout a task works in.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub root: PathBuf,
    /// Cargo's target folder, `CARGO_TARGET_DIR` respected.
    pub target: PathBuf,
    /// The user's own build settings (wrappers, incremental compilation) are left out.
    pub pristine: bool,
}

impl Workspace {
    /// The workspace around `xtask` when cargo runs it, else around the current folder.
    pub(crate) fn find() -> Result<Self> {
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => env::current_dir().context("find the current folder")?,
        };
        let root = start
            .ancestors()
            .find(|folder| folder.join("xtask/Cargo.toml").is_file())
            .with_context(|| format!("no Warplens checkout around {}", start.display()))?
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target, pristine: false })
    }

    /// The same place, built as on a machine where nobody has changed anything.
    pub(crate) fn pristine(self) -> Self {
        Self { pristine: true, ..self }
    }

    /// `cargo SUBCOMMAND` in the root, with clean settings.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new("cargo");
        clean_environment(&mut command);
        command.arg(subcommand).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        if self.pristine {
            command.env("CARGO_INCREMENTAL", "0");
            for wrapper in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"]
            {
                command.env_remove(wrapper);
            }
        }
        command
    }

    /// What `cargo metadata` says; `extra` such as `--no-deps`.
    pub(crate) fn metadata(&self, extra: &[&str]) -> Result<Value> {
        let mut command = self.cargo("metadata");
        command.args(["--format-version", "1", "--locked"]).args(extra);
        let output = command.output().context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("parse the output of cargo metadata")
    }

    /// What the code is, such as `1234567` or `1234567 with changes`. Changes below `except` do not count: a page that a
    /// task writes is no change of what it sees.
    pub(crate) fn commit(&self, except: &[&Path]) -> Result<String> {
        let git = |arguments: &[&str]| -> Result<String> {
            let output = Command::new("git")
                .args(arguments)
                .current_dir(&self.root)
                .output()
                .context("run git")?;
            if !output.status.success() {
                bail!("git {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let commit = git(&["rev-parse", "--short", "HEAD"])?;
        let except: Vec<String> =
            except.iter().map(|folder| format!(":!{}", folder.display())).collect();
        let mut status = vec!["status", "--porcelain", "--", "."];
        status.extend(except.iter().map(String::as_str));
        let changes = git(&status)?;
        Ok(if changes.is_empty() { commit } else { format!("{commit} with changes") })
    }

    /// Files git tracks or would track, relative to the root, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let output = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(&self.root)
            .output()
            .context("run git ls-files")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut files: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|name| !name.is_empty() && self.root.join(name).is_file())
            .map(PathBuf::from)
            .collect();
        files.sort();
        Ok(files)
    }

    /// Shown to people: relative to the root where possible.
    pub(crate) fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// Takes out of the child's environment what cargo sets for the program it runs and what would
/// change code generation. Settings of the network, registries and homes stay.
pub(crate) fn clean_environment(command: &mut Command) {
    for (key, _) in env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        if is_inherited_from_cargo(name) {
            command.env_remove(name);
        }
    }
    // `cargo run` puts the toolchain's and the build's library folders in front.
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        let kept: Vec<PathBuf> = env::split_paths(&path)
            .filter(|folder| {
                let text = folder.to_string_lossy();
                !text.contains("/toolchains/")
                    && !text.contains("/target/")
                    && !text.contains("rustlib")
            })
            .collect();
        match env::join_paths(&kept) {
            Ok(joined) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", joined),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

fn is_inherited_from_cargo(name: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST",
        "CARGO_BIN_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PROFILE_",
    ];
    const NAMES: [&str; 9] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "OUT_DIR",
    ];
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_sets_is_taken_out_and_the_rest_stays() {
        let check = |name, expected| assert_eq!(is_inherited_from_cargo(name), expected, "{name}");
        check("CARGO", true);
        check("CARGO_PKG_VERSION", true);
        check("CARGO_MANIFEST_DIR", true);
        check("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", true);
        check("RUSTFLAGS", true);
        check("CARGO_HOME", false);
        check("CARGO_TARGET_DIR", false);
        check("CARGO_NET_OFFLINE", false);
        check("CARGO_REGISTRIES_MIRROR_INDEX", false);
    }
}
