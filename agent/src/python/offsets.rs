//! Where each version of CPython keeps what is read: offsets in bytes, x86-64, with the global lock
//! (no free-threaded build).
//!
//! Measured by `offsetof` with each version's own headers. From 3.13 on CPython publishes most of them in
//! its own memory (`published`), and these are what to expect there.

use wire::kernel::NO_OFFSET;

use super::version::Version;

/// Everything of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    /// In `_PyRuntime`.
    pub(super) tss_key: u64,
    pub(super) interpreters_main: u64,
    /// In `PyInterpreterState`.
    pub(super) threads_head: u64,
    pub(super) gil: Gil,
    pub(super) thread: Thread,
    pub(super) frame: Frame,
    pub(super) code: Code,
    /// Sizes of `PyASCIIObject` and `PyCompactUnicodeObject`: characters lie behind them.
    pub(super) ascii: u64,
    pub(super) compact: u64,
}

/// Where the global lock's `_gil_runtime_state` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gil {
    /// At this offset of `_PyRuntime`.
    Runtime(u64),
    /// Behind the pointer at this offset of the main interpreter.
    Pointer(u64),
}

/// In `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) next: u64,
    /// `thread_id`, which is `pthread_self()`.
    pub(super) identity: u64,
    /// `native_thread_id`; 3.10 has none.
    pub(super) native_id: Option<u64>,
    /// The frame, or the `_PyCFrame` that has it.
    pub(super) frame: u32,
    /// In `_PyCFrame`, or [`NO_OFFSET`].
    pub(super) cframe: u32,
}

/// In a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) code: u32,
    pub(super) previous: u32,
    pub(super) instruction: u32,
    pub(super) instruction_bytes: u32,
    pub(super) owner: u32,
    pub(super) entry: u32,
}

/// In `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) filename: usize,
    pub(super) name: usize,
    /// 3.10 has none.
    pub(super) qualname: Option<usize>,
    pub(super) first_line: usize,
    pub(super) line_table: usize,
    /// The first instruction; 3.10 counts from 0.
    pub(super) instructions: usize,
    /// 3.12 on.
    pub(super) version: Option<usize>,
}

impl Offsets {
    pub(super) fn of(version: Version) -> Self {
        match version {
            Version::V3_10 => v3_10(),
            Version::V3_11 => v3_11(),
            Version::V3_12 => v3_12(),
            Version::V3_13 => v3_13(),
            Version::V3_14 => v3_14(),
        }
    }
}

fn v3_10() -> Offsets {
    Offsets {
        tss_key: 584,
        interpreters_main: 40,
        threads_head: 8,
        gil: Gil::Runtime(352),
        thread: Thread { next: 8, identity: 176, native_id: None, frame: 24, cframe: NO_OFFSET },
        frame: Frame {
            code: 32,
            previous: 24,
            instruction: 96,
            instruction_bytes: 4,
            owner: NO_OFFSET,
            entry: NO_OFFSET,
        },
        code: Code {
            filename: 104,
            name: 112,
            qualname: None,
            first_line: 40,
            line_table: 120,
            instructions: 0,
            version: None,
        },
        ascii: 48,
        compact: 72,
    }
}

fn v3_11() -> Offsets {
    Offsets {
        tss_key: 592,
        interpreters_main: 48,
        threads_head: 16,
        gil: Gil::Runtime(360),
        thread: Thread { next: 8, identity: 152, native_id: Some(160), frame: 56, cframe: 8 },
        frame: Frame {
            code: 32,
            previous: 48,
            instruction: 56,
            instruction_bytes: 8,
            owner: 69,
            entry: 68,
        },
        code: Code { first_line: 72, instructions: 184, version: None, ..code_3_12() },
        ascii: 48,
        compact: 72,
    }
}

fn v3_12() -> Offsets {
    Offsets {
        tss_key: 1544,
        interpreters_main: 48,
        threads_head: 72,
        gil: Gil::Pointer(384),
        thread: Thread { next: 8, identity: 136, native_id: Some(144), frame: 56, cframe: 0 },
        frame: Frame {
            code: 0,
            previous: 8,
            instruction: 56,
            instruction_bytes: 8,
            owner: 70,
            entry: NO_OFFSET,
        },
        code: code_3_12(),
        ascii: 40,
        compact: 56,
    }
}

/// `PyCodeObject` of 3.12; later ones differ in where the instructions begin.
fn code_3_12() -> Code {
    Code {
        filename: 112,
        name: 120,
        qualname: Some(128),
        first_line: 68,
        line_table: 136,
        instructions: 192,
        version: Some(92),
    }
}

fn v3_13() -> Offsets {
    Offsets {
        tss_key: 2160,
        interpreters_main: 640,
        threads_head: 7344,
        gil: Gil::Pointer(16),
        thread: Thread {
            next: 8,
            identity: 152,
            native_id: Some(160),
            frame: 72,
            cframe: NO_OFFSET,
        },
        code: Code { instructions: 200, ..code_3_12() },
        ..v3_12()
    }
}

fn v3_14() -> Offsets {
    let v3_13 = v3_13();
    Offsets {
        tss_key: 2336,
        interpreters_main: 816,
        frame: Frame { owner: 74, ..v3_13.frame },
        code: Code { instructions: 208, ..code_3_12() },
        ..v3_13
    }
}
