//! Stacks as the agent makes them: native, Python's and the kernel's frames in one list of places.

mod copy;
mod place;

pub use copy::Record;
pub use place::{Place, Remark};
