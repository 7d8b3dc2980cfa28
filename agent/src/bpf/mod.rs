//! The kernel programs: load, attach, read. All use of aya is here.
//!
//! A feature that cannot be had costs itself, not the agent: [`Bpf::load`] fails only where
//! nothing could work, [`Bpf::missing`] and every `attach_*` name what does not and why.

mod attach;
mod btf;
mod error;
pub mod host;
mod intake;
mod kernel;
mod load;
#[expect(unsafe_code, reason = "aya's Pod is an unsafe trait; this is its one implementation")]
mod pod;
pub mod probe;
mod python;
mod read;
mod symbol;
mod threads;
mod verify;

pub use attach::ProbeSite;
pub use error::BpfError;
pub use intake::Intake;
pub use load::{Bpf, Setup};
pub use read::Counters;
pub use symbol::KernelSymbol;
pub use verify::VerifyProbes;
