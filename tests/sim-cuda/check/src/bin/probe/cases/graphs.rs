//! Graphs: capture, instantiation, replay.

use std::collections::HashMap;

use crate::api::Driver;
use crate::collect::{self, Resource};
use crate::gpu;

const KERNEL: u32 = 10;
const CREATED: u32 = 13;
const CLONED: u32 = 20;

fn only(resources: &[Resource], cbid: u32) -> Vec<Resource> {
    resources.iter().filter(|resource| resource.cbid == cbid).copied().collect()
}

/// Nodes are announced inside the captured launch, cloned at instantiation, and every replay has a record
/// per node with the launch's id.
pub(crate) fn replay() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    let kernels = [gpu::kernel("first__sim2000"), gpu::kernel("second__sim3000")];
    let cupti = collect::subscribe(&[1, 3]);
    collect::record(&[KERNEL]);
    assert_eq!((driver.cuStreamBeginCapture_v2)(stream, 0), 0);
    for kernel in kernels {
        assert_eq!(gpu::launch(&driver, kernel, stream), 0);
    }
    let mut graph = 0;
    assert_eq!((driver.cuStreamEndCapture)(stream, &mut graph), 0);
    let captured = collect::take();
    let created = only(&captured.resources, CREATED);
    assert_eq!(created.len(), 2);
    assert!(created.iter().all(|node| node.open == 1 && node.node_id != 0));
    assert_eq!(captured.resources.iter().map(|r| r.cbid).next(), Some(9), "GRAPH_CREATED first");

    let mut exec = 0;
    assert_eq!((driver.cuGraphInstantiateWithFlags)(&mut exec, graph, 0), 0);
    let instantiated = collect::take();
    let cloned = only(&instantiated.resources, CLONED);
    let originals: Vec<u64> = cloned.iter().map(|node| node.original_id).collect();
    assert_eq!(originals, created.iter().map(|node| node.node_id).collect::<Vec<_>>());
    assert!(cloned.iter().all(|node| node.graph.is_some_and(|graph| graph.graph_exec == exec)));
    let exec_created = only(&instantiated.resources, 18);
    assert_eq!(exec_created.len(), 1);
    assert_eq!(exec_created[0].graph.map(|graph| graph.graph_exec), Some(exec));

    assert_eq!((driver.cuGraphLaunch)(exec, stream), 0);
    assert_eq!((driver.cuGraphLaunch)(exec, stream), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let replayed = collect::take();
    let ids: Vec<u32> = replayed
        .api
        .iter()
        .filter(|api| api.cbid == 514 && api.site == 0)
        .map(|api| api.correlation)
        .collect();
    let records: Vec<(u32, &str, u64)> =
        replayed.records.iter().map(|r| (r.correlation, r.name.as_str(), r.node)).collect();
    let (one, two) = (cloned[0].node_id, cloned[1].node_id);
    assert_eq!(
        records,
        [
            (ids[0], "first", one),
            (ids[0], "second", two),
            (ids[1], "first", one),
            (ids[1], "second", two),
        ]
    );
    assert!(replayed.records.iter().all(|r| u64::from(r.graph) == r.node >> 32 && r.graph != 0));
    assert!(replayed.records.windows(2).all(|pair| pair[0].end < pair[1].start));

    assert_eq!((driver.cuGraphExecDestroy)(exec), 0);
    assert_eq!((driver.cuGraphDestroy)(graph), 0);
    assert_eq!((driver.cuGraphLaunch)(exec, stream), 400);
    let gone: Vec<u32> = collect::take().resources.iter().map(|r| r.cbid).collect();
    assert_eq!(gone, [19, 10, 14, 14]);
}

/// A fork by events becomes two branches that run at the same time, on stream numbers of their own.
pub(crate) fn branches() {
    let driver = gpu::driver();
    let (main, side) = (gpu::stream(&driver), gpu::stream(&driver));
    let kernel = |name: &str| gpu::kernel(name);
    let event = || {
        let mut event = 0;
        assert_eq!((driver.cuEventCreate)(&mut event, 2), 0);
        event
    };
    let (fork, join) = (event(), event());
    let cupti = collect::record(&[KERNEL]);
    assert_eq!((driver.cuStreamBeginCapture_v2)(main, 0), 0);
    assert_eq!(gpu::launch(&driver, kernel("root__sim2000"), main), 0);
    assert_eq!((driver.cuEventRecord)(fork, main), 0);
    assert_eq!((driver.cuStreamWaitEvent)(side, fork, 0), 0);
    assert_eq!(gpu::launch(&driver, kernel("left__sim50000"), main), 0);
    assert_eq!(gpu::launch(&driver, kernel("right__sim60000"), side), 0);
    assert_eq!((driver.cuEventRecord)(join, side), 0);
    assert_eq!((driver.cuStreamWaitEvent)(main, join, 0), 0);
    assert_eq!(gpu::launch(&driver, kernel("end__sim1000"), main), 0);
    let mut graph = 0;
    assert_eq!((driver.cuStreamEndCapture)(main, &mut graph), 0);
    let mut exec = 0;
    assert_eq!((driver.cuGraphInstantiateWithFlags)(&mut exec, graph, 0), 0);
    assert_eq!((driver.cuGraphLaunch)(exec, main), 0);
    assert_eq!((driver.cuStreamSynchronize)(main), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    let by_name: HashMap<&str, _> = records.iter().map(|r| (r.name.as_str(), r)).collect();
    let [root, left, right, end] = ["root", "left", "right", "end"].map(|name| by_name[name]);
    assert!(left.start > root.end && right.start > root.end);
    assert!(left.start < right.end && right.start < left.end, "branches overlap");
    assert!(end.start > right.end);
    assert_eq!((root.stream, left.stream), (end.stream, root.stream));
    assert_ne!(right.stream, root.stream);

    // A side branch that is not joined is an error.
    assert_eq!((driver.cuStreamBeginCapture_v2)(main, 0), 0);
    assert_eq!((driver.cuEventRecord)(fork, main), 0);
    assert_eq!((driver.cuStreamWaitEvent)(side, fork, 0), 0);
    assert_eq!(gpu::launch(&driver, kernel("lost__sim1"), side), 0);
    assert_eq!((driver.cuStreamEndCapture)(main, &mut graph), 904);
    assert_eq!(graph, 0);
}

/// Captures one launch of each kernel, one after the other.
fn capture(driver: &Driver, stream: usize, names: &[&str]) -> usize {
    assert_eq!((driver.cuStreamBeginCapture_v2)(stream, 0), 0);
    for name in names {
        assert_eq!(gpu::launch(driver, gpu::kernel(name), stream), 0);
    }
    let mut graph = 0;
    assert_eq!((driver.cuStreamEndCapture)(stream, &mut graph), 0);
    graph
}

fn replayed(driver: &Driver, exec: usize, stream: usize) -> Vec<(String, u64)> {
    collect::take();
    assert_eq!((driver.cuGraphLaunch)(exec, stream), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    assert_eq!((collect::cupti().cuptiActivityFlushAll)(0), 0);
    collect::take().records.into_iter().map(|record| (record.name, record.node)).collect()
}

/// A child graph is copied into its parent and again into the executable graph; each copy's nodes are told
/// with the nodes they were cloned from, down to those that were captured.
pub(crate) fn children() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    collect::subscribe(&[3]);
    collect::record(&[KERNEL]);
    let child = capture(&driver, stream, &["inner__sim2000", "last__sim1000"]);
    let parent = capture(&driver, stream, &["outer__sim3000"]);
    let (mut node, mut copy, mut exec) = (0, 0, 0);
    let none = std::ptr::null();
    assert_eq!((driver.cuGraphAddChildGraphNode)(&mut node, parent, none, 0, child), 0);
    assert_eq!((driver.cuGraphAddChildGraphNode)(&mut node, parent, none, 0, parent), 1);
    assert_eq!((driver.cuGraphClone)(&mut copy, parent), 0);
    for graph in [parent, child] {
        assert_eq!((driver.cuGraphDestroy)(graph), 0);
    }
    assert_eq!((driver.cuGraphInstantiateWithFlags)(&mut exec, copy, 0), 0);
    let resources = collect::take().resources;
    let created: Vec<u64> = only(&resources, CREATED).iter().map(|node| node.node_id).collect();
    assert_eq!(created.len(), 4, "three kernels and the child");
    let origin: HashMap<u64, u64> =
        only(&resources, CLONED).iter().map(|node| (node.node_id, node.original_id)).collect();
    let root = |mut node: u64| {
        let mut steps = 0;
        while let Some(&original) = origin.get(&node) {
            node = original;
            steps += 1;
        }
        (created.iter().position(|&made| made == node), steps)
    };
    let mut roots: Vec<_> = replayed(&driver, exec, stream)
        .into_iter()
        .map(|(name, node)| (name, root(node)))
        .collect();
    roots.sort();
    let expected = [("inner", 0, 3), ("last", 1, 3), ("outer", 2, 2)];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, place, steps)| (name.to_owned(), (Some(place), steps)))
        .collect();
    assert_eq!(roots, expected);
}

/// After an update other kernels run under the same node numbers, and no resource callback says so.
pub(crate) fn update() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    collect::subscribe(&[3]);
    collect::record(&[KERNEL]);
    let before = capture(&driver, stream, &["one__sim2000", "two__sim1000"]);
    let after = capture(&driver, stream, &["three__sim2000", "four__sim1000"]);
    let shorter = capture(&driver, stream, &["five__sim2000"]);
    let mut exec = 0;
    assert_eq!((driver.cuGraphInstantiateWithFlags)(&mut exec, before, 0), 0);
    let first = replayed(&driver, exec, stream);
    let mut answer = [9; 3];
    assert_eq!((driver.cuGraphExecUpdate_v2)(exec, after, &mut answer), 0);
    assert_eq!(answer[0] & 0xffff_ffff, 0);
    assert!(collect::take().resources.is_empty());
    let second = replayed(&driver, exec, stream);
    let names = |replay: &[(String, u64)]| -> Vec<String> {
        replay.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["one".to_owned(), "two".to_owned()], vec!["three".to_owned(), "four".to_owned()],)
    );
    let nodes =
        |replay: &[(String, u64)]| -> Vec<u64> { replay.iter().map(|(_, node)| *node).collect() };
    assert_eq!(nodes(&first), nodes(&second));
    assert_eq!((driver.cuGraphExecUpdate_v2)(exec, shorter, &mut answer), 910);
    assert_eq!(answer[0] & 0xffff_ffff, 2);
    assert_eq!(
        names(&replayed(&driver, exec, stream)),
        names(&second),
        "a refused one changes nothing"
    );
}
