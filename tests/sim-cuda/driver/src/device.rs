//! The devices a process sees and what it can ask of them.

use std::sync::Arc;
use std::sync::{Mutex, OnceLock};

use sim_channel::lock;

use crate::config;
use crate::context::{self, Context};
use crate::error::{Cu, CuError, INVALID_DEVICE};

/// A visible device.
#[derive(Debug)]
pub(crate) struct Device {
    /// As this process numbers it.
    pub(crate) ordinal: u32,
    pub(crate) physical: u32,
    primary: Mutex<Primary>,
}

#[derive(Debug, Default)]
struct Primary {
    context: Option<Arc<Context>>,
    retained: u64,
    flags: u32,
}

/// All visible devices.
pub(crate) fn all() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let physical = config::get().visible.iter();
        (0..)
            .zip(physical)
            .map(|(ordinal, &physical)| Device {
                ordinal,
                physical,
                primary: Mutex::new(Primary::default()),
            })
            .collect()
    })
}

/// The device of an ordinal.
pub(crate) fn get(ordinal: i32) -> Result<&'static Device, CuError> {
    usize::try_from(ordinal).ok().and_then(|index| all().get(index)).ok_or(INVALID_DEVICE)
}

/// Name that devices go by.
pub(crate) const NAME: &str = "SIM simulated H100";

impl Device {
    /// The primary context, made at its first retention. Returns whether it was made.
    pub(crate) fn retain_primary(&self) -> (Arc<Context>, bool) {
        let mut primary = lock(&self.primary);
        primary.retained += 1;
        if let Some(context) = &primary.context {
            return (Arc::clone(context), false);
        }
        let context = context::create(self.ordinal, primary.flags);
        primary.context = Some(Arc::clone(&context));
        (context, true)
    }

    /// The primary context, if it is active.
    pub(crate) fn primary(&self) -> Option<Arc<Context>> {
        lock(&self.primary).context.clone()
    }

    /// Flags of the primary context.
    pub(crate) fn primary_flags(&self) -> u32 {
        lock(&self.primary).flags
    }

    /// Sets the flags of the primary context, for its next creation.
    pub(crate) fn set_primary_flags(&self, flags: u32) {
        lock(&self.primary).flags = flags;
    }

    /// Gives a retention back; the context to destroy, when it was the last one or `all` go.
    pub(crate) fn release_primary(&self, all: bool) -> Cu<Option<Arc<Context>>> {
        let mut primary = lock(&self.primary);
        if primary.retained == 0 {
            return if all { Ok(None) } else { Err(crate::error::INVALID_CONTEXT) };
        }
        primary.retained = if all { 0 } else { primary.retained - 1 };
        Ok(if primary.retained == 0 { primary.context.take() } else { None })
    }
}

/// `CU_DEVICE_ATTRIBUTE_*` of an H100; an attribute that is not listed is 0.
pub(crate) fn attribute(attribute: i32, ordinal: u32) -> i32 {
    match attribute {
        1..=3 => 1024,                             // threads per block; block x, y
        4 => 64,                                   // block z
        5 | 11 => i32::MAX,                        // grid x; pitch
        6 | 7 => 65_535,                           // grid y, z
        8 => 49_152,                               // shared memory per block
        9 | 12 | 82 => 65_536, // constant memory; registers per block, per multiprocessor
        10 | 106 => 32,        // warp; blocks per multiprocessor
        13 => 1_980_000,       // clock, kHz
        14 => 512,             // texture alignment
        16 => 132,             // multiprocessors
        33 => i32::try_from(ordinal).unwrap_or(0), // PCI bus
        36 => 2_619_000,       // memory clock, kHz
        37 => 5120,            // bus width
        38 => 50 << 20,        // L2
        39 => 2048,            // threads per multiprocessor
        40 => 3,               // copy engines
        75 => 9,               // compute capability, major; the minor one is 0
        81 => 233_472,         // shared memory per multiprocessor
        97 => 232_448,         // the same per block, opted in
        // Overlap, mapped and unified memory, concurrent kernels, priorities, caches, managed memory
        // (also concurrent), preemption, cooperative launch, host registration, virtual memory,
        // memory pools, clusters.
        15 | 19 | 31 | 41 | 78 | 79 | 80 | 83 | 89 | 90 | 91 | 95 | 99 | 102 | 115 | 120 => 1,
        _ => 0,
    }
}
