//! What the daemon may do. What it does not need it gives up before it has threads, parses a configuration's rules or reads
//! a byte of a server: a hole in a parser is then a hole in less.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use thiserror::Error;

/// What is kept, of what there is; docs/deploy.md has what each is for. `SYS_ADMIN` only where the kernel knows no `BPF`
/// (before 5.8), which it stands for there.
const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::CHECKPOINT_RESTORE)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SYS_NICE);

/// What entering another process takes: stopping its threads, reading what it maps, filling its file in memory, and a
/// turn beside servers that spin.
pub const ENTERING: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::CHECKPOINT_RESTORE)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SYS_NICE);

/// What becomes of programs that the daemon starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// There are none.
    None,
    /// This program, to enter processes: it may what that takes, also where this one is not root.
    Entering,
}

/// Why privileges could not be given up.
#[derive(Debug, Error)]
pub enum GiveUpError {
    #[error(
        "{step}: run it without `drop_privileges` in the configuration, or find out who forbids it"
    )]
    Refused {
        step: &'static str,
        #[source]
        source: Errno,
    },
}

/// Gives up every capability that is not needed, and what programs that it might start could gain; no core dump is left,
/// which would hold what was read of servers. To be called while there is one thread.
///
/// # Errors
/// When the kernel refuses.
pub fn give_up(children: Children) -> Result<(), GiveUpError> {
    keep_only(NEEDED)?;
    match children {
        Children::None => Ok(()),
        Children::Entering => hand_down(),
    }
}

/// Gives up every capability but `needed`, as [`give_up`] does.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_only(needed: CapabilitySet) -> Result<(), GiveUpError> {
    let refused = |step| move |source| GiveUpError::Refused { step, source };
    let held = capabilities(None).map_err(refused("read the capabilities"))?;
    let kept = kept(held.permitted, needed);
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // One that this kernel does not know is not there either.
            match remove_from_bounding_set(capability, kept) {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(source) => {
                    return Err(refused("bound the capabilities of programs it might start")(
                        source,
                    ));
                }
            }
        }
    }
    // Kernels before 4.3 have none.
    let _absent = clear_ambient_capability_set();
    let sets = CapabilitySets {
        effective: held.effective & kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(refused("give up capabilities"))?;
    set_no_new_privs(true).map_err(refused("forbid to gain privileges"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(refused("forbid core dumps"))
}

/// A program of another user than root that this one starts has [`ENTERING`], as far as this one has it.
fn hand_down() -> Result<(), GiveUpError> {
    let refused = |step| move |source| GiveUpError::Refused { step, source };
    let held = capabilities(None).map_err(refused("read the capabilities"))?;
    let down = kept(held.permitted, ENTERING);
    set_capabilities(None, CapabilitySets { inheritable: down, ..held })
        .map_err(refused("hand capabilities down to who enters processes"))?;
    for capability in down.iter() {
        configure_capability_in_ambient_set(capability, true)
            .map_err(refused("hand capabilities down to who enters processes"))?;
    }
    Ok(())
}

fn remove_from_bounding_set(capability: CapabilitySet, kept: CapabilitySet) -> Result<(), Errno> {
    if kept.contains(capability) { Ok(()) } else { remove_capability_from_bounding_set(capability) }
}

fn kept(permitted: CapabilitySet, needed: CapabilitySet) -> CapabilitySet {
    // Where one is missing that `SYS_ADMIN` stands for, it is because the kernel does not know it, or because the other
    // was granted in its place.
    let stand_ins = needed & (CapabilitySet::BPF | CapabilitySet::CHECKPOINT_RESTORE);
    let needed =
        if permitted.contains(stand_ins) { needed } else { needed | CapabilitySet::SYS_ADMIN };
    permitted & needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_there_is_and_is_needed() {
        let all = CapabilitySet::all();
        assert_eq!(kept(all, NEEDED), NEEDED);
        assert_eq!(kept(all, ENTERING), ENTERING);
        assert_eq!(kept(CapabilitySet::empty(), NEEDED), CapabilitySet::empty());
        let old = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE | CapabilitySet::KILL;
        for needed in [NEEDED, ENTERING] {
            assert_eq!(kept(old, needed), CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE);
        }
    }
}
