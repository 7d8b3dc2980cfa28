//! What this host lets the kernel programs do, and why not. Reads files, loads nothing.

use std::fmt;
use std::fs;

use super::probe::{Off, Probe};

/// Inode of the initial PID namespace: `PROC_PID_INIT_INO` of the kernel, the same everywhere.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Bits of `CapEff`, with the name users grant them by.
const CAPABILITIES: [(u32, &str); 3] =
    [(38, "CAP_PERFMON"), (39, "CAP_BPF"), (40, "CAP_CHECKPOINT_RESTORE")];
/// `CAP_SYS_ADMIN` stands for all of them.
const CAP_SYS_ADMIN: u32 = 21;

/// To look into processes of other users, and of more privileges: their mappings and memory; their ring, which
/// only they may open.
const STRANGERS: [(u32, &str); 3] =
    [(19, "CAP_SYS_PTRACE"), (40, "CAP_CHECKPOINT_RESTORE"), (1, "CAP_DAC_OVERRIDE")];

/// `bpf_task_pt_regs`: a thread's registers in user mode.
const STACKS_FROM: KernelVersion = KernelVersion::new(5, 15);
/// `bpf_loop`: as many frames of Python as there are.
const PYTHON_FROM: KernelVersion = KernelVersion::new(5, 17);
/// `sched_switch` tells the state in which a thread leaves the CPU.
pub(crate) const THREAD_STATES_FROM: KernelVersion = KernelVersion::new(5, 18);
/// `sched_process_exit` tells a last thread's exit from others.
const LAST_EXIT_FROM: KernelVersion = KernelVersion::new(6, 15);

/// Release of the running kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
}

impl KernelVersion {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// From the text of `/proc/sys/kernel/osrelease`, such as `6.18.44-cloud`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }

    /// Of the running kernel; 0.0 when it does not say.
    pub fn running() -> Self {
        read("/proc/sys/kernel/osrelease").and_then(|text| Self::parse(&text)).unwrap_or_default()
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct Host {
    pub kernel: KernelVersion,
    /// The binary holds the kernel programs.
    pub built: bool,
    /// The kernel describes its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// The kernel can put probes into programs (`/sys/bus/event_source/devices/uprobe`).
    pub uprobes: bool,
    /// `kernel.perf_event_paranoid`; above 2, some kernels refuse perf events without privilege.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.perf_event_max_stack`: frames the kernel keeps of a stack.
    pub perf_event_max_stack: Option<u32>,
    /// Lockdown mode in force, such as `integrity`.
    pub lockdown: Option<String>,
    /// `CapEff` of the agent.
    pub capabilities: u64,
    /// The agent sees the PIDs of the host.
    pub initial_pid_namespace: bool,
}

/// A thing the kernel programs are used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub probe: Probe,
    /// What is less about it on this kernel, or `None`.
    pub limit: Option<&'static str>,
    /// Why it cannot be had and what to do, or `None`.
    pub obstacle: Option<String>,
}

impl Host {
    /// Reads what the system says. What cannot be read stays at its default.
    pub fn read() -> Self {
        Self {
            kernel: KernelVersion::running(),
            built: super::load::is_built(),
            btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
            uprobes: fs::exists("/sys/bus/event_source/devices/uprobe/type").unwrap_or(false),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            perf_event_max_stack: number("/proc/sys/kernel/perf_event_max_stack"),
            lockdown: read("/sys/kernel/security/lockdown").and_then(|text| parse_lockdown(&text)),
            capabilities: read("/proc/self/status")
                .and_then(|text| parse_capabilities(&text))
                .unwrap_or(0),
            initial_pid_namespace: in_initial_pid_namespace(),
        }
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << CAP_SYS_ADMIN | 1 << capability) != 0
    }

    /// `CAP_SYS_ADMIN` itself: `perf_event_open` asks for no less where a probe in a program is opened, also of
    /// who has `CAP_PERFMON` (seen on Linux 6.18).
    pub(super) fn may_probe(&self) -> bool {
        self.capabilities & 1 << CAP_SYS_ADMIN != 0
    }

    /// Capabilities without which workers of other users are not observed, as far as the agent lacks them.
    pub fn missing_for_strangers(&self) -> Vec<&'static str> {
        let replaceable = |bit: u32| CAPABILITIES.iter().any(|(of, _)| *of == bit);
        let is_held =
            |bit: u32| self.capabilities & 1 << bit != 0 || replaceable(bit) && self.has(bit);
        STRANGERS.iter().filter(|(bit, _)| !is_held(*bit)).map(|(_, name)| *name).collect()
    }

    /// Capabilities the kernel programs need and the agent lacks.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        CAPABILITIES.iter().filter(|(bit, _)| !self.has(*bit)).map(|(_, name)| *name).collect()
    }

    /// Every feature with what stands in its way. The first obstacle is named.
    pub fn features(&self) -> Vec<Feature> {
        self.features_without(&Off::default())
    }

    /// The same where an operator switched some off.
    pub fn features_without(&self, off: &Off) -> Vec<Feature> {
        let common = self.common_obstacle();
        let feature = |probe, own: Option<String>| Feature {
            probe,
            limit: (probe == Probe::Processes && !self.tells_last_exits()).then_some(
                "a process counts as ended with its first thread, also where others run on",
            ),
            obstacle: off.reason(probe).map(switched_off).or_else(|| common.clone()).or(own),
        };
        let needs = |version: KernelVersion| {
            (self.kernel < version)
                .then(|| format!("kernel {} is older than {version}; use a newer one", self.kernel))
        };
        let uprobes = if !self.uprobes {
            Some("the kernel has no uprobes (CONFIG_UPROBE_EVENTS); use one that has, as every distribution's does".to_owned())
        } else if self.may_probe() {
            None
        } else {
            Some("CAP_SYS_ADMIN not held; run as root or grant it".to_owned())
        };
        let types = |without: &str| {
            (!self.btf).then(|| {
                format!("the kernel does not describe its types (/sys/kernel/btf/vmlinux); boot one built with CONFIG_DEBUG_INFO_BTF, or {without}")
            })
        };
        vec![
            feature(Probe::LaunchStacks, uprobes.clone().or_else(|| needs(STACKS_FROM))),
            feature(Probe::CpuSamples, needs(STACKS_FROM)),
            feature(
                Probe::Python,
                needs(PYTHON_FROM).or_else(|| types("stacks have no Python frames")),
            ),
            feature(Probe::Processes, needs(KernelVersion::new(5, 8))),
            feature(
                Probe::ThreadStates,
                needs(THREAD_STATES_FROM)
                    .or_else(|| types("idle time is never called no_requests")),
            ),
            feature(Probe::PageTouches, needs(STACKS_FROM)),
            feature(Probe::LaunchCount, uprobes.or_else(|| needs(KernelVersion::new(5, 15)))),
        ]
    }

    /// A process ends, for the kernel programs, with its last thread; on other kernels with its first.
    pub fn tells_last_exits(&self) -> bool {
        self.kernel >= LAST_EXIT_FROM
    }

    fn common_obstacle(&self) -> Option<String> {
        if !self.built {
            return Some("the binary was built without the kernel programs; run `cargo xtask ebpf`, then build it again".into());
        }
        let missing = self.missing_capabilities();
        if !missing.is_empty() {
            return Some(format!("not permitted; run as root or grant {}", missing.join(", ")));
        }
        if !self.initial_pid_namespace {
            return Some(
                "not in the host's PID namespace; start with `hostPID: true` or `--pid=host`"
                    .into(),
            );
        }
        (self.lockdown.as_deref() == Some("confidentiality"))
            .then(|| "the kernel is locked down (`confidentiality`); boot it with `lockdown=integrity` or less".into())
    }
}

fn switched_off(reason: &str) -> String {
    format!("switched off by {reason}; change it there")
}

/// Whether PIDs mean the same to the agent and to the kernel programs.
pub(super) fn in_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link.to_str() == Some(&format!("pid:[{INITIAL_PID_NAMESPACE}]")))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    read(path)?.trim().parse().ok()
}

/// The mode in brackets of `none [integrity] confidentiality`.
fn parse_lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn parse_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_become_versions() {
        let check = |text: &str, expected: Option<(u32, u32)>| {
            assert_eq!(
                KernelVersion::parse(text).map(|v| (v.major, v.minor)),
                expected,
                "{text:?}"
            );
        };
        check("6.18.44-cloud\n", Some((6, 18)));
        check("5.15.0-1053-gke", Some((5, 15)));
        check("6.1", Some((6, 1)));
        check("", None);
        check("next", None);
        assert!(KernelVersion::new(5, 15) < KernelVersion::new(6, 1));
    }

    #[test]
    fn the_mode_in_force_is_the_one_in_brackets() {
        assert_eq!(
            parse_lockdown("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(parse_lockdown("none"), None);
    }

    #[test]
    fn capabilities_are_read_and_named() {
        let text = "Name:\tx\nCapInh:\t0\nCapEff:\t0000008000000000\n";
        let host = Host { capabilities: parse_capabilities(text).unwrap(), ..Host::default() };
        assert_eq!(host.missing_capabilities(), ["CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"]);
        let admin = Host { capabilities: 1 << CAP_SYS_ADMIN, ..Host::default() };
        assert_eq!(admin.missing_capabilities(), Vec::<&str>::new());
        assert_eq!(admin.missing_for_strangers(), ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        assert_eq!(host.missing_for_strangers().len(), 3);
    }

    #[test]
    fn each_feature_names_its_first_obstacle() {
        let full = Host {
            kernel: KernelVersion::new(6, 18),
            built: true,
            btf: true,
            uprobes: true,
            capabilities: u64::MAX,
            initial_pid_namespace: true,
            ..Host::default()
        };
        let obstacles = |host: &Host| -> Vec<bool> {
            host.features().iter().map(|feature| feature.obstacle.is_some()).collect()
        };
        assert_eq!(obstacles(&full), [false; 7]);
        let limits = |host: &Host| -> Vec<Probe> {
            let limited = |feature: Feature| feature.limit.map(|_| feature.probe);
            host.features().into_iter().filter_map(limited).collect()
        };
        assert_eq!(limits(&full), Vec::<Probe>::new());
        let before = Host { kernel: KernelVersion::new(6, 14), ..full.clone() };
        assert_eq!((obstacles(&before), limits(&before)), (vec![false; 7], vec![Probe::Processes]));
        let old = Host { kernel: KernelVersion::new(5, 10), ..full.clone() };
        assert_eq!(obstacles(&old), [true, true, true, false, true, true, true]);
        let older = Host { kernel: KernelVersion::new(5, 15), ..full.clone() };
        assert_eq!(obstacles(&older), [false, false, true, false, true, false, false]);
        let untyped = Host { btf: false, ..full.clone() };
        assert_eq!(obstacles(&untyped), [false, false, true, false, true, false, false]);
        let bare = Host { uprobes: false, ..full.clone() };
        assert_eq!(obstacles(&bare), [true, false, false, false, false, false, true]);
        let mut off = Off::default();
        off.add(Probe::CpuSamples, "probes.off");
        let found = full.features_without(&off).swap_remove(1);
        let why = "switched off by probes.off; change it there";
        assert_eq!((found.probe, found.obstacle.as_deref()), (Probe::CpuSamples, Some(why)));
        let least = Host { capabilities: !(1 << CAP_SYS_ADMIN), ..full.clone() };
        assert_eq!(obstacles(&least), [true, false, false, false, false, false, true]);
        for host in [
            Host { built: false, ..full.clone() },
            Host { capabilities: 0, ..full.clone() },
            Host { initial_pid_namespace: false, ..full.clone() },
            Host { lockdown: Some("confidentiality".into()), ..full },
        ] {
            assert_eq!(obstacles(&host), [true; 7]);
        }
    }
}
