//! The UUIDs behind device ordinals, and which devices the process has opened, asked from the driver on the shim's own
//! thread.

use std::sync::atomic::Ordering;

use cupti_sys::driver;
use wire::limits::DEVICES;
use wire::shim::{DEVICE_KNOWN, DEVICE_UNOPENED, Stats};

use crate::loader::Library;

/// The driver functions that answer for devices.
#[derive(Debug)]
pub(crate) struct Driver {
    get_version: Option<driver::DriverGetVersion>,
    get_count: Option<driver::DeviceGetCount>,
    get: Option<driver::DeviceGet>,
    get_uuid: Option<driver::DeviceGetUuid>,
    get_state: Option<driver::DevicePrimaryCtxGetState>,
}

/// What [`Driver::publish`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The driver refuses: before `cuInit` has finished it does.
    NotYet,
    /// Some devices are not opened yet.
    Unopened,
    /// Nothing will change.
    All,
}

impl Driver {
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one table, one argument for all")]
    pub(crate) fn resolve(libcuda: Library) -> Self {
        // SAFETY: each symbol has the type CUDA documents for it since 12.0.
        unsafe {
            Self {
                get_version: libcuda.function(c"cuDriverGetVersion"),
                get_count: libcuda.function(c"cuDeviceGetCount"),
                get: libcuda.function(c"cuDeviceGet"),
                get_uuid: libcuda
                    .function(c"cuDeviceGetUuid_v2")
                    .or_else(|| libcuda.function(c"cuDeviceGetUuid")),
                get_state: libcuda.function(c"cuDevicePrimaryCtxGetState"),
            }
        }
    }

    /// CUDA version the driver supports, such as 12040, or 0.
    pub(crate) fn version(&self) -> u32 {
        let Some(get_version) = self.get_version else {
            return 0;
        };
        let mut version = 0;
        // SAFETY: the out pointer is a live int; this call needs no initialised driver.
        let result = unsafe { get_version(&raw mut version) };
        if result == driver::SUCCESS { u32::try_from(version).unwrap_or(0) } else { 0 }
    }

    /// Writes what the driver tells into the stats page. A device that was opened once counts as opened for good.
    pub(crate) fn publish(&self, stats: &Stats) -> Published {
        let (Some(get_count), Some(get), Some(get_uuid)) =
            (self.get_count, self.get, self.get_uuid)
        else {
            return Published::All;
        };
        let mut count = 0;
        // SAFETY: the out pointer is a live int.
        if unsafe { get_count(&raw mut count) } != driver::SUCCESS {
            return Published::NotYet;
        }
        let mut published = Published::All;
        for (ordinal, entry) in (0..count).zip(stats.devices.iter().take(DEVICES)) {
            if entry.known.load(Ordering::Relaxed) == DEVICE_KNOWN {
                continue;
            }
            let mut device = 0;
            let mut uuid = [0_u8; 16];
            // SAFETY: the out pointer is a live int.
            if unsafe { get(&raw mut device, ordinal) } != driver::SUCCESS {
                continue;
            }
            // SAFETY: the out pointer is 16 live bytes.
            if unsafe { get_uuid(&raw mut uuid, device) } != driver::SUCCESS {
                continue;
            }
            let unopened = if self.has_context(device) { 0 } else { DEVICE_UNOPENED };
            if unopened != 0 {
                published = Published::Unopened;
            }
            let [low, high]: [u64; 2] = zerocopy::transmute!(uuid);
            entry.uuid[0].store(low, Ordering::Relaxed);
            entry.uuid[1].store(high, Ordering::Relaxed);
            entry.known.store(DEVICE_KNOWN | unopened, Ordering::Release);
        }
        published
    }

    /// Whether the process may have a context on a device: not where the driver says that the primary one, which the
    /// runtime works in, is not active. Who only makes contexts of its own (`cuCtxCreate`) is not known.
    fn has_context(&self, device: std::ffi::c_int) -> bool {
        let Some(get_state) = self.get_state else { return true };
        let (mut flags, mut active) = (0, 0);
        // SAFETY: the out pointers are live ints.
        let result = unsafe { get_state(device, &raw mut flags, &raw mut active) };
        result != driver::SUCCESS || active != 0
    }
}
