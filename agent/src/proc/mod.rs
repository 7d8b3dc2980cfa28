//! `/proc` as the agent reads it: parsers are pure, readers are thin. Everything in it is written
//! by other processes and trusted for nothing but display.

mod maps;
mod role;
mod server;
mod tree;

pub use maps::{Mapping, maps, parse_maps};
pub use role::{describe, parse_title};
pub use server::{engine_cores_above, server};
pub use tree::{alive, descendants, has_leader, pids, process_of, start_time};
