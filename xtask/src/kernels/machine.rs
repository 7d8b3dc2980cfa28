//! A machine in software with a kernel of ours: QEMU without devices but a serial line, the file system of the machine
//! around (read only) and a folder for results.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::steps::Clock;
use crate::child;

/// From Debian's package `qemu-system-x86`.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// What executes the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// Software: works everywhere, ten to fifty times slower
    Tcg,
    /// The processor itself, where this machine may use it (/dev/kvm)
    Kvm,
}

impl Accelerator {
    pub(crate) fn clock(self) -> Clock {
        match self {
            Self::Tcg => Clock::Emulated,
            Self::Kvm => Clock::True,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            // Of several threads one executes breakpoints that another has taken out of the kernel's text already,
            // and the kernel falls over (seen in QEMU 7.2: `Oops: int3` in the scheduler).
            Self::Tcg => &["-accel", "tcg,thread=single", "-cpu", "max"],
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
        }
    }
}

/// What the serial line must not say: our own words, and a kernel that something is wrong with.
const COMPLAINTS: [&str; 5] = ["warplens: ", "Kernel panic", "WARNING: ", "BUG: ", "Oops: "];

/// Boots and waits until the machine ends; how long that took. What it says on its serial line goes to `log`.
pub(crate) fn boot(
    accelerator: Accelerator,
    (image, first_files): (&Path, &Path),
    results: &Path,
    log: &Path,
    limit: Duration,
) -> Result<Duration> {
    let mut command = Command::new(PROGRAM);
    command
        .args(accelerator.arguments())
        .args(["-smp", "2", "-m", "2G", "-nodefaults", "-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-no-reboot"])
        .args(share("host", Path::new("/"), ",readonly=on"))
        .args(share("out", results, ""))
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(first_files)
        // A kernel that panics ends the machine.
        .args(["-append", "console=ttyS0 panic=-1 loglevel=5"]);
    let mut file = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut complaints = Vec::new();
    let started = Instant::now();
    let status = child::run_all_lines(&mut command, "the emulated machine", limit, |_, line| {
        let line = line.trim_end();
        if COMPLAINTS.iter().any(|of| line.contains(of)) {
            complaints.push(line.to_owned());
        }
        // A log that cannot be written must not stop the machine.
        drop(writeln!(file, "{line}"));
    })?;
    if !status.success() || !complaints.is_empty() {
        bail!(
            "the emulated machine failed ({status}; {}): its log {} says more",
            complaints.join("; "),
            log.file_name().unwrap_or_default().display()
        );
    }
    Ok(started.elapsed())
}

/// A folder that the machine sees as a 9p file system named `tag`.
fn share(tag: &str, folder: &Path, more: &str) -> [String; 4] {
    // Commas separate options; doubled, they are part of one.
    let path = folder.display().to_string().replace(',', ",,");
    [
        "-fsdev".to_owned(),
        format!("local,id={tag},path={path},security_model=none,multidevs=remap{more}"),
        "-device".to_owned(),
        format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_is_no_option() {
        let [_, option, _, _] = share("out", Path::new("/a,b"), "");
        assert_eq!(option, "local,id=out,path=/a,,b,security_model=none,multidevs=remap");
    }
}
