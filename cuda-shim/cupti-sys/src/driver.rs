//! The few CUDA driver functions the shim asks, with their `CUresult` values.

use core::ffi::{c_int, c_uint};

pub type DriverGetVersion = unsafe extern "C" fn(*mut c_int) -> c_uint;
pub type DeviceGetCount = unsafe extern "C" fn(*mut c_int) -> c_uint;
pub type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_uint;
pub type DeviceGetUuid = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_uint;
/// Of a device: flags and whether its primary context is active. Since CUDA 7.0.
pub type DevicePrimaryCtxGetState = unsafe extern "C" fn(c_int, *mut c_uint, *mut c_int) -> c_uint;

pub const SUCCESS: c_uint = 0;
