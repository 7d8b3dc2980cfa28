//! The few CUDA driver functions the shim asks, with their `CUresult` values.

use core::ffi::{c_int, c_uint};

pub type DriverGetVersion = unsafe extern "C" fn(*mut c_int) -> c_uint;
pub type DeviceGetCount = unsafe extern "C" fn(*mut c_int) -> c_uint;
pub type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_uint;
pub type DeviceGetUuid = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_uint;

pub const SUCCESS: c_uint = 0;
