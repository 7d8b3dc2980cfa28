//! Kernel, privileges and the kernel programs.

use super::Check;
use crate::bpf::host::{Host, KernelVersion, THREAD_STATES_FROM};
use crate::bpf::probe::Off;
use crate::commands::one_line;
use crate::daemon::EvidenceConfig;
use crate::kernel_log::KernelLog;
use crate::observe;
use crate::perf::{self, Counter};

/// From here on every feature is there; older kernels lose them one by one.
const FULL_FROM: KernelVersion = THREAD_STATES_FROM;

pub(super) fn checks(off: &Off) -> Vec<Check> {
    let host = Host::read();
    let mut checks = vec![
        kernel(host.kernel),
        if host.btf {
            Check::ok("kernel types (BTF)", "/sys/kernel/btf/vmlinux")
        } else {
            Check::missing(
                "kernel types (BTF)",
                "/sys/kernel/btf/vmlinux is not there",
                "use a kernel built with CONFIG_DEBUG_INFO_BTF",
            )
        },
        if host.built {
            Check::ok("kernel programs", "built into this binary")
        } else {
            Check::missing(
                "kernel programs",
                "this binary was built without them",
                "run `cargo xtask ebpf`, then build again",
            )
        },
        capabilities(&host),
        strangers(&host),
    ];
    checks.extend(
        host.perf_event_paranoid.map(|level| Check::info("perf_event_paranoid", level.to_string())),
    );
    checks.extend(
        host.perf_event_max_stack
            .map(|frames| Check::info("perf_event_max_stack", format!("{frames} frames"))),
    );
    checks.extend(host.lockdown.clone().map(|mode| Check::info("lockdown", mode)));
    checks.extend(host.features_without(off).into_iter().map(|feature| match feature.obstacle {
        None => {
            let limit = feature.limit.map(|limit| format!("; {limit}")).unwrap_or_default();
            Check::ok(
                feature.probe.feature(),
                format!("available ({}){limit}", feature.probe.as_str()),
            )
        }
        Some(obstacle) => match obstacle.split_once("; ") {
            Some((why, advice)) => Check::missing(feature.probe.feature(), why, advice),
            None => Check::missing(feature.probe.feature(), obstacle, "see the checks above"),
        },
    }));
    checks.push(turns());
    checks.push(kernel_log());
    checks.extend(counters());
    checks
}

/// Without it everything works where processors have time to spare.
fn turns() -> Check {
    const NAME: &str = "real-time class";
    match observe::ordinary_because() {
        None => Check::ok(NAME, "the observing thread comes before ordinary ones"),
        Some(why) => Check::info(NAME, format!("none: {why}; a busy server may starve the agent")),
    }
}

/// Errors of devices are a help in telling why a worker died; only the daemon reads them.
fn kernel_log() -> Check {
    const NAME: &str = "errors of devices";
    let path = EvidenceConfig::default().kernel_log;
    match KernelLog::open(&path) {
        Ok(_) => Check::ok(NAME, format!("{} can be read", path.display())),
        Err(error) => Check::info(NAME, format!("not seen: {}", one_line(&error))),
    }
}

/// Counters are a help, not a need: what this machine has none of is no fault to be repaired.
fn counters() -> [Check; 2] {
    let looked = perf::obstacles();
    let list = |found: &[Counter]| {
        let names: Vec<&str> = found.iter().map(|counter| counter.as_str()).collect();
        names.join(", ")
    };
    let [software, hardware] = [false, true].map(|hardware| {
        let name = if hardware { "processor counters" } else { "kernel counters" };
        let of = || looked.iter().filter(move |(counter, _)| counter.is_hardware() == hardware);
        let found: Vec<Counter> =
            of().filter(|(_, why)| why.is_none()).map(|(counter, _)| *counter).collect();
        match of().find_map(|(_, why)| *why) {
            None => Check::ok(name, list(&found)),
            Some(why) if found.is_empty() => Check::info(name, format!("none: {why}")),
            Some(why) => Check::info(name, format!("{}; not the others: {why}", list(&found))),
        }
    });
    [software, hardware]
}

fn kernel(version: KernelVersion) -> Check {
    if version >= FULL_FROM {
        Check::ok("kernel", version.to_string())
    } else {
        Check::missing(
            "kernel",
            format!("{version} is older than {FULL_FROM}"),
            "use a newer kernel for the features listed as missing below",
        )
    }
}

/// Servers in containers run as users of their own.
fn strangers(host: &Host) -> Check {
    const NAME: &str = "workers of other users";
    let missing = host.missing_for_strangers().join(", ");
    if missing.is_empty() {
        Check::ok(NAME, "may be observed")
    } else {
        Check::missing(
            NAME,
            format!("{missing} not held"),
            format!("run as root, or grant {missing}"),
        )
    }
}

fn capabilities(host: &Host) -> Check {
    let missing = host.missing_capabilities();
    if missing.is_empty() {
        Check::ok("capabilities", "all that are needed")
    } else {
        Check::missing(
            "capabilities",
            format!("{} not held", missing.join(", ")),
            format!("run as root, or grant {}", missing.join(", ")),
        )
    }
}
