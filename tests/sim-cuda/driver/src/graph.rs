//! Graphs: nodes, their order, copies of them and children in them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use sim_channel::callback::{GraphData, resource};
use sim_channel::lock;

use crate::error::{Cu, CuError, INVALID_VALUE};
use crate::pool::{Pool, Tag};
use crate::resource as callbacks;
use crate::work::Task;

/// A graph.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) handle: usize,
    /// CUPTI's number. Graphs and executable graphs share the numbering.
    pub(crate) id: u32,
    nodes: Mutex<Vec<Arc<Node>>>,
}

/// A node of a graph.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) handle: usize,
    pub(crate) graph: usize,
    /// CUPTI's number: the graph's in the upper half, the index in the lower.
    pub(crate) id: u64,
    pub(crate) index: usize,
    pub(crate) kind: u32,
    pub(crate) task: Mutex<Task>,
    pub(crate) dependencies: Vec<usize>,
    /// Where the program says it was made; copies have their original's.
    pub(crate) site: u32,
}

thread_local! {
    /// Where this thread says it makes nodes.
    static SITE: Cell<u32> = const { Cell::new(0) };
}

/// From here on nodes that this thread makes are made at `site`; the truth says so of their replays.
pub(crate) fn set_site(site: u32) {
    SITE.set(site);
}

static GRAPHS: Pool<Graph> = Pool::new(Tag::Graph);
static NODES: Pool<Node> = Pool::new(Tag::Node);
static IDS: AtomicU32 = AtomicU32::new(0);

/// Makes an empty graph.
pub(crate) fn create() -> Arc<Graph> {
    let graph = allocate(next_id());
    callbacks::graph(
        resource::GRAPH_CREATED,
        &GraphData { graph: graph.handle, ..GraphData::default() },
    );
    graph
}

/// The next number of a graph or executable graph.
pub(crate) fn next_id() -> u32 {
    IDS.fetch_add(1, Ordering::Relaxed) + 1
}

fn allocate(id: u32) -> Arc<Graph> {
    GRAPHS.insert(|handle| Graph { handle, id, nodes: Mutex::default() }).1
}

pub(crate) fn get(handle: usize) -> Result<Arc<Graph>, CuError> {
    GRAPHS.get(handle)
}

pub(crate) fn node(handle: usize) -> Result<Arc<Node>, CuError> {
    NODES.get(handle)
}

/// A copy of a graph, nodes and order included.
pub(crate) fn duplicate(original: &Graph) -> Arc<Graph> {
    copy(original, next_id(), 0)
}

/// A copy with this number, children included, for the executable graph `exec` or for none.
pub(crate) fn copy(original: &Graph, id: u32, exec: usize) -> Arc<Graph> {
    let copy = allocate(id);
    let data = GraphData {
        graph: copy.handle,
        original_graph: original.handle,
        graph_exec: exec,
        ..GraphData::default()
    };
    callbacks::graph(resource::GRAPH_CLONED, &data);
    for source in original.nodes() {
        let mut task = lock(&source.task).clone();
        if let Task::Child(child) = &task {
            task = Task::Child(self::copy(child, next_id(), exec));
        }
        let node = copy.push(task, source.kind, source.dependencies.clone(), source.site);
        callbacks::graph(
            resource::GRAPHNODE_CLONED,
            &GraphData {
                node: node.handle,
                original_node: source.handle,
                node_type: node.kind,
                ..data
            },
        );
    }
    copy
}

/// `cuGraphDestroy`.
pub(crate) fn destroy(handle: usize) -> Cu {
    let graph = GRAPHS.get(handle)?;
    let data = GraphData { graph: graph.handle, ..GraphData::default() };
    callbacks::graph(resource::GRAPH_DESTROY_STARTING, &data);
    for node in graph.nodes() {
        callbacks::graph(
            resource::GRAPHNODE_DESTROY_STARTING,
            &GraphData { node: node.handle, node_type: node.kind, ..data },
        );
    }
    destroy_quietly(&graph);
    Ok(())
}

/// Makes a graph's and its nodes' handles invalid without telling the profiler.
pub(crate) fn destroy_quietly(graph: &Graph) {
    for node in lock(&graph.nodes).drain(..) {
        if let Task::Child(child) = &*lock(&node.task) {
            destroy_quietly(child);
        }
        // A node that is already gone was destroyed by itself.
        drop(NODES.remove(node.handle));
    }
    drop(GRAPHS.remove(graph.handle));
}

/// `cuGraphDestroyNode` only works on a node nothing depends on.
pub(crate) fn destroy_node(handle: usize) -> Cu {
    let node = NODES.get(handle)?;
    let graph = GRAPHS.get(node.graph)?;
    let mut nodes = lock(&graph.nodes);
    if nodes.last().is_none_or(|last| last.handle != handle) {
        return Err(crate::error::NOT_SUPPORTED);
    }
    nodes.pop();
    drop(nodes);
    callbacks::graph(
        resource::GRAPHNODE_DESTROY_STARTING,
        &GraphData { graph: graph.handle, node: handle, ..GraphData::default() },
    );
    NODES.remove(handle).map(drop)
}

impl Graph {
    /// Adds a node after some others and announces it.
    pub(crate) fn add(&self, task: Task, dependencies: &[usize]) -> Result<Arc<Node>, CuError> {
        let kind = node_type(&task);
        if dependencies.iter().any(|&index| index >= lock(&self.nodes).len()) {
            return Err(INVALID_VALUE);
        }
        let mut data = GraphData { graph: self.handle, node_type: kind, ..GraphData::default() };
        callbacks::graph(resource::GRAPHNODE_CREATE_STARTING, &data);
        let node = self.push(task, kind, dependencies.to_vec(), SITE.get());
        data.node = node.handle;
        callbacks::graph(resource::GRAPHNODE_CREATED, &data);
        Ok(node)
    }

    /// The nodes, in the order they were added.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).clone()
    }

    /// Indices of nodes of this graph.
    pub(crate) fn indices(&self, handles: &[usize]) -> Result<Vec<usize>, CuError> {
        handles
            .iter()
            .map(|&handle| {
                let node = node(handle)?;
                if node.graph == self.handle { Ok(node.index) } else { Err(INVALID_VALUE) }
            })
            .collect()
    }

    /// Handles of the nodes, in the order they were added.
    pub(crate) fn node_handles(&self, roots_only: bool) -> Vec<usize> {
        let nodes = lock(&self.nodes);
        let wanted = nodes.iter().filter(|node| !roots_only || node.dependencies.is_empty());
        wanted.map(|node| node.handle).collect()
    }

    /// Whether all `earlier` nodes come before (or are) some of the `later` ones.
    pub(crate) fn all_before(&self, earlier: &[usize], later: &[usize]) -> bool {
        let nodes = lock(&self.nodes);
        let mut reached = vec![false; nodes.len()];
        let mut open = later.to_vec();
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut reached[index], true) {
                open.extend(&nodes[index].dependencies);
            }
        }
        earlier.iter().all(|&index| reached[index])
    }

    fn push(&self, task: Task, kind: u32, dependencies: Vec<usize>, site: u32) -> Arc<Node> {
        let mut nodes = lock(&self.nodes);
        let index = nodes.len();
        let (_, node) = NODES.insert(|handle| Node {
            handle,
            graph: self.handle,
            id: u64::from(self.id) << 32 | index as u64,
            index,
            kind,
            task: Mutex::new(task),
            dependencies,
            site,
        });
        nodes.push(Arc::clone(&node));
        node
    }
}

/// CUDA's node type.
fn node_type(task: &Task) -> u32 {
    match task {
        Task::Kernel(_) => 0,
        Task::Copy(_) => 1,
        Task::Set(_) => 2,
        Task::Host(_) => 3,
        Task::Child(_) => 4,
        Task::Empty => 5,
    }
}
