//! Record sizes, version numbers and functions of every libcupti.

use std::ffi::CString;

use sim_channel::find::Library;

use crate::api::cupti_file;
use crate::collect;
use crate::gpu;

/// Versions and `cuptiGetVersion`'s answers.
const VERSIONS: [(&str, u32); 15] = [
    ("12.0", 18),
    ("12.1", 18),
    ("12.2", 20),
    ("12.3", 21),
    ("12.4", 22),
    ("12.5", 23),
    ("12.6", 24),
    ("12.8", 26),
    ("12.9", 28),
    ("13.0", 130_001),
    ("13.1", 130_101),
    ("13.2", 130_202),
    ("13.3", 130_301),
    ("13.4", 130_401),
    ("13.5", 130_500),
];

/// What the real `cuptiActivityGetNextRecord` of each version was measured to step by; 0 = error 21.
const MEASURED: &str = "
1 88 88 88 88 88 88 88 96 96 96 96 96 96 112 112
2 88 88 88 88 88 88 88 88 88 88 88 88 88 104 104
3 208 208 208 208 208 208 208 208 208 216 224 224 232 248 248
4 40 40 40 40 40 40 40 40 40 40 40 40 40 40 40
8 176 176 184 184 184 184 184 184 184 184 184 192 192 192 192
9 16 16 16 16 24 32 32 32 32 32 40 40 40 40 40
10 208 208 208 208 208 208 208 208 208 216 224 224 232 248 248
17 40 40 40 48 56 56 56 56 56 56 56 56 56 56 56
36 24 24 24 24 24 24 24 56 56 56 56 56 56 56 80
38 40 40 40 40 40 40 40 56 56 56 56 56 56 56 56
39 24 24 24 24 24 24 24 24 24 24 24 24 24 24 24
49 120 120 120 120 120 120 128 128 128 128 128 128 128 128 128
50 72 72 72 72 72 72 72 72 72 80 80 80 80 80 80
51 48 48 48 56 56 56 56 56 56 56 56 56 56 56 56
53 0 0 0 0 0 0 0 56 56 56 56 56 56 56 56
55 0 0 0 0 0 0 0 0 32 32 32 32 32 32 32
58 0 0 0 0 0 0 0 0 0 0 48 48 48 48 48
59 0 0 0 0 0 0 0 0 0 0 0 168 168 304 304
";

/// A function, and the first column that has it.
const FIRST: [(&str, usize); 6] = [
    ("cuptiActivityEnable", 0),
    ("cuptiGetGraphExecId", 3),
    ("cuptiActivityEnableHWTrace", 7),
    ("cuptiSubscribe_v2", 9),
    ("cuptiActivityEnable_v2", 11),
    ("cuptiActivityGetNextRecord_v2", 12),
];

pub(crate) fn layout() {
    gpu::start();
    let asked = std::env::var("WARPLENS_SIM_CUPTI").expect("the test names a version");
    let column = VERSIONS.iter().position(|(name, _)| *name == asked).expect("a known version");
    let cupti = collect::cupti();
    let mut number = 0;
    assert_eq!((cupti.cuptiGetVersion)(&mut number), 0);
    assert_eq!(number, VERSIONS[column].1);

    for line in MEASURED.trim().lines() {
        let numbers: Vec<usize> = line.split(' ').map(|n| n.parse().expect("numbers")).collect();
        let (kind, expected) = (numbers[0], numbers[1 + column]);
        // Every 8 bytes look like the start of a record, so the second one shows the stride.
        let buffer = vec![kind as u64; 512];
        let start = buffer.as_ptr().cast::<u8>();
        let mut record = std::ptr::null();
        let first = (cupti.cuptiActivityGetNextRecord)(start, 4096, &mut record);
        if expected == 0 {
            assert_eq!(first, 21, "kind {kind} of {asked}");
            continue;
        }
        assert_eq!(first, 0, "kind {kind} of {asked}");
        assert_eq!((cupti.cuptiActivityGetNextRecord)(start, 4096, &mut record), 0);
        assert_eq!(record.addr() - start.addr(), expected, "kind {kind} of {asked}");
        let (mut count, mut error) = (2, 0);
        while error == 0 {
            error = (cupti.cuptiActivityGetNextRecord)(start, 4096, &mut record);
            count += usize::from(error == 0);
        }
        assert_eq!((error, count), (12, 4096usize.div_ceil(expected)), "kind {kind} of {asked}");
    }

    let library = Library::open(cupti_file(), libc::RTLD_NOW).expect("loaded");
    for (name, first) in FIRST {
        let symbol = library.symbol(&CString::new(name).expect("no NUL"));
        assert_eq!(symbol.is_some(), column >= first, "{name} in {asked}");
    }
}
