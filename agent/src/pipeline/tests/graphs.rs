//! Kernels of graphs, from the graph table and its stacks to the profile.

use analysis::decode::GraphWords;
use wire::shim::{WORK_SOURCE_NODE, graph_kind};

use super::*;

const GRAPH: u64 = 1;
const EXEC: u64 = 2;

fn entry(kind: u32, node: u64, original: u64, graph: u64) -> GraphWords {
    [node, original, graph, ARMED / 2, kind.into()]
}

/// Two nodes captured and made executable: 10 -> 20, 11 -> 21; and 22, cloned from nobody knows what.
fn table() -> Input {
    Input::Graphs {
        process: PROCESS,
        first: 0,
        entries: vec![
            entry(graph_kind::NODE_CREATED, 10, 0, GRAPH),
            entry(graph_kind::NODE_CREATED, 11, 0, GRAPH),
            entry(graph_kind::NODE_CLONED, 20, 10, EXEC),
            entry(graph_kind::NODE_CLONED, 21, 11, EXEC),
            entry(graph_kind::NODE_CLONED, 22, 9, EXEC),
            entry(graph_kind::EXEC_CREATED, EXEC, 0, GRAPH),
        ],
    }
}

fn captured(entry: u64, leaf_first: &[u64]) -> Input {
    let Input::KernelEvent(bytes) = stack(event_kind::CAPTURE_STACK, 0, leaf_first) else {
        panic!("a stack is a kernel event");
    };
    let mut event = StackEvent::read_from_bytes(&bytes).unwrap();
    event.key = entry;
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn node(flags: u32, graph_node: u64, start_ns: u64) -> Payload {
    payload(&KernelRecord {
        kind: record_kind::KERNEL,
        producer: 1,
        flags,
        start_ns,
        end_ns: start_ns + 100,
        graph_node,
        correlation: 1,
        name: 4,
        stream: 7,
        graph: 2,
        device: 0,
        grid_x: 1,
        context: 1,
    })
}

/// One replay under one sampled stack, of everything above and of a node the table lacks.
fn replayed(before: Vec<Input>, nodes: &[(u32, u64)]) -> Vec<Input> {
    let mut inputs = head();
    inputs.extend(before);
    let records = |payloads| Input::Records { process: PROCESS, payloads };
    inputs.push(records(vec![mark(ARMED, MARK_ARMED), sync(ARMED + 10, ARMED + 100)]));
    inputs.push(stack(event_kind::LAUNCH_STACK, 1, &[0x30, 0x10]));
    let mut payloads = vec![launch(1, ARMED + 200, true)];
    let starts = (ARMED + 1_000..).step_by(200);
    payloads.extend(starts.zip(nodes).map(|(start, &(flags, id))| node(flags, id, start)));
    payloads.push(mark(ARMED + 50_000, MARK_ARMED));
    payloads.push(mark(ARMED + 60_000, MARK_ARMED | MARK_LAST));
    inputs.push(records(payloads));
    inputs.push(Input::Symbols {
        process: PROCESS,
        symbols: vec![
            symbol(0x10, &["_start"]),
            symbol(0x20, &["capture_attention"]),
            symbol(0x30, &["replay"]),
            symbol(0x40, &["capture_mlp"]),
        ],
    });
    inputs
}

const NODES: [(u32, u64); 4] = [(0, 20), (0, 21), (0, 22), (0, 99)];

/// What the profile says between `replay` and the kernel, with ns.
fn below_the_replay(inputs: &[Input]) -> Vec<String> {
    let (live, again) = (folded::gpu(&run(inputs)), folded::gpu(&replay(inputs)));
    assert_eq!(live, again, "live and from a recording");
    let cut = "GPU 0 SIMULATED;worker (pid 4242);_start;replay;[graph 2];";
    live.lines()
        .filter_map(|line| line.strip_prefix(cut))
        .map(|line| line.replace(";gemm_kernel", ""))
        .collect()
}

#[test]
fn a_replayed_kernel_hangs_under_its_capture() {
    let before = vec![captured(0, &[0x20, 0x10]), table(), captured(1, &[0x40, 0x10])];
    assert_eq!(
        below_the_replay(&replayed(before, &NODES)),
        [
            "[captured before the shim was there] 200",
            "_start;capture_attention 100",
            "_start;capture_mlp 100",
        ]
    );
}

#[test]
fn stacks_an_earlier_agent_left_are_as_good_as_ones_own() {
    let left = Input::CaptureStack {
        process: PROCESS,
        entries: vec![0, 1, u32::MAX],
        addresses: vec![0x20, 0x10],
    };
    assert_eq!(
        below_the_replay(&replayed(vec![table(), left], &NODES[..2])),
        ["_start;capture_attention 200"]
    );
}

#[test]
fn a_source_node_in_the_record_decides() {
    let flags = u32::from(WORK_SOURCE_NODE);
    let update = Input::Graphs {
        process: PROCESS,
        first: 6,
        entries: vec![entry(graph_kind::EXEC_UPDATED, EXEC, 0, GRAPH)],
    };
    let before = vec![table(), update, captured(0, &[0x20, 0x10])];
    assert_eq!(
        below_the_replay(&replayed(before, &[(flags, 10), (flags, 11), (0, 20)])),
        [
            "[capture stack not taken] 100",
            "[graph updated since its capture] 100",
            "_start;capture_attention 100",
        ]
    );
}

proptest! {
    /// Whatever stands in the table: no panic, and replay agrees with live.
    #[test]
    fn hostile_tables_replay_like_live(
        first in any::<u32>(),
        entries in prop::collection::vec(any::<GraphWords>(), 0..20),
        kinds in prop::collection::vec(0_u64..9, 20),
        places in prop::collection::vec(any::<u32>(), 0..5),
    ) {
        let mut entries = entries;
        for (entry, kind) in entries.iter_mut().zip(kinds) {
            entry[4] = kind;
        }
        let graphs = |first| Input::Graphs { process: PROCESS, first, entries: entries.clone() };
        let left = Input::CaptureStack { process: PROCESS, entries: places, addresses: vec![1] };
        let before = vec![graphs(first), graphs(u32::MAX - 1), graphs(0), left];
        let inputs = replayed(before, &NODES);
        let (live, again) = (run(&inputs), replay(&inputs));
        prop_assert_eq!(json::render(&again).unwrap(), json::render(&live).unwrap());
        prop_assert_eq!(folded::gpu(&again), folded::gpu(&live));
    }
}
