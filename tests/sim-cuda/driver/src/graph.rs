//! Graphs: nodes, their order, and executable copies of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sim_channel::callback::{GraphData, resource};
use sim_channel::lock;

use crate::error::{Cu, CuError, INVALID_VALUE};
use crate::pool::{Pool, Tag};
use crate::resource as callbacks;
use crate::stream;
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
}

/// An executable graph.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) handle: usize,
    pub(crate) id: u32,
    pub(crate) source_id: u32,
    /// Set once the nodes are cloned: the handle exists before, so that callbacks can name it.
    plan: OnceLock<Plan>,
    /// End of the latest replay: replays of one executable graph do not overlap.
    pub(crate) tail: Mutex<u64>,
}

/// What an executable graph replays.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The private copy whose nodes are replayed; its number is the executable graph's.
    copy: Arc<Graph>,
    pub(crate) nodes: Vec<ExecNode>,
    /// Stream numbers of the branches beyond the first, which runs in the launch stream.
    pub(crate) branch_streams: Vec<u32>,
}

/// A node as it is replayed.
#[derive(Debug)]
pub(crate) struct ExecNode {
    pub(crate) node: Arc<Node>,
    pub(crate) source: u64,
    /// 0 = the launch stream.
    pub(crate) branch: usize,
}

static GRAPHS: Pool<Graph> = Pool::new(Tag::Graph);
static NODES: Pool<Node> = Pool::new(Tag::Node);
static EXECS: Pool<Exec> = Pool::new(Tag::Exec);
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

fn next_id() -> u32 {
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

pub(crate) fn exec(handle: usize) -> Result<Arc<Exec>, CuError> {
    EXECS.get(handle)
}

/// A copy of a graph, nodes and order included.
pub(crate) fn duplicate(original: &Graph) -> Arc<Graph> {
    copy(original, next_id(), 0)
}

fn copy(original: &Graph, id: u32, exec: usize) -> Arc<Graph> {
    let copy = allocate(id);
    let data = GraphData {
        graph: copy.handle,
        original_graph: original.handle,
        graph_exec: exec,
        ..GraphData::default()
    };
    callbacks::graph(resource::GRAPH_CLONED, &data);
    let nodes = lock(&original.nodes).clone();
    for source in nodes {
        let task = lock(&source.task).clone();
        let node = copy.push(task, source.kind, source.dependencies.clone());
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
    let nodes = lock(&graph.nodes).clone();
    for node in nodes {
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
        // A node that is already gone was destroyed by itself.
        drop(NODES.remove(node.handle));
    }
    drop(GRAPHS.remove(graph.handle));
}

/// `cuGraphInstantiate`.
pub(crate) fn instantiate(graph: &Graph) -> Arc<Exec> {
    let id = next_id();
    let source_nodes = lock(&graph.nodes).clone();
    let starting = GraphData { graph: graph.handle, ..GraphData::default() };
    callbacks::graph(resource::GRAPHEXEC_CREATE_STARTING, &starting);
    let (_, exec) = EXECS.insert(|handle| Exec {
        handle,
        id,
        source_id: graph.id,
        plan: OnceLock::new(),
        tail: Mutex::new(0),
    });
    // Outside the pool's lock: cloning is announced to the profiler, which asks for numbers.
    exec.plan.get_or_init(|| plan(graph, id, exec.handle, &source_nodes));
    callbacks::graph(
        resource::GRAPHEXEC_CREATED,
        &GraphData { graph: graph.handle, graph_exec: exec.handle, ..GraphData::default() },
    );
    exec
}

fn plan(graph: &Graph, id: u32, exec: usize, sources: &[Arc<Node>]) -> Plan {
    let copy = copy(graph, id, exec);
    let nodes = lock(&copy.nodes).clone();
    let branches = branches(&nodes);
    let extra = branches.iter().copied().max().unwrap_or(0);
    let nodes = nodes.into_iter().zip(sources).zip(branches);
    let nodes = nodes
        .map(|((node, source), branch)| ExecNode { node, source: source.id, branch })
        .collect();
    Plan { copy, nodes, branch_streams: (0..extra).map(|_| stream::next_id()).collect() }
}

/// Puts every node on a branch: its first dependency's, unless an earlier node went on from there.
fn branches(nodes: &[Arc<Node>]) -> Vec<usize> {
    let mut continued = vec![false; nodes.len()];
    let mut branches: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut used = 0;
    for node in nodes {
        let free = node.dependencies.iter().copied().find(|&index| !continued[index]);
        let branch = if let Some(index) = free {
            continued[index] = true;
            branches[index]
        } else {
            used += 1;
            used - 1
        };
        branches.push(branch);
    }
    branches
}

/// `cuGraphExecDestroy`.
pub(crate) fn destroy_exec(handle: usize) -> Cu {
    let exec = EXECS.get(handle)?;
    let copy = exec.plan().map_or(0, |plan| plan.copy.handle);
    let data = GraphData { graph: copy, graph_exec: exec.handle, ..GraphData::default() };
    callbacks::graph(resource::GRAPHEXEC_DESTROY_STARTING, &data);
    EXECS.remove(handle)?;
    if let Ok(plan) = exec.plan() {
        destroy_quietly(&plan.copy);
    }
    Ok(())
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

impl Exec {
    /// What it replays; an error while it is still being made.
    pub(crate) fn plan(&self) -> Result<&Plan, CuError> {
        self.plan.get().ok_or(INVALID_VALUE)
    }
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
        let node = self.push(task, kind, dependencies.to_vec());
        data.node = node.handle;
        callbacks::graph(resource::GRAPHNODE_CREATED, &data);
        Ok(node)
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

    fn push(&self, task: Task, kind: u32, dependencies: Vec<usize>) -> Arc<Node> {
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
        Task::Empty => 5,
    }
}
