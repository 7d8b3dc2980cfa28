//! Stacks as the agent makes them: native, Python's and the kernel's frames in one list of places;
//! and what they say about why a thread slept.

pub(crate) mod code;
mod copy;
mod maker;
mod place;
mod reason;
mod refine;
mod sleeper;

pub use copy::Record;
pub use maker::{Maker, StackLosses};
pub use place::{Place, Remark};
pub use reason::{Asleep, reason};
pub use refine::refined;
