//! Starts what is to be profiled and what profiles it, and leaves nothing behind.

pub mod agent;
pub mod artefacts;
pub mod child;
pub mod daemon;
pub mod dice;
pub mod hostile;
pub mod neighbour;
pub mod process;
pub mod python;
pub mod real_vllm;
pub mod require;
pub mod ring;
pub mod server;
pub mod tree;
pub mod wait;
