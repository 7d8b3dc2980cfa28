//! Executable graphs: a private copy of a graph, its children unfolded, ready to be replayed.

use std::sync::{Arc, Mutex, OnceLock};

use sim_channel::callback::{GraphData, resource};
use sim_channel::lock;

use crate::error::{Cu, CuError, GRAPH_EXEC_UPDATE_FAILURE, INVALID_VALUE};
use crate::graph::{self, Graph, Node};
use crate::pool::{Pool, Tag};
use crate::resource as callbacks;
use crate::stream;
use crate::work::Task;

/// An executable graph.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) handle: usize,
    pub(crate) id: u32,
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
    /// Every node after those it depends on, a child's nodes before the child.
    pub(crate) nodes: Vec<ExecNode>,
    /// Stream numbers of the branches beyond the first, which runs in the launch stream.
    pub(crate) branch_streams: Vec<u32>,
}

/// A node as it is replayed.
#[derive(Debug)]
pub(crate) struct ExecNode {
    pub(crate) node: Arc<Node>,
    /// Positions in the plan.
    pub(crate) dependencies: Vec<usize>,
    pub(crate) source: Mutex<Source>,
    /// 0 = the launch stream.
    pub(crate) branch: usize,
}

/// The node a replayed node was made from, or last updated by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) graph: u32,
    pub(crate) node: u64,
    /// Where the program says that node was made.
    pub(crate) site: u32,
}

static EXECS: Pool<Exec> = Pool::new(Tag::Exec);

pub(crate) fn get(handle: usize) -> Result<Arc<Exec>, CuError> {
    EXECS.get(handle)
}

/// `cuGraphInstantiate`.
pub(crate) fn instantiate(graph: &Graph) -> Arc<Exec> {
    let id = graph::next_id();
    let starting = GraphData { graph: graph.handle, ..GraphData::default() };
    callbacks::graph(resource::GRAPHEXEC_CREATE_STARTING, &starting);
    let (_, exec) =
        EXECS.insert(|handle| Exec { handle, id, plan: OnceLock::new(), tail: Mutex::new(0) });
    // Outside the pool's lock: cloning is announced to the profiler, which asks for numbers.
    exec.plan.get_or_init(|| plan(graph, id, exec.handle));
    callbacks::graph(
        resource::GRAPHEXEC_CREATED,
        &GraphData { graph: graph.handle, graph_exec: exec.handle, ..GraphData::default() },
    );
    exec
}

/// `cuGraphExecUpdate`: every node becomes the node of `graph` in the same place. The profiler is not
/// told which became which.
pub(crate) fn update(exec: &Exec, graph: &Graph) -> Cu {
    let plan = exec.plan()?;
    let sources = unfold(graph, graph.id);
    let alike = |(own, other): (&ExecNode, &Unfolded)| {
        own.node.kind == other.node.kind && own.dependencies == other.dependencies
    };
    if sources.len() != plan.nodes.len() || !plan.nodes.iter().zip(&sources).all(alike) {
        return Err(GRAPH_EXEC_UPDATE_FAILURE);
    }
    for (own, other) in plan.nodes.iter().zip(&sources) {
        let task = lock(&other.node.task).clone();
        // A child's nodes are updated themselves; the child stays this plan's own.
        if !matches!(task, Task::Child(_)) {
            *lock(&own.node.task) = task;
        }
        *lock(&own.source) = other.source();
    }
    Ok(())
}

/// `cuGraphExecDestroy`.
pub(crate) fn destroy(handle: usize) -> Cu {
    let exec = EXECS.get(handle)?;
    let copy = exec.plan().map_or(0, |plan| plan.copy.handle);
    let data = GraphData { graph: copy, graph_exec: exec.handle, ..GraphData::default() };
    callbacks::graph(resource::GRAPHEXEC_DESTROY_STARTING, &data);
    EXECS.remove(handle)?;
    if let Ok(plan) = exec.plan() {
        graph::destroy_quietly(&plan.copy);
    }
    Ok(())
}

impl Exec {
    /// What it replays; an error while it is still being made.
    pub(crate) fn plan(&self) -> Result<&Plan, CuError> {
        self.plan.get().ok_or(INVALID_VALUE)
    }
}

/// A node of a graph or of a child in it.
struct Unfolded {
    node: Arc<Node>,
    /// The graph it stands in.
    graph: u32,
    dependencies: Vec<usize>,
}

impl Unfolded {
    fn source(&self) -> Source {
        Source { graph: self.graph, node: self.node.id, site: self.node.site }
    }
}

/// All nodes of a graph: a child's nodes stand in front of the child, which comes after all of them.
fn unfold(graph: &Graph, id: u32) -> Vec<Unfolded> {
    let mut unfolded: Vec<Unfolded> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for node in graph.nodes() {
        let before: Vec<usize> = node.dependencies.iter().map(|&index| places[index]).collect();
        let mut dependencies = before.clone();
        let child = match &*lock(&node.task) {
            Task::Child(child) => Some(Arc::clone(child)),
            _ => None,
        };
        if let Some(child) = child {
            let first = unfolded.len();
            for mut inner in unfold(&child, child.id) {
                inner.dependencies = match inner.dependencies.as_slice() {
                    [] => before.clone(),
                    own => own.iter().map(|index| first + index).collect(),
                };
                unfolded.push(inner);
            }
            dependencies.extend(first..unfolded.len());
        }
        places.push(unfolded.len());
        unfolded.push(Unfolded { node, graph: id, dependencies });
    }
    unfolded
}

fn plan(graph: &Graph, id: u32, exec: usize) -> Plan {
    let sources = unfold(graph, graph.id);
    let copy = graph::copy(graph, id, exec);
    let nodes = unfold(&copy, id);
    let branches = branches(&nodes);
    let extra = branches.iter().copied().max().unwrap_or(0);
    let nodes = nodes.into_iter().zip(sources).zip(branches);
    let nodes = nodes
        .map(|((unfolded, source), branch)| ExecNode {
            node: unfolded.node,
            dependencies: unfolded.dependencies,
            source: Mutex::new(source.source()),
            branch,
        })
        .collect();
    Plan { copy, nodes, branch_streams: (0..extra).map(|_| stream::next_id()).collect() }
}

/// Puts every node on a branch: its first dependency's, unless an earlier node went on from there.
fn branches(nodes: &[Unfolded]) -> Vec<usize> {
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
