//! The simulated `libcuda.so.1`: virtual devices, what they run, and the driver API on top.
//!
//! This library owns everything; the simulated libcudart and libcupti are clients of it. Exported
//! functions live in [`entry`], one file per subject; everything else is ordinary safe Rust.
//! PTX is not executed: a kernel is a name and a duration (see [`module`]).

mod api;
mod capture;
mod config;
mod context;
mod device;
mod entry;
mod error;
mod event;
mod exec;
mod fork;
mod graph;
mod host;
mod init;
mod memory;
mod module;
mod pool;
mod replay;
mod resource;
mod stream;
mod timer;
mod truth;
mod work;
