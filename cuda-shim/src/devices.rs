//! The UUIDs behind device ordinals, asked from the driver on the shim's own thread.

use std::sync::atomic::Ordering;

use cupti_sys::driver;
use wire::limits::DEVICES;
use wire::shim::Stats;

use crate::loader::Library;

/// The driver functions that answer for devices.
#[derive(Debug)]
pub(crate) struct Driver {
    get_version: Option<driver::DriverGetVersion>,
    get_count: Option<driver::DeviceGetCount>,
    get: Option<driver::DeviceGet>,
    get_uuid: Option<driver::DeviceGetUuid>,
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

    /// Writes what the driver tells into the stats page. `false`: ask again later (before
    /// `cuInit` has finished every call is refused).
    pub(crate) fn publish(&self, stats: &Stats) -> bool {
        let (Some(get_count), Some(get), Some(get_uuid)) =
            (self.get_count, self.get, self.get_uuid)
        else {
            return true;
        };
        let mut count = 0;
        // SAFETY: the out pointer is a live int.
        if unsafe { get_count(&raw mut count) } != driver::SUCCESS {
            return false;
        }
        for (ordinal, entry) in (0..count).zip(stats.devices.iter().take(DEVICES)) {
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
            let [low, high]: [u64; 2] = zerocopy::transmute!(uuid);
            entry.uuid[0].store(low, Ordering::Relaxed);
            entry.uuid[1].store(high, Ordering::Relaxed);
            entry.known.store(1, Ordering::Release);
        }
        true
    }
}
