//! A library for `CUDA_INJECTION64_PATH` that only counts how often it is asked, for the tests.

use std::sync::atomic::{AtomicI32, Ordering};

static CALLS: AtomicI32 = AtomicI32::new(0);

/// What the driver calls. `SIM_INJECTED_ANSWER` is the answer, 1 by default.
#[unsafe(no_mangle)]
extern "C" fn InitializeInjection() -> i32 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    std::env::var("SIM_INJECTED_ANSWER").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// How often the driver called.
#[unsafe(no_mangle)]
extern "C" fn sim_injected_calls() -> i32 {
    CALLS.load(Ordering::Relaxed)
}
