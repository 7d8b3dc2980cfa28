//! What goes wrong: other profilers, refusals, no device, failing launches, forks.

use std::ffi::c_void;

use sim_truth::Truth;

use crate::api::Driver;
use crate::collect;
use crate::gpu;

extern "C" fn nothing(_user: *mut c_void, _domain: u32, _cbid: u32, _data: *const c_void) {}

fn subscribe() -> i32 {
    let mut handle = 0;
    (collect::cupti().cuptiSubscribe)(&mut handle, nothing, std::ptr::null_mut())
}

pub(crate) fn second_subscriber() {
    gpu::start();
    let cupti = collect::subscribe(&[]);
    assert_eq!(subscribe(), 39);
    assert_eq!((cupti.cuptiUnsubscribe)(collect::subscriber()), 0);
    assert_eq!((cupti.cuptiUnsubscribe)(collect::subscriber()), 1);
    assert_eq!(subscribe(), 0);
    assert_eq!((cupti.cuptiFinalize)(), 0);
    assert_eq!(subscribe(), 0);
}

/// Needs `WARPLENS_SIM_ERROR_SUBSCRIBE`.
pub(crate) fn subscribe_error() {
    gpu::start();
    assert_eq!(subscribe().to_string(), std::env::var("WARPLENS_SIM_ERROR_SUBSCRIBE").unwrap());
}

/// Needs `WARPLENS_SIM_ERROR_ENABLE`.
pub(crate) fn enable_error() {
    gpu::start();
    let error = (collect::cupti().cuptiActivityEnable)(10);
    assert_eq!(error.to_string(), std::env::var("WARPLENS_SIM_ERROR_ENABLE").unwrap());
}

/// Needs `WARPLENS_SIM_DEVICES=0`: what the real libraries answer then.
pub(crate) fn no_device() {
    let driver = Driver::load(c"libcuda.so.1");
    assert_eq!((driver.cuInit)(0), 100);
    assert_eq!((driver.cuInit)(0), 100);
    let mut count = 0;
    assert_eq!((driver.cuDeviceGetCount)(&mut count), 3);
    let cupti = collect::cupti();
    let refusal = if crate::api::cupti_file() == c"libcupti.so.12" { 15 } else { 999 };
    let mut version = 0;
    assert_eq!((cupti.cuptiGetVersion)(&mut version), 0);
    assert_eq!(subscribe(), refusal);
    assert_eq!((cupti.cuptiActivityEnable)(10), refusal);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), refusal);
    assert_eq!((cupti.cuptiActivityPushExternalCorrelationId)(3, 1), refusal);
    assert_eq!((cupti.cuptiUnsubscribe)(1), 1);
    assert_eq!((cupti.cuptiFinalize)(), 0);
}

/// Needs `WARPLENS_SIM_FAIL_EVERY=5` and a truth folder.
pub(crate) fn failing_launches() {
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("k__sim1000");
    let cupti = collect::subscribe(&[1, 2]);
    collect::record(&[10]);
    let results: Vec<i32> = (0..20).map(|_| gpu::run(&runtime, kernel, 0)).collect();
    assert_eq!(results.iter().filter(|&&result| result == 701).count(), 4);
    assert_eq!(results.iter().filter(|&&result| result == 0).count(), 16);
    assert_eq!((runtime.cudaDeviceSynchronize)(), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let seen = collect::take();
    assert_eq!(seen.records.len(), 16);
    let failed = seen.api.iter().filter(|api| api.result == Some(701)).count();
    assert_eq!(failed, 8, "both EXITs show the error");
    std::thread::sleep(std::time::Duration::from_millis(250));
    let folder = std::env::var("WARPLENS_SIM_TRUTH").unwrap();
    let file = format!("{folder}/{}.truth", std::process::id());
    let counters = Truth::read(file.as_ref()).unwrap().counters;
    assert_eq!((counters.launches, counters.launches_failed, counters.lost), (16, 4, 0));
}

/// After a fork the driver is dead in the child, whatever forked it.
pub(crate) fn fork() {
    let driver = gpu::driver();
    let kernel = gpu::kernel("k__sim1000");
    let cupti = collect::subscribe(&[1]);
    collect::record(&[10]);
    assert_eq!(gpu::launch(&driver, kernel, 0), 0);
    // By the system call too, which runs no fork handlers.
    let forks: [fn() -> i64; 2] = [
        // SAFETY: the child only makes calls that answer with an error, then leaves by `_exit`.
        || i64::from(unsafe { libc::fork() }),
        // SAFETY: as above.
        || unsafe { libc::syscall(libc::SYS_fork) },
    ];
    for fork in forks {
        let child = fork();
        assert!(child >= 0);
        if child == 0 {
            let mut context = 0;
            let answers = [
                gpu::launch(&driver, kernel, 0),
                (driver.cuInit)(0),
                (driver.cuDevicePrimaryCtxRetain)(&mut context, 0),
                (driver.cuCtxSynchronize)(),
            ];
            let cupti_answers =
                [subscribe(), (cupti.cuptiActivityFlushAll)(0), (cupti.cuptiActivityEnable)(10)];
            let right = answers == [3; 4] && cupti_answers == [15; 3];
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        let mut status = -1;
        // SAFETY: `status` is writable, and the child exists.
        unsafe { libc::waitpid(i32::try_from(child).unwrap(), &raw mut status, 0) };
        assert_eq!(status, 0, "the child saw other answers");
    }
    assert_eq!(gpu::launch(&driver, kernel, 0), 0, "the parent goes on");
}
