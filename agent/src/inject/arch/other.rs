//! An architecture whose processes cannot be entered yet.

pub(in crate::inject) use libc::user_regs_struct as Registers;

pub(in crate::inject) const UNSUPPORTED: Option<&str> =
    Some("processes are entered on x86-64 only");

pub(in crate::inject) const RED_ZONE: u64 = 0;

/// `NT_FPREGSET`.
pub(in crate::inject) const VECTOR_SET: i32 = 2;

#[derive(Clone, Copy, Debug)]
pub(in crate::inject) struct Waiting {
    pub(in crate::inject) again: Registers,
    pub(in crate::inject) by_kernel: bool,
}

pub(in crate::inject) struct Start {
    pub(in crate::inject) registers: Registers,
    pub(in crate::inject) stack: u64,
    pub(in crate::inject) bytes: Vec<u8>,
}

pub(in crate::inject) fn may_wait_in(_syscall: u64, _second_argument: u64) -> bool {
    false
}

pub(in crate::inject) fn waiting(
    _registers: &Registers,
    _before: impl FnOnce(u64, usize) -> Vec<u8>,
) -> Option<Waiting> {
    None
}

pub(in crate::inject) fn general(_registers: &Registers) -> crate::unwind::Registers {
    [0; 17]
}

pub(in crate::inject) fn stack(_registers: &Registers) -> u64 {
    0
}

pub(in crate::inject) fn refuses(_status: &str) -> Option<&'static str> {
    UNSUPPORTED
}

pub(in crate::inject) fn code() -> &'static [u8] {
    &[]
}

pub(in crate::inject) fn map(
    resumed: &Registers,
    _code: u64,
    _address: u64,
    _bytes: u64,
    _wake: Option<u32>,
) -> Start {
    Start { registers: *resumed, stack: 0, bytes: Vec::new() }
}

pub(in crate::inject) fn run(resumed: &Registers, _code: u64, _room: u64) -> Start {
    Start { registers: *resumed, stack: 0, bytes: Vec::new() }
}

pub(in crate::inject) fn vector_bytes() -> u64 {
    0
}
