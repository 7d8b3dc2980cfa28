//! `/proc` as the agent reads it: parsers are pure, readers are thin. Everything in it is written
//! by other processes and trusted for nothing but display.

mod blocked;
mod cgroup;
mod code_space;
mod command;
mod describe;
mod descriptors;
mod discovery;
mod environment;
mod maps;
mod memory_group;
mod pages;
mod read;
mod resident;
mod root;
mod sockets;
mod stat;
mod title;
mod tree;

pub use blocked::Blocked;
pub use cgroup::{Container, parse_cgroup};
pub use code_space::CodeSpace;
pub use command::{Executor, Options, Sizes, display_name};
pub use describe::{describe, engine_cores_above};
pub use descriptors::{Gpu, gpus};
pub use discovery::{
    Chosen, Discovery, LeftOut, Member, Origin, Place, Selector, SelectorError, Server,
};
pub use environment::Environment;
pub use maps::{Mapping, maps, parse_maps};
pub(crate) use memory_group::MemoryGroup;
pub use pages::{HUGE_PAGES, PAGE, Page, Pages};
pub(crate) use read::at_most as read_at_most;
pub use resident::{Residence, in_heaps, parse_status};
pub use title::{Ranks, Role, Title, parse_title};
pub use tree::{
    age, alive, descendants, has_leader, inner_number, pids, process_of, runs_since, start_time,
    thread_name, thread_over, threads,
};
