//! What beside its name may tell what a kernel is.
//!
//! Rules ask for it only where a name is generic. What is not known stays out: a condition on it
//! then fails, whether negated or not, so that absence never decides.

/// Launch attributes, module and launch stack of one kernel, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// File name of the module the kernel was loaded from.
    pub module: Option<&'a str>,
    /// Names on the launch stack, in any order: functions, and operators where a trace has them.
    pub frames: &'a [&'a str],
    pub grid: Option<[u32; 3]>,
    pub block: Option<[u32; 3]>,
    pub dynamic_shared: Option<u32>,
}

/// Product of the three extents.
pub(super) fn extent(of: Option<[u32; 3]>) -> Option<u64> {
    of.map(|sides| sides.into_iter().fold(1_u64, |all, side| all.saturating_mul(side.into())))
}
