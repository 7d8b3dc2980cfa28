//! The clock the virtual device runs on.

/// `CLOCK_MONOTONIC`, ns.
pub fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME`, ns: CUPTI's clock unless the profiler gives it another.
pub fn realtime() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Waits until `CLOCK_MONOTONIC` has reached `time`.
pub fn sleep_until(time: u64) {
    let Ok(seconds) = libc::time_t::try_from(time / 1_000_000_000) else {
        return;
    };
    let deadline = timespec(seconds, time % 1_000_000_000);
    while now() < time {
        // SAFETY: `deadline` is a valid timespec and a null remainder is allowed with TIMER_ABSTIME.
        // An interrupted sleep is resumed by the loop.
        unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const deadline,
                std::ptr::null_mut(),
            );
        }
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = timespec(0, 0);
    // SAFETY: `time` is a writable timespec; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn timespec(tv_sec: libc::time_t, nanoseconds: u64) -> libc::timespec {
    libc::timespec { tv_sec, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) }
}
