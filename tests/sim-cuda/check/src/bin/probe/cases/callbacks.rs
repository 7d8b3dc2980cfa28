//! API and resource callbacks.

use crate::collect::{self, Api};
use crate::gpu;

const DRIVER: u32 = 1;
const RUNTIME: u32 = 2;
const RESOURCE: u32 = 3;

/// A runtime call encloses the driver call it makes, with one correlation id, arguments and results.
pub(crate) fn nesting() {
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("void gemm<float>(int)__sim3000");
    let cupti = collect::subscribe(&[DRIVER, RUNTIME]);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    assert_eq!((cupti.cuptiUnsubscribe)(collect::subscriber()), 0);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    let seen = collect::take().api;
    let id = seen[0].correlation;
    let call = |domain, cbid, site, name: &str, params| Api {
        domain,
        cbid,
        site,
        name: name.to_owned(),
        symbol: Some("void gemm<float>(int)".to_owned()),
        correlation: id,
        context: 1,
        params: Some(params),
        result: (site == 1).then_some(0),
        data: if site == 0 { 0 } else { u64::from(id) << 8 | u64::from(domain) },
    };
    // Second word: grid x and y of cudaLaunchKernel(func, grid, ...) and cuLaunchKernel(f, x, y, ...).
    let params = [kernel as u64, 1 | 1 << 32];
    assert_eq!(
        seen,
        [
            call(RUNTIME, 211, 0, "cudaLaunchKernel", params),
            call(DRIVER, 307, 0, "cuLaunchKernel", params),
            call(DRIVER, 307, 1, "cuLaunchKernel", params),
            call(RUNTIME, 211, 1, "cudaLaunchKernel", params),
        ]
    );
}

pub(crate) fn only_what_is_enabled() {
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("k__sim1000");
    let cupti = collect::subscribe(&[]);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    assert_eq!((cupti.cuptiEnableCallback)(1, collect::subscriber(), DRIVER, 307), 0);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    assert_eq!((runtime.cudaDeviceSynchronize)(), 0);
    assert_eq!((cupti.cuptiEnableCallback)(0, collect::subscriber(), DRIVER, 307), 0);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    let seen: Vec<(u32, u32)> =
        collect::take().api.iter().map(|api| (api.cbid, api.site)).collect();
    assert_eq!(seen, [(307, 0), (307, 1)]);
    assert_eq!((cupti.cuptiEnableCallback)(1, collect::subscriber(), 99, 1), 1);
    assert_eq!((cupti.cuptiEnableCallback)(1, 7, DRIVER, 307), 1);
}

pub(crate) fn external_correlation() {
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("k__sim1000");
    let cupti = collect::record(&[5, 39]);
    let mut id = 0;
    assert_eq!((cupti.cuptiActivityPopExternalCorrelationId)(5, &mut id), 18);
    assert_eq!((cupti.cuptiActivityPushExternalCorrelationId)(5, 77), 0);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    assert_eq!((cupti.cuptiActivityPopExternalCorrelationId)(5, &mut id), 0);
    assert_eq!(id, 77);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let external: Vec<Vec<u8>> =
        collect::take().others.into_iter().filter(|record| record[0] == 39).collect();
    assert_eq!(external.len(), 1);
    assert_eq!((external[0][4], external[0][8]), (5, 77));
}

/// Needs `WARPLENS_SIM_CORRELATION_START=4294967280`.
pub(crate) fn correlation_wraps() {
    let driver = gpu::driver();
    let kernel = gpu::kernel("k__sim1000");
    collect::subscribe(&[DRIVER]);
    for _ in 0..40 {
        assert_eq!(gpu::launch(&driver, kernel, 0), 0);
    }
    let ids: Vec<u32> =
        collect::take().api.iter().filter(|a| a.site == 0).map(|a| a.correlation).collect();
    let wrap = ids.iter().position(|&id| id == u32::MAX).expect("reaches the last id");
    assert_eq!(ids[wrap + 1], 1, "0 is never an id");
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1).max(1)), "{ids:?}");
}

pub(crate) fn resources() {
    let driver = gpu::driver();
    collect::subscribe(&[RESOURCE]);
    let mut stream = 0;
    assert_eq!((driver.cuStreamCreate)(&mut stream, 0), 0);
    assert_eq!((driver.cuStreamDestroy_v2)(stream), 0);
    let (module, _) = gpu::module(&driver, "k");
    assert_eq!((driver.cuModuleUnload)(module), 0);
    let cbids: Vec<u32> = collect::take().resources.iter().map(|r| r.cbid).collect();
    assert_eq!(cbids, [3, 4, 6, 7]);
}
