//! The pure core: what a stream of [`event::Event`]s says about GPU time.
//!
//! Events go into a [`session::Session`], a [`report::Report`] comes out. Nothing here does IO,
//! reads a clock, starts a thread or fails: what is wrong with the data is a [`defect::Defect`]
//! in the report. Only [`decode`] knows the wire format.
#![forbid(unsafe_code)]

pub mod classify;
pub mod compare;
pub mod decode;
pub mod defect;
pub mod event;
pub mod hang;
pub mod ids;
pub mod level;
pub mod memory;
pub mod report;
pub mod session;
pub mod slice;
pub mod wait;

mod assemble;
mod correlate;
mod graphs;
mod idle;
mod intake;
mod limits;
mod map;
mod names;
mod process;
mod proof;
mod ranges;
mod samples;
mod settle;
mod spans;
mod steps;
mod tell;
mod threads;
mod timeline;
mod watermark;
mod whereabouts;
