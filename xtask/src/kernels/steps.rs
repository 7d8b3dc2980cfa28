//! The script that is run in each kernel: one step after the other, each with a limit; of each what it printed and how
//! it ended is left in a folder.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::programs::Programs;
use crate::workspace::Workspace;

/// Names of steps, which are names of files.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const DOCTOR: &str = "doctor";
pub(crate) const KERNEL_TESTS: &str = "kernel-tests";
pub(crate) const INTEGRATION_TESTS: &str = "integration-tests";
pub(crate) const PROBES: &str = "probes";

/// All steps together take three minutes in emulation on a quiet machine.
const LIMITS: [(&str, Duration); 5] = [
    (KERNEL, Duration::from_secs(10)),
    (DOCTOR, Duration::from_mins(1)),
    (PROBES, Duration::from_mins(3)),
    (KERNEL_TESTS, Duration::from_mins(8)),
    (INTEGRATION_TESTS, Duration::from_mins(4)),
];

/// The sum of all limits, and the boot.
pub(crate) fn limit() -> Duration {
    LIMITS.iter().map(|(_, limit)| *limit).sum::<Duration>() + Duration::from_mins(1)
}

/// Where the steps are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Of a machine that executes as fast as its clock says.
    True,
    /// Of an emulated one, whose processors stand still for milliseconds.
    Emulated,
}

/// Tests of samples in step with the clock: in emulation the machine was seen to stand still in them (QEMU 7.2).
pub(crate) const NEED_A_TRUE_CLOCK: &str = "phase::";

/// For `bash`; its argument is the folder.
pub(crate) fn script(programs: &Programs, workspace: &Workspace, clock: Clock) -> String {
    let mut lines = vec!["out=$1".to_owned()];
    for (name, value) in &programs.environment {
        lines.push(format!("export {}={}", name.display(), quoted(value)));
    }
    lines.push(format!("cd {}", quoted(workspace.root.join("agent").as_os_str())));
    let path = |path: &Path| quoted(path.as_os_str());
    let tests = "--test-threads 1 --show-output";
    for (step, limit) in LIMITS {
        let command = match step {
            DOCTOR => format!("{} doctor --json", path(&programs.agent)),
            KERNEL_TESTS if clock == Clock::Emulated => {
                format!("{} {tests} --skip {NEED_A_TRUE_CLOCK}", path(&programs.kernel_tests))
            }
            KERNEL_TESTS => format!("{} {tests}", path(&programs.kernel_tests)),
            INTEGRATION_TESTS => format!("{} bpf:: {tests}", path(&programs.integration_tests)),
            PROBES => path(&programs.bench),
            _ => "uname -r".to_owned(),
        };
        let limited = format!("timeout -k 5 {} {command}", limit.as_secs());
        lines.push(format!("{limited} >$out/{step} 2>$out/{step}.errors"));
        lines.push(format!("echo $? >$out/{step}.status"));
    }
    lines.join("\n") + "\n"
}

/// One word of a shell.
fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_whatever_is_in_it() {
        let text = "a b'c$d\"e";
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(text.as_ref()))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    }
}
