//! One program, a reader each run: `WARPLENS_FUZZ` names it. What must hold is that no input panics, aborts, reads
//! out of bounds, hangs or takes memory without bound; libFuzzer sees to that.
#![no_main]

mod readers;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static READER: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let reader = READER.get_or_init(|| {
        let name = std::env::var("WARPLENS_FUZZ").unwrap_or_default();
        let found = readers::ALL.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("WARPLENS_FUZZ names no reader: {name}")).1
    });
    reader(input);
});
