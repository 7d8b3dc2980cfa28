//! The channel to the simulated libcudart and libcupti, and the private exports.

use std::ffi::{CStr, c_char};

use sim_channel::work::Settlement;
use sim_channel::{Channel, Frame, Host, State};
use sim_truth::{Entry, Settled};

use crate::stream::DefaultStream;
use crate::{api, context, exec, graph, init, module, stream, truth, work};

/// What the other simulated libraries reach through [`warplens_sim_channel`].
pub(crate) static CHANNEL: Channel = Channel::new(Host {
    state,
    enter,
    exit,
    settle,
    release,
    context_id,
    context_device,
    stream_id,
    graph_id,
    graph_node_id,
    graph_exec_id,
    function,
    function_name,
});

/// Tells everybody that this is not a real driver.
#[unsafe(no_mangle)]
extern "C" fn warplens_simulated_cuda() -> i32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn warplens_sim_channel() -> *const Channel {
    &raw const CHANNEL
}

/// A kernel by name: `const char*` to `CUfunction`, for programs that use the driver API without PTX.
#[unsafe(no_mangle)]
extern "C" fn warplens_sim_function(name: *const c_char) -> usize {
    function(name)
}

/// Prescribes start (`CLOCK_MONOTONIC` ns) and duration (ns) of this thread's next launch.
#[unsafe(no_mangle)]
extern "C" fn warplens_sim_prescribe(start_ns: u64, duration_ns: u64) {
    work::prescribe(start_ns, duration_ns);
}

/// Nodes that this thread adds to graphs from here on are made at `site`: a number of the program's own
/// that the truth tells with every replay of them.
#[unsafe(no_mangle)]
extern "C" fn warplens_sim_capture_site(site: u32) {
    graph::set_site(site);
}

extern "C" fn state() -> State {
    init::state()
}

extern "C" fn enter(frame: *mut Frame) -> i32 {
    // SAFETY: libcudart passes its own frame, which lives until it has called `exit`.
    let frame = unsafe { &mut *frame };
    crate::error::code(api::enter(frame))
}

extern "C" fn exit(frame: *mut Frame, result: i32) {
    // SAFETY: the frame that `enter` was called with; libcudart keeps it until this returns.
    let frame = unsafe { &mut *frame };
    api::exit(frame, result);
}

extern "C" fn settle(settlement: *const Settlement) {
    // SAFETY: libcupti passes a settlement of its own stack.
    let settlement = unsafe { *settlement };
    if let Some(writer) = truth::writer() {
        writer.append(&Entry::Settled(Settled {
            work: settlement.work,
            clock_offset: settlement.clock_offset,
            outcome: work::outcome(settlement.outcome),
        }));
    }
}

extern "C" fn release(number: usize, count: u64) {
    module::release(number, count);
}

extern "C" fn context_id(handle: usize) -> u32 {
    context::get(handle).map_or(0, |context| context.id)
}

extern "C" fn context_device(handle: usize) -> i32 {
    context::get(handle).map_or(-1, |context| i32::try_from(context.device).unwrap_or(-1))
}

extern "C" fn stream_id(_context: usize, handle: usize, per_thread: u8) -> u32 {
    let default = if per_thread == 0 { DefaultStream::Legacy } else { DefaultStream::PerThread };
    stream::resolve(handle, default).map_or(0, |stream| stream.id)
}

extern "C" fn graph_id(handle: usize) -> u32 {
    graph::get(handle).map_or(0, |graph| graph.id)
}

extern "C" fn graph_node_id(handle: usize) -> u64 {
    graph::node(handle).map_or(0, |node| node.id)
}

extern "C" fn graph_exec_id(handle: usize) -> u32 {
    exec::get(handle).map_or(0, |exec| exec.id)
}

extern "C" fn function(name: *const c_char) -> usize {
    if name.is_null() {
        return 0;
    }
    // SAFETY: the caller guarantees a C string; null is excluded above.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map_or(0, |name| module::named(name).handle)
}

extern "C" fn function_name(handle: usize) -> *const c_char {
    module::symbol(handle)
}
