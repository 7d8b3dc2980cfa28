//! A shim's shared memory as the agent sees it: found in `/proc`, checked, locked, read. The process
//! on the other side may be hostile: no length, offset or count in the mapping is believed.

mod captures;
mod clock;
mod find;
mod memory;
mod ring;

pub use captures::GraphNews;
pub use find::{Location, find, library_with};
pub use memory::{Memory, OpenError};
pub use ring::{Pulse, Status, WorkerDevice, WorkerRing, devices, status};
