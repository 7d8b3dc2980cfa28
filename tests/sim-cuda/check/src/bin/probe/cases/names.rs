//! Kernel names: their addresses are given to the next module once nobody needs them.

use crate::collect;
use crate::gpu;

pub(crate) fn reused() {
    let driver = gpu::driver();
    let cupti = collect::record(&[10]);
    let (module, first) = gpu::module(&driver, "first_kernel__sim1000");
    assert_eq!(gpu::launch(&driver, first, 0), 0);
    assert_eq!((driver.cuCtxSynchronize)(), 0);
    assert_eq!((driver.cuModuleUnload)(module), 0);
    // The record is not delivered yet: its name must stay.
    let (other_module, other) = gpu::module(&driver, "other_kernel__sim1000");
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let delivered = collect::take().records;
    assert_eq!(delivered[0].name, "first_kernel");
    let (_, second) = gpu::module(&driver, "second_kernel__sim1000");
    for kernel in [other, second] {
        assert_eq!(gpu::launch(&driver, kernel, 0), 0);
    }
    assert_eq!(gpu::launch(&driver, first, 0), 400, "its module is gone");
    assert_eq!((driver.cuCtxSynchronize)(), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    let names: Vec<&str> = records.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["other_kernel", "second_kernel"]);
    assert_eq!(records[1].name_address, delivered[0].name_address);
    assert_ne!(records[0].name_address, delivered[0].name_address);
    assert_eq!((driver.cuModuleUnload)(other_module), 0);
}
