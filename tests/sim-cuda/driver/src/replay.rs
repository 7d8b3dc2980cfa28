//! Graph launches: every node runs after its dependencies, each with a record of its own.

use std::sync::Arc;

use sim_channel::{Work, clock, lock};

use crate::api::{self, Call};
use crate::config;
use crate::error::{Cu, NOT_SUPPORTED};
use crate::exec::Exec;
use crate::host::CHANNEL;
use crate::stream::Stream;
use crate::timer;
use crate::work::{self, GraphPlace, Place, Span, Task};

/// From the end of a node to the start of the next, ns: what graph replays of real models show.
const NODE_GAP: u64 = 700;

/// Replays an executable graph in a stream.
pub(crate) fn launch(call: &Call, stream: &Arc<Stream>, exec: &Exec) -> Cu {
    if lock(&stream.state).capturing.is_some() {
        // A child-graph node; nothing the simulator's programs use.
        return Err(NOT_SUPPORTED);
    }
    let plan = exec.plan()?;
    for node in &plan.nodes {
        if let Task::Kernel(kernel) = &*lock(&node.node.task) {
            work::announce_implicit(&kernel.function)?;
        }
    }
    let profiler = CHANNEL.profiler();
    if let Some(profiler) = profiler {
        (profiler.prepare)();
    }
    let mut state = lock(&stream.state);
    let mut exec_tail = lock(&exec.tail);
    let now = clock::now();
    let base = stream.ready(&state, now + config::get().launch_latency).max(*exec_tail);
    let mut ends: Vec<u64> = Vec::with_capacity(plan.nodes.len());
    let mut branch_ends = vec![base; plan.branch_streams.len() + 1];
    let mut submitted: Vec<Work> = Vec::new();
    for exec_node in &plan.nodes {
        let node = &exec_node.node;
        let task = lock(&node.task);
        let after = exec_node.dependencies.iter().map(|&index| ends[index]).max().unwrap_or(0);
        let earliest = branch_ends[exec_node.branch].max(after);
        let start = if earliest > base { earliest + NODE_GAP } else { base };
        let end = start + task.duration();
        ends.push(end);
        branch_ends[exec_node.branch] = end;
        // A node whose memory is gone is a fault on a real device; here it is timed all the same.
        task.apply().unwrap_or_default();
        let place = Place {
            stream: match exec_node.branch {
                0 => stream.id,
                branch => plan.branch_streams[branch - 1],
            },
            ..stream.place()
        };
        let source = *lock(&exec_node.source);
        let graph = GraphPlace {
            graph: exec.id,
            node: node.id,
            source_graph: source.graph,
            source_node: source.node,
            site: source.site,
        };
        if let Task::Host(host) = *task {
            timer::at(end, move || host.run());
        }
        let Some(mut piece) = task.work(call, place, graph, Span { launched: now, start, end })
        else {
            continue;
        };
        let wanted = CHANNEL.records(piece.kind);
        work::record(&mut piece, &task, wanted);
        if wanted {
            work::hold_name(&task);
            submitted.push(piece);
        }
    }
    let end = ends.iter().copied().max().unwrap_or(base);
    *exec_tail = end;
    stream.extend(&mut state, end);
    if let Some(profiler) = profiler.filter(|_| !submitted.is_empty())
        && (profiler.submit)(submitted.as_ptr(), submitted.len()) != 0
    {
        api::want_exit();
    }
    Ok(())
}
