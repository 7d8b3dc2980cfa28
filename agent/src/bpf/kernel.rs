//! Where the running kernel keeps what the programs read of a thread.

use std::fs;
use std::path::Path;

use super::btf;
use super::error::BpfError;

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const TASK: &str = "task_struct";

/// Offsets in `task_struct`, each with why it is not known.
#[derive(Debug)]
pub(super) struct TaskOffsets {
    pub(super) pid: Result<u32, BpfError>,
    /// Processor time a thread has had, ns.
    pub(super) ran: Result<u32, BpfError>,
    /// The thread pointer, where the C library's data of a thread begin.
    pub(super) fsbase: Result<u32, BpfError>,
    /// What a process is reaped with.
    pub(super) exit_code: Result<u32, BpfError>,
}

impl TaskOffsets {
    /// Of the running kernel, by one reading of its types: they are some 6 MB.
    pub(super) fn read() -> Self {
        let bytes = fs::read(Path::new(TYPES));
        let find = |field: &'static str, path: &[&str], lost: &'static str| match &bytes {
            Ok(bytes) => btf::field_offset(bytes, TASK, path).ok_or(BpfError::NoField {
                field,
                path: TYPES,
                lost,
            }),
            Err(error) => {
                // An error cannot be cloned; its kind and text are what the reader needs.
                let source = std::io::Error::new(error.kind(), error.to_string());
                Err(BpfError::Types { path: TYPES, lost, source })
            }
        };
        Self {
            pid: find("task_struct.pid", &["pid"], "the states of threads"),
            ran: find(
                "task_struct.se.sum_exec_runtime",
                &["se", "sum_exec_runtime"],
                "the states of threads",
            ),
            fsbase: find("task_struct.thread.fsbase", &["thread", "fsbase"], "Python's stacks"),
            exit_code: find("task_struct.exit_code", &["exit_code"], "how processes ended"),
        }
    }
}
