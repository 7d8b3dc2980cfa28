//! What can go wrong with the kernel programs, and what the reader can do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;

use crate::elf::ElfError;
use crate::perf::PerfError;

use super::host::Host;
use super::probe::Probe;

/// Every message ends with what to do.
#[derive(Debug, Error)]
pub enum BpfError {
    #[error(
        "load the kernel programs: this binary was built without them; run `cargo xtask ebpf`, then build it again"
    )]
    NotBuilt,
    #[error(
        "load the kernel programs: the agent is not in the host's PID namespace, so no process could be told apart; \
         start it with `hostPID: true` (Kubernetes) or `--pid=host` (docker)"
    )]
    PidNamespace,
    #[error("load the kernel programs: {hint}")]
    Load {
        hint: String,
        #[source]
        source: Box<EbpfError>,
    },
    #[error("load the kernel program `{program}`: {hint}")]
    Program {
        program: &'static str,
        hint: String,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("{} are switched off by {reason}", probe.feature())]
    SwitchedOff { probe: Probe, reason: String },
    #[error(
        "load the kernel programs: all of them are switched off; leave some on to have what they tell"
    )]
    NothingWanted,
    #[error(
        "the kernel object has no `{name}`; build agent and kernel programs from one source (`cargo xtask ebpf`)"
    )]
    Incomplete { name: &'static str },
    #[error("open the map `{map}`: {hint}")]
    Map {
        map: &'static str,
        hint: String,
        #[source]
        source: Box<MapError>,
    },
    #[error("attach `{program}` to {target}: {hint}")]
    Attach {
        program: &'static str,
        target: String,
        hint: String,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("find where to probe in {}", library.display())]
    Library {
        library: PathBuf,
        #[source]
        source: ElfError,
    },
    #[error("attach `{program}` to process {pid}: {} exports no `{symbol}`; is it the right file?", library.display())]
    NoSymbol { program: &'static str, pid: u32, symbol: String, library: PathBuf },
    #[error(
        "watch process {pid}: there is no such process; it has ended or the number is of another PID namespace"
    )]
    Gone { pid: u32 },
    #[error("watch process {pid}: {capacity} processes are watched already; watch fewer at a time")]
    Full { pid: u32, capacity: u32 },
    #[error(
        "read the kernel's types from {path}: {lost} are not seen; boot a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    Types {
        path: &'static str,
        lost: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("find `{field}` in {path}: {lost} are not seen; please report the kernel's version")]
    NoField { field: &'static str, path: &'static str, lost: &'static str },
    #[error(
        "walk Python's frames of process {pid}: this kernel's programs cannot; `warplens doctor` says why"
    )]
    NoPython { pid: u32 },
    #[error(
        "walk Python's frames of process {pid}: no frame has `{field}` where it was said to be; please report the version of this Python"
    )]
    Layout { pid: u32, field: &'static str },
    #[error("list the CPUs from {path}; is /sys mounted?")]
    Cpus {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Sampling(#[from] PerfError),
}

impl BpfError {
    pub(super) fn load(source: EbpfError) -> Self {
        Self::Load { hint: hint(&source), source: Box::new(source) }
    }

    pub(super) fn program(program: &'static str, source: ProgramError) -> Self {
        Self::Program { program, hint: hint(&source), source: Box::new(source) }
    }

    pub(super) fn map(map: &'static str, source: MapError) -> Self {
        Self::Map { map, hint: hint(&source), source: Box::new(source) }
    }

    pub(super) fn attach(program: &'static str, target: String, source: ProgramError) -> Self {
        Self::Attach { program, target, hint: hint(&source), source: Box::new(source) }
    }

    /// [`BpfError::attach`] to an address in a process.
    pub(super) fn probe(program: &'static str, target: String, source: ProgramError) -> Self {
        let refused = matches!(errno(&source), Some(libc::EPERM | libc::EACCES));
        if refused && !Host::read().may_probe() {
            let hint = "not permitted; run as root or grant CAP_SYS_ADMIN".to_owned();
            return Self::Attach { program, target, hint, source: Box::new(source) };
        }
        Self::attach(program, target, source)
    }

    /// The cause is missing privilege: exit code 77 is for this.
    pub fn is_privilege(&self) -> bool {
        let cause: Option<&(dyn Error + 'static)> = self.source();
        cause.and_then(errno).is_some_and(|code| code == libc::EPERM || code == libc::EACCES)
            && !Host::read().missing_capabilities().is_empty()
    }
}

/// What to do about `error`, from the system error at its root and what this host allows.
fn hint(error: &(dyn Error + 'static)) -> String {
    match errno(error) {
        Some(code) => advise(code, &Host::read()),
        None => "the cause below says more".to_owned(),
    }
}

fn advise(code: i32, host: &Host) -> String {
    let missing = host.missing_capabilities();
    match code {
        libc::EPERM | libc::EACCES if !missing.is_empty() => {
            format!("not permitted; run as root or grant {}", missing.join(", "))
        }
        libc::EPERM if host.lockdown.as_deref() == Some("confidentiality") => {
            "not permitted; the kernel is locked down (`confidentiality`), boot it with `lockdown=integrity` or less".to_owned()
        }
        libc::EPERM => "not permitted although the capabilities are there; a seccomp profile or a security module \
                        forbids bpf or perf_event_open, allow the container both (docs/deploy.md)"
            .to_owned(),
        libc::EACCES => {
            format!("the verifier of kernel {} refuses the program; please report the log below", host.kernel)
        }
        libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP => format!(
            "kernel {} does not support it; `warplens doctor` lists what this kernel lacks",
            host.kernel
        ),
        libc::ENOMEM => "the kernel has no memory for it; free some, or raise the memory limit of the agent's cgroup".to_owned(),
        libc::ENOENT => "the file is gone; the process has ended or unmapped it".to_owned(),
        libc::ESRCH => "there is no such process; it has ended".to_owned(),
        libc::EMFILE => "the agent has too many files open; raise its limit (`ulimit -n`)".to_owned(),
        _ => io::Error::from_raw_os_error(code).to_string(),
    }
}

/// System error at the root of a chain of causes.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { capabilities: u64::MAX, ..Host::default() }
    }

    #[test]
    fn advice_depends_on_what_the_host_allows() {
        let check = |code: i32, host: &Host, expected: &str| {
            let advice = advise(code, host);
            assert!(advice.contains(expected), "{advice:?} does not say {expected:?}");
        };
        let unprivileged = Host { capabilities: 0, ..host() };
        check(libc::EPERM, &unprivileged, "CAP_BPF");
        check(libc::EACCES, &unprivileged, "CAP_PERFMON");
        check(libc::EPERM, &host(), "seccomp");
        check(
            libc::EPERM,
            &Host { lockdown: Some("confidentiality".into()), ..host() },
            "lockdown=integrity",
        );
        check(libc::EACCES, &host(), "verifier");
        check(libc::ESRCH, &host(), "has ended");
    }

    #[test]
    fn the_system_error_is_found_under_its_wrappers() {
        let error =
            BpfError::Cpus { path: "/sys", source: io::Error::from_raw_os_error(libc::EPERM) };
        assert_eq!(errno(&error), Some(libc::EPERM));
        assert_eq!(errno(&BpfError::NotBuilt), None);
    }
}
