//! Graphs: capture, instantiation, replay.

use std::collections::HashMap;

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
