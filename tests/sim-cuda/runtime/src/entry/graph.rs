//! Graphs; they are made by capture, or with the driver API by hand.

use sim_channel::raw::Out;

use crate::driver;
use crate::entry::runtime_api;

runtime_api! {
    None Context fn cudaGraphCreate [default] (graph: Out<usize>, flags: u32) {
        driver::cuGraphCreate(graph, flags)
    }

    None Context fn cudaGraphDestroy [default] (graph: usize) {
        driver::cuGraphDestroy(graph)
    }

    None Context fn cudaGraphInstantiate [default] (exec: Out<usize>, graph: usize, flags: u64) {
        driver::cuGraphInstantiateWithFlags(exec, graph, flags)
    }

    None Context fn cudaGraphInstantiateWithFlags [default] (
        exec: Out<usize>, graph: usize, flags: u64
    ) {
        driver::cuGraphInstantiateWithFlags(exec, graph, flags)
    }

    None Context fn cudaGraphUpload | cudaGraphUpload_ptsz [default] (exec: usize, stream: usize) {
        driver::cuGraphUpload(default, exec, stream)
    }

    None Context fn cudaGraphGetNodes [default] (
        graph: usize, nodes: Out<usize>, count: Out<usize>
    ) {
        driver::cuGraphGetNodes(graph, nodes, count)
    }

    None Context fn cudaGraphExecDestroy [default] (exec: usize) {
        driver::cuGraphExecDestroy(exec)
    }
}
