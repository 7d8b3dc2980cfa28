//! The part of the CUPTI ABI that the shim uses: function types, callback structures, ids and the
//! byte offsets of activity-record fields. Declarations only; nothing is linked.
//!
//! Valid for libcupti 12.0 to 13.5: ids never renumber and record fields only ever get appended,
//! so every offset below lies inside the shortest record of its kind. The loaded library steps
//! from record to record; nobody here needs a record's size.
#![no_std]
#![forbid(unsafe_code)]

pub mod callback;
pub mod driver;
pub mod function;
pub mod memory;
pub mod record;
pub mod result;
