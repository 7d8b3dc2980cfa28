//! The agent as a library: everything that touches the world. `analysis` decides, this crate
//! reads, writes and attaches.
#![deny(unsafe_code)]

pub mod bpf;
pub mod bundle;
pub mod capture;
pub mod cli;
pub mod collect;
pub mod commands;
pub mod daemon;
pub mod elf;
pub mod flight;
pub mod foreign;
pub mod govern;
pub mod inject;
pub mod kernel_log;
pub mod logs;
pub mod observe;
pub mod output;
pub mod perf;
pub mod pipeline;
pub mod privileges;
pub mod proc;
pub mod python;
pub mod recording;
pub mod rules;
pub mod shim;
pub mod stack;
pub mod switch;
pub mod symbols;
pub mod unwind;
