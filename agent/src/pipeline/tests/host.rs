//! Samples, sleeps and their stacks from wire bytes to the outputs, live and from a recording.

use analysis::wait::WaitReason;
use wire::kernel::{WaitEvent, stack_flag};

use super::*;
use crate::capture::{GilRow, WaitStack};
use crate::stack::{Place, Remark};

const HELPER: u32 = 4243;

fn python(number: u64) -> u64 {
    Place::Python(number).to_bits()
}

fn kernel_address(address: u64) -> u64 {
    Place::Kernel(address).to_bits()
}

/// As the agent makes them from copies.
fn unwound(kind: u32, tid: u32, key: u64, flags: u32, leaf_first: &[u64]) -> Input {
    let mut addresses = [0; STACK_FRAMES];
    addresses[..leaf_first.len()].copy_from_slice(leaf_first);
    let event = StackEvent {
        kind,
        frames: u32::try_from(leaf_first.len()).unwrap(),
        time_ns: ARMED,
        tgid: PID,
        tid,
        correlation: 0,
        weight: 0,
        thread: 0,
        cpu: 0,
        key,
        flags,
        reserved: 0,
        addresses,
    };
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn wait(tid: u32, from_ns: u64, to_ns: u64, signature: u64, open: u32) -> Input {
    let event =
        WaitEvent { kind: event_kind::WAIT, tgid: PID, tid, open, from_ns, to_ns, signature };
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn reason(reason: WaitReason) -> u32 {
    reason.number() << stack_flag::WAIT_KIND_SHIFT
}

fn frame(language: Language, function: &str, place: Option<(&str, u32)>) -> Frame {
    Frame {
        language,
        function: function.to_owned(),
        module: None,
        file: place.map(|(file, _)| file.to_owned()),
        line: place.map(|(_, line)| line),
    }
}

fn names() -> Input {
    let dequeue = "vllm.distributed.device_communicators.shm_broadcast.MessageQueue.dequeue";
    let of = |address, frame| Symbol { address, frames: vec![frame] };
    let symbols = vec![
        of(0x10, frame(Language::Native, "_start", None)),
        of(0x20, frame(Language::Native, "poll", None)),
        of(0x30, frame(Language::Native, "cudaLaunchKernel", None)),
        of(python(1), frame(Language::Python, "app.main", Some(("/srv/app.py", 3)))),
        of(python(2), frame(Language::Python, dequeue, Some(("/v/shm_broadcast.py", 961)))),
        of(kernel_address(0x77), frame(Language::Kernel, "do_sys_poll", None)),
    ];
    Input::Symbols { process: PROCESS, symbols }
}

fn server() -> Vec<Input> {
    let mut inputs = head();
    let sleeping = [kernel_address(0x77), 0x20, python(2), python(1), 0x10];
    let off = event_kind::OFF_CPU_STACK;
    inputs.extend([
        unwound(off, PID, 5, reason(WaitReason::Network), &sleeping),
        unwound(off, HELPER, 6, reason(WaitReason::Gil), &[0x20, 0x10]),
        unwound(
            off,
            HELPER,
            7,
            reason(WaitReason::Io) | stack_flag::HOLDS_GIL,
            &[0x20, Place::Remark(Remark::TooLong).to_bits()],
        ),
        // Looked at while it slept, then over.
        wait(PID, ARMED, ARMED + 400, 5, 1),
        wait(HELPER, ARMED, ARMED + 70, 6, 0),
        wait(HELPER, ARMED + 100, ARMED + 130, 7, 0),
        wait(HELPER, ARMED + 200, ARMED + 202, 8, 0),
        wait(PID, ARMED, ARMED + 1_000, 5, 0),
        unwound(event_kind::CPU_SAMPLE, PID, 0, stack_flag::HOLDS_GIL, &[python(1), 0x10]),
        unwound(event_kind::CPU_SAMPLE, PID, 0, 0, &[0x30, python(1), 0x10]),
        names(),
    ]);
    inputs
}

#[test]
fn sleeps_and_samples_meet_their_names() {
    let capture = run(&server());
    let found: Vec<(u32, WaitReason, u64, bool)> = capture
        .waits
        .iter()
        .map(|&WaitStack { thread, reason, ns, holds_gil, .. }| (thread.0, reason, ns, holds_gil))
        .collect();
    // What the system call took for the network is a queue by the names of its frames.
    assert_eq!(
        found,
        [
            (PID, WaitReason::Queue, 1_000, false),
            (HELPER, WaitReason::Unknown, 2, false),
            (HELPER, WaitReason::Gil, 70, false),
            (HELPER, WaitReason::Io, 30, true),
        ]
    );
    let row = |thread, samples_on_cpu, samples_holding, waited_ns, held_off_cpu_ns| GilRow {
        process: PROCESS,
        thread: Thread(thread),
        samples_on_cpu,
        samples_holding,
        waited_ns,
        held_off_cpu_ns,
    };
    assert_eq!(capture.gil, [row(PID, 2, 1, 0, 0), row(HELPER, 0, 0, 70, 30)]);
}

#[test]
fn frames_show_their_language_and_a_cut_its_reason() {
    let capture = run(&server());
    assert_eq!(
        folded::cpu(&capture),
        "worker (pid 4242);main thread;_start;app.main (app.py:3) 1\n\
         worker (pid 4242);main thread;_start;app.main (app.py:3);cudaLaunchKernel 1\n"
    );
    let dequeue = "vllm.distributed.device_communicators.shm_broadcast.MessageQueue.dequeue";
    assert_eq!(
        folded::offcpu(&capture),
        format!(
            "worker (pid 4242);main thread;_start;app.main (app.py:3);{dequeue} (shm_broadcast.py:961);poll;do_sys_poll [k];[waiting: queue] 1000\n\
             worker (pid 4242);thread 4243;[cut: stack longer than 32 KiB];poll;[waiting: io] 30\n\
             worker (pid 4242);thread 4243;[stack not taken];[waiting: unknown] 2\n\
             worker (pid 4242);thread 4243;_start;poll;[waiting: gil] 70\n"
        )
    );
}

#[test]
fn gpu_time_is_rooted_in_python() {
    let mut inputs = scenario();
    inputs.insert(7, stack(event_kind::LAUNCH_STACK, 2, &[0x30, python(1), 0x10]));
    inputs.push(names());
    let text = folded::gpu(&run(&inputs));
    let line = "worker (pid 4242);_start;app.main (app.py:3);cudaLaunchKernel;gemm_kernel";
    assert!(text.contains(line), "{text}");
}

#[test]
fn sleeps_replay_like_live() {
    let (live, replayed) = (run(&server()), replay(&server()));
    assert_eq!(replayed.waits, live.waits);
    assert_eq!(replayed.gil, live.gil);
    assert_eq!(json::render(&replayed).unwrap(), json::render(&live).unwrap());
    assert_eq!(folded::wall(&replayed), folded::wall(&live));
}

/// A session's tables are made for the threads that launch; a server has hundreds of others.
#[test]
fn sleeps_of_threads_that_do_not_launch_fill_no_table_of_the_session() {
    let mut inputs = scenario();
    let last = inputs.pop().unwrap();
    for tid in 10_000..12_000 {
        inputs.push(wait(tid, ARMED, ARMED + 500, 0, 0));
    }
    inputs.push(last);
    let capture = run(&inputs);
    assert_eq!(capture.report.defects, []);
    assert_eq!(capture.waits.len(), 2_000);
}

#[test]
fn nothing_counts_after_the_end_of_the_observation() {
    let mut inputs = server();
    inputs.insert(6, Input::Limit(Ns(ARMED + 50)));
    let capture = run(&inputs);
    let total: u64 = capture.waits.iter().map(|wait| wait.ns).sum();
    // Two threads slept until then.
    assert_eq!(total, 2 * 50);
}

#[test]
fn functions_that_only_pass_calls_are_dropped_beside_python() {
    let mut inputs = server();
    let symbols = vec![
        // Inlined, innermost first.
        symbol(0x40, &["_PyEval_EvalFrame", "_PyEval_Vector", "PyEval_EvalCode"]),
        symbol(0x50, &["PyObject_Vectorcall", "sorted_by_c", "cfunction_vectorcall_O"]),
    ];
    inputs.push(Input::Symbols { process: PROCESS, symbols });
    let sample = event_kind::CPU_SAMPLE;
    inputs.push(unwound(sample, PID, 0, 0, &[0x50, python(1), 0x40, 0x10]));
    inputs.push(unwound(sample, PID, 0, 0, &[0x50, 0x40, 0x10]));
    let text = folded::cpu(&run(&inputs));
    let root = "worker (pid 4242);main thread;_start;PyEval_EvalCode";
    for line in [
        "app.main (app.py:3);sorted_by_c;PyObject_Vectorcall 1\n",
        // Without Python nothing is known to be beside it.
        "_PyEval_Vector;_PyEval_EvalFrame;cfunction_vectorcall_O;sorted_by_c;PyObject_Vectorcall 1\n",
    ] {
        assert!(text.contains(&format!("{root};{line}")), "{line} in {text}");
    }
}

#[test]
fn our_own_program_is_not_what_a_thread_did() {
    let mut inputs = server();
    let of = |address, function: &str| Symbol {
        address: kernel_address(address),
        frames: vec![frame(Language::Kernel, function, None)],
    };
    let symbols = vec![
        of(0x1, "bpf_prog_8bfa4d09aaaff9b2_thread_switched"),
        of(0x2, "bpf_trace_run4"),
        of(0x3, "__traceiter_sched_switch"),
        of(0x4, "schedule"),
    ];
    inputs.push(Input::Symbols { process: PROCESS, symbols });
    let leaf_first = [0x1, 0x2, 0x3, 0x4].map(kernel_address);
    let stack = [&leaf_first[..], &[0x20, 0x10]].concat();
    inputs.push(unwound(event_kind::CPU_SAMPLE, PID, 0, 0, &stack));
    let text = folded::cpu(&run(&inputs));
    assert!(text.contains("main thread;_start;poll;schedule [k] 1\n"), "{text}");
}

#[test]
fn threads_are_asked_for_once_and_show_their_names() {
    let mut pipeline = Pipeline::marked();
    for input in server() {
        pipeline.feed(input);
    }
    let asked: Vec<u32> =
        pipeline.take_unnamed_threads().iter().map(|unnamed| unnamed.thread.0).collect();
    assert_eq!(asked, [PID, HELPER]);
    assert_eq!(pipeline.take_unnamed_threads(), []);
    let named = |thread, name: &str| Input::ThreadName {
        process: PROCESS,
        thread: Thread(thread),
        name: name.to_owned(),
    };
    pipeline.feed(named(HELPER, "ZMQbg/IO/0"));
    pipeline.feed(named(99, "nobody saw it"));
    let capture = pipeline.finish();
    assert_eq!(capture.threads.len(), 1);
    let text = folded::offcpu(&capture);
    assert!(text.contains("worker (pid 4242);ZMQbg/IO/0 (thread 4243);_start"), "{text}");
}
