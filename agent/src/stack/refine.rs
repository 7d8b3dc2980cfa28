//! Why a thread slept, at second sight: what the names of its frames add to its system call.
//!
//! Three looks, each by a table. The kernel's frames tell what a read or write was about, and why a
//! thread slept outside system calls. Native frames, from the leaf up to the first of Python, tell waits for
//! the device and for the interpreter lock. Of Python the first frame counts that belongs neither to
//! the standard library nor to zmq: a queue of vLLM further up is not what the thread waits for.

use std::sync::Arc;

use analysis::wait::WaitReason;

use super::code::{bare, dotted, is_within, last_part};
use crate::capture::{Frame, Language};

/// The reason of a thread that slept with `frames`, root first, in a system call that said `first`.
pub fn refined(first: WaitReason, frames: &[Arc<Frame>]) -> WaitReason {
    let mut reason = first;
    let leaf_first = || frames.iter().rev().map(Arc::as_ref);
    if matches!(first, WaitReason::Unknown | WaitReason::Io) {
        let kernel = leaf_first().take_while(|frame| frame.language == Language::Kernel);
        // The function nearest the system call says it best: those above it are shared by many.
        reason = kernel.filter_map(|frame| of_kernel(&frame.function)).last().unwrap_or(first);
    }
    // Whoever waits for the lock, a child or the clock does just that, whatever called it.
    if matches!(reason, WaitReason::Gil | WaitReason::Child | WaitReason::Sleep) {
        return reason;
    }
    let mut by_zmq = false;
    for frame in leaf_first() {
        match frame.language {
            Language::Kernel | Language::Remark => {}
            Language::Native => {
                if let Some(found) = of_native(frame, reason) {
                    return found;
                }
                by_zmq |= bare(&frame.function).starts_with("zmq_");
            }
            Language::Python => {
                let name = dotted(frame);
                by_zmq |= is_within(&name, "zmq");
                if PASSED_OVER.iter().any(|module| is_within(&name, module)) {
                    continue;
                }
                if let Some(found) = of_python(&name) {
                    return found;
                }
                break;
            }
        }
    }
    if by_zmq { WaitReason::Queue } else { reason }
}

/// Starts of names of kernel functions.
const KERNEL: [(&str, WaitReason); 39] = [
    ("unix_stream_", WaitReason::Network),
    ("unix_dgram_", WaitReason::Network),
    ("sock_", WaitReason::Network),
    ("__sys_recv", WaitReason::Network),
    ("__sys_send", WaitReason::Network),
    ("tcp_", WaitReason::Network),
    ("udp_", WaitReason::Network),
    ("inet_", WaitReason::Network),
    ("ep_poll", WaitReason::Network),
    ("do_epoll_wait", WaitReason::Network),
    ("do_sys_poll", WaitReason::Network),
    ("do_poll", WaitReason::Network),
    ("do_select", WaitReason::Network),
    ("eventfd_read", WaitReason::Lock),
    ("futex_", WaitReason::Lock),
    ("do_futex", WaitReason::Lock),
    ("do_wait", WaitReason::Child),
    ("kernel_wait4", WaitReason::Child),
    ("kernel_waitid", WaitReason::Child),
    ("wait_for_vfork_done", WaitReason::Child),
    ("do_nanosleep", WaitReason::Sleep),
    ("hrtimer_nanosleep", WaitReason::Sleep),
    ("folio_wait_bit", WaitReason::Io),
    ("filemap_", WaitReason::Io),
    ("io_schedule", WaitReason::Io),
    ("wait_on_page", WaitReason::Io),
    ("do_swap_page", WaitReason::Io),
    ("blk_", WaitReason::Io),
    ("blkdev_", WaitReason::Io),
    ("submit_bio", WaitReason::Io),
    ("vfs_fsync", WaitReason::Io),
    ("jbd2_", WaitReason::Io),
    ("ext4_", WaitReason::Io),
    ("xfs_", WaitReason::Io),
    ("btrfs_", WaitReason::Io),
    ("f2fs_", WaitReason::Io),
    ("ovl_", WaitReason::Io),
    ("nfs_", WaitReason::Io),
    ("fuse_", WaitReason::Io),
];

fn of_kernel(function: &str) -> Option<WaitReason> {
    KERNEL.iter().find(|(start, _)| function.starts_with(start)).map(|&(_, reason)| reason)
}

/// Functions of CPython that sleep until the thread has the interpreter lock, or, under forced
/// switching, until another thread has it.
const TAKE_THE_LOCK: [&str; 6] = [
    "take_gil",
    "drop_gil",
    "PyEval_RestoreThread",
    "PyEval_AcquireThread",
    "PyGILState_Ensure",
    "_PyEval_TakeGIL",
];

fn of_native(frame: &Frame, reason: WaitReason) -> Option<WaitReason> {
    let function = bare(&frame.function);
    if reason == WaitReason::Lock && TAKE_THE_LOCK.contains(&function) {
        return Some(WaitReason::Gil);
    }
    waits_for_the_device(function).then_some(WaitReason::Cuda)
}

/// Calls of CUDA's driver and runtime that return when the device has done something.
fn waits_for_the_device(function: &str) -> bool {
    let Some(name) = function.strip_prefix("cuda").or_else(|| function.strip_prefix("cu")) else {
        return false;
    };
    // `cublas...`, `current`: what follows begins with a capital.
    if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
        return false;
    }
    let copies = name.starts_with("Memcpy") || name.starts_with("Memset");
    name.contains("Synchronize")
        || name.starts_with("Free") && !name.contains("Async")
        || name.starts_with("MemFree") && !name.contains("Async")
        || copies && !name.contains("Async")
}

/// Modules through which others wait.
const PASSED_OVER: [&str; 16] = [
    "threading",
    "_threading_local",
    "queue",
    "selectors",
    "select",
    "socket",
    "ssl",
    "contextlib",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "subprocess",
    "signal",
    "time",
    "zmq",
    "weakref",
];

/// Functions of vLLM 0.32 and 0.33 that wait: module, function (`""`: all of it), what for.
const PYTHON: [(&str, &str, WaitReason); 22] = [
    // Between the engine core and its workers: `MessageQueue`.
    ("vllm.distributed.device_communicators.shm_broadcast", "", WaitReason::Queue),
    ("vllm.distributed.device_communicators.shm_object_storage", "", WaitReason::Queue),
    ("vllm.v1.executor.multiproc_executor", "get_response", WaitReason::Queue),
    ("vllm.v1.executor.multiproc_executor", "collective_rpc", WaitReason::Queue),
    ("vllm.v1.executor.multiproc_executor", "worker_busy_loop", WaitReason::Queue),
    ("vllm.v1.executor.multiproc_executor", "async_output_busy_loop", WaitReason::Queue),
    // Between API servers and the engine core.
    ("vllm.v1.engine.core", "_process_input_queue", WaitReason::Queue),
    ("vllm.v1.engine.core", "process_input_sockets", WaitReason::Queue),
    ("vllm.v1.engine.core", "process_output_sockets", WaitReason::Queue),
    ("vllm.v1.engine.core_client", "get_output", WaitReason::Queue),
    ("vllm.v1.engine.core_client", "get_output_async", WaitReason::Queue),
    ("vllm.v1.engine.core_client", "process_outputs_socket", WaitReason::Queue),
    ("vllm.v1.engine.core_client", "_send_input", WaitReason::Queue),
    ("vllm.v1.engine.core_client", "call_utility", WaitReason::Queue),
    ("vllm.v1.engine.coordinator", "process_input_socket", WaitReason::Queue),
    // Watching each other's end.
    ("vllm.v1.executor", "monitor_workers", WaitReason::Child),
    ("vllm.v1.executor.multiproc_executor", "monitor_death_pipe", WaitReason::Child),
    ("vllm.v1.executor.multiproc_executor", "wait_for_ready", WaitReason::Child),
    ("vllm.v1.engine.core_client", "monitor_engine_cores", WaitReason::Child),
    ("vllm.v1.engine.utils", "wait_for_engine_startup", WaitReason::Child),
    ("vllm.v1.utils", "wait_for_completion_or_failure", WaitReason::Child),
    ("vllm.v1.engine.coordinator", "_wait_for_zmq_addrs", WaitReason::Child),
];

fn of_python(name: &str) -> Option<WaitReason> {
    let found = PYTHON.iter().find(|(module, function, _)| {
        is_within(name, module) && (function.is_empty() || last_part(name) == *function)
    });
    found.map(|&(_, _, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames root first: `k:` the kernel's, `p:` Python's, others native.
    fn check(first: WaitReason, frames: &[&str], expected: WaitReason) {
        let stack: Vec<Arc<Frame>> = frames
            .iter()
            .map(|text| {
                let (language, function) = match text.split_once(':') {
                    Some(("k", function)) => (Language::Kernel, function),
                    Some(("p", function)) => (Language::Python, function),
                    _ => (Language::Native, *text),
                };
                Arc::new(Frame { language, function: function.to_owned(), ..Frame::default() })
            })
            .collect();
        assert_eq!(refined(first, &stack), expected, "{first:?} {frames:?}");
    }

    const ENGINE: &str = "p:vllm.v1.engine.core.EngineCoreProc.run_busy_loop";

    #[test]
    fn a_queue_is_one_only_where_the_thread_waits_for_it() {
        let lock = WaitReason::Lock;
        let wait = [
            ENGINE,
            "p:vllm.v1.engine.core.EngineCoreProc._process_input_queue",
            "p:queue.Queue.get",
            "p:threading.Condition.wait",
            "__futex_abstimed_wait_common",
            "k:futex_wait_queue",
        ];
        check(lock, &wait, WaitReason::Queue);
        // Something else that the same function calls waits for its own lock.
        let mut other = wait.to_vec();
        other.insert(2, "p:vllm.v1.core.sched.scheduler.Scheduler.add_request");
        check(lock, &other, lock);
        check(WaitReason::Gil, &wait, WaitReason::Gil);
    }

    #[test]
    fn queues_between_processes() {
        let dequeue = "p:vllm.distributed.device_communicators.shm_broadcast.MessageQueue.dequeue";
        let spin = "p:vllm.distributed.device_communicators.shm_broadcast.SpinCondition.wait";
        let poll = "p:zmq.sugar.poll.Poller.poll";
        let network = WaitReason::Network;
        check(network, &[ENGINE, dequeue, spin, poll, "poll"], WaitReason::Queue);
        // zmq's own function says so, whatever Python calls it.
        check(network, &["p:app.main", "zmq_poll", "poll", "k:do_sys_poll"], WaitReason::Queue);
        check(network, &["p:app.main", poll, "poll"], WaitReason::Queue);
        // Its background thread watches sockets.
        check(network, &["clone3", "zmq::epoll_t::loop", "epoll_wait"], network);
        check(network, &["p:app.main", "p:selectors.EpollSelector.select", "epoll_wait"], network);
    }

    #[test]
    fn the_device_is_waited_for_in_calls_that_say_so() {
        for (function, expected) in [
            ("cudaStreamSynchronize", WaitReason::Cuda),
            ("cuEventSynchronize", WaitReason::Cuda),
            ("cudaMemcpy", WaitReason::Cuda),
            ("cudaFree", WaitReason::Cuda),
            ("cudaMemcpyAsync", WaitReason::Lock),
            ("cublasSynchronize", WaitReason::Lock),
            ("cudaLaunchKernel", WaitReason::Lock),
            ("custom::Synchronize", WaitReason::Lock),
        ] {
            let frames = ["p:torch.cuda.synchronize", function, "pthread_cond_wait"];
            check(WaitReason::Lock, &frames, expected);
        }
        // An ioctl or a spinning wait that yields has no reason of its own.
        check(WaitReason::Unknown, &["cuStreamSynchronize", "ioctl"], WaitReason::Cuda);
        // What called Python does not count.
        let above = ["cudaStreamSynchronize", "p:callback.run", "pthread_mutex_lock"];
        check(WaitReason::Lock, &above, WaitReason::Lock);
    }

    #[test]
    fn the_lock_is_told_by_name_where_its_address_is_not_known() {
        let frames = ["p:app.f", "PyEval_RestoreThread", "pthread_cond_timedwait@@GLIBC_2.3.2"];
        check(WaitReason::Lock, &frames, WaitReason::Gil);
        check(WaitReason::Network, &frames, WaitReason::Network);
    }

    #[test]
    fn the_kernel_says_what_was_read() {
        for (frames, expected) in [
            (&["read", "k:vfs_read", "k:pipe_read", "k:schedule"][..], WaitReason::Io),
            (
                &["read", "k:vfs_read", "k:sock_read_iter", "k:unix_stream_read_generic"],
                WaitReason::Network,
            ),
            (&["read", "k:vfs_read", "k:ext4_file_read_iter", "k:filemap_read"], WaitReason::Io),
            (&["read", "k:vfs_read", "k:eventfd_read", "k:schedule"], WaitReason::Lock),
            (&["read"], WaitReason::Io),
        ] {
            check(WaitReason::Io, frames, expected);
        }
        let fault = ["main", "k:exc_page_fault", "k:filemap_fault", "k:io_schedule"];
        check(WaitReason::Unknown, &fault, WaitReason::Io);
        check(WaitReason::Unknown, &["main", "k:schedule"], WaitReason::Unknown);
    }

    #[test]
    fn whoever_watches_others_waits_for_their_end() {
        let name = "p:vllm.v1.executor.multiproc_executor.MultiprocExecutor.\
                    start_worker_monitor.<locals>.monitor_workers";
        let wait = "p:multiprocessing.connection.wait";
        let select = "p:selectors._PollLikeSelector.select";
        check(WaitReason::Network, &[name, wait, select, "poll"], WaitReason::Child);
    }
}
