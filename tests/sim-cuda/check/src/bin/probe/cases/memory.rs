//! Memory: contents, limits, the virtual-memory API.

use std::ffi::c_void;

use crate::api::Driver;
use crate::gpu;

const MIB: usize = 1 << 20;

fn free_bytes(driver: &Driver) -> usize {
    let (mut free, mut total) = (0, 0);
    assert_eq!((driver.cuMemGetInfo_v2)(&mut free, &mut total), 0);
    free
}

fn round_trip(driver: &Driver, address: u64) {
    let data: Vec<u8> = (0..=255).collect();
    assert_eq!((driver.cuMemcpyHtoD_v2)(address, data.as_ptr().cast(), 256), 0);
    let mut back = vec![0u8; 256];
    assert_eq!((driver.cuMemcpyDtoH_v2)(back.as_mut_ptr().cast(), address, 256), 0);
    assert_eq!(back, data);
}

/// Needs `WARPLENS_SIM_MEMORY=1073741824`.
pub(crate) fn memory() {
    let driver = gpu::driver();
    let before = free_bytes(&driver);
    assert_eq!(before, 1024 * MIB);
    let mut address = 0;
    assert_eq!((driver.cuMemAlloc_v2)(&mut address, MIB), 0);
    assert_eq!(free_bytes(&driver), before - MIB);
    round_trip(&driver, address);
    assert_eq!((driver.cuMemsetD32_v2)(address, 0x0102_0304, 4), 0);
    let mut back = [0u32; 5];
    assert_eq!((driver.cuMemcpyDtoH_v2)(back.as_mut_ptr().cast(), address, 20), 0);
    assert_eq!(back, [0x0102_0304, 0x0102_0304, 0x0102_0304, 0x0102_0304, 0x1312_1110]);
    // Beyond the end, freed twice, not an allocation, more than there is.
    let outside = back.as_mut_ptr().cast::<c_void>();
    assert_eq!((driver.cuMemcpyDtoH_v2)(outside, address + (MIB as u64) - 4, 20), 1);
    assert_eq!((driver.cuMemFree_v2)(address), 0);
    assert_eq!((driver.cuMemFree_v2)(address), 1);
    assert_eq!(free_bytes(&driver), before);
    let mut other = 0;
    assert_eq!((driver.cuMemAlloc_v2)(&mut other, 2048 * MIB), 2);
    assert_eq!((driver.cuMemAlloc_v2)(&mut other, MIB), 0);
    assert_eq!(other, address, "addresses are reused");
}

pub(crate) fn virtual_memory() {
    let driver = gpu::driver();
    let before = free_bytes(&driver);
    let size = 4 * MIB;
    let (mut address, mut handle) = (0, 0);
    assert_eq!((driver.cuMemAddressReserve)(&mut address, size, 0, 0, 0), 0);
    assert_eq!(free_bytes(&driver), before, "addresses cost nothing");
    let properties = [1, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!((driver.cuMemCreate)(&mut handle, size, &raw const properties, 0), 0);
    assert_eq!(free_bytes(&driver), before - size);
    let byte = [1u8];
    assert_eq!((driver.cuMemcpyHtoD_v2)(address, byte.as_ptr().cast(), 1), 1, "nothing mapped");
    assert_eq!((driver.cuMemMap)(address, size, 0, handle, 0), 0);
    assert_eq!((driver.cuMemMap)(address, size, 0, handle, 0), 1, "mapped already");
    assert_eq!((driver.cuMemSetAccess)(address, size, std::ptr::null(), 0), 0);
    round_trip(&driver, address);
    assert_eq!((driver.cuMemRelease)(handle), 0);
    assert_eq!(free_bytes(&driver), before - size, "still mapped");
    assert_eq!((driver.cuMemAddressFree)(address, size), 1, "still mapped");
    assert_eq!((driver.cuMemUnmap)(address, size), 0);
    assert_eq!(free_bytes(&driver), before);
    assert_eq!((driver.cuMemRelease)(handle), 400);
    assert_eq!((driver.cuMemAddressFree)(address, size), 0);
}
