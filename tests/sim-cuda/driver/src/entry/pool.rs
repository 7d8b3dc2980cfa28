//! Memory pools. A pool is a handle with attributes; allocations from it are counted per device.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use sim_channel::lock;
use sim_channel::raw::{In, Out};

use crate::device;
use crate::entry::device::put;
use crate::entry::driver_api;
use crate::error::{Cu, CuError, INVALID_VALUE};
use crate::pool::{Pool, Tag};

/// A pool.
struct MemoryPool {
    handle: usize,
    /// `CU_MEMPOOL_ATTR_*`, as 64-bit words.
    attributes: Mutex<HashMap<u32, u64>>,
}

static POOLS: Pool<MemoryPool> = Pool::new(Tag::MemoryPool);
/// Default pool of each device, made when first asked for.
static DEFAULTS: Mutex<Option<HashMap<u32, usize>>> = Mutex::new(None);

driver_api! {
    None fn cuDeviceGetDefaultMemPool [call, default] (pool: Out<usize>, device: i32) {
        put(pool, default_pool(device)?)
    }

    None fn cuDeviceGetMemPool [call, default] (pool: Out<usize>, device: i32) {
        put(pool, default_pool(device)?)
    }

    None fn cuDeviceSetMemPool [call, default] (device: i32, pool: usize) {
        let device = device::get(device)?.ordinal;
        check(pool)?;
        lock(&DEFAULTS).get_or_insert_default().insert(device, pool);
        Ok(())
    }

    None fn cuMemPoolCreate [call, default] (pool: Out<usize>, properties: In<c_void>) {
        let _ = properties;
        put(pool, create().handle)
    }

    None fn cuMemPoolDestroy [call, default] (pool: usize) {
        POOLS.remove(pool).map(drop)
    }

    None fn cuMemPoolSetAttribute [call, default] (pool: usize, attribute: u32, value: In<c_void>) {
        let pool = POOLS.get(pool)?;
        let word = if is_wide(attribute) {
            value.cast::<u64>().get()
        } else {
            value.cast::<u32>().get().map(u64::from)
        };
        lock(&pool.attributes).insert(attribute, word.ok_or(INVALID_VALUE)?);
        Ok(())
    }

    None fn cuMemPoolGetAttribute [call, default] (pool: usize, attribute: u32, value: Out<c_void>) {
        let pool = POOLS.get(pool)?;
        let word = lock(&pool.attributes).get(&attribute).copied().unwrap_or(0);
        if is_wide(attribute) {
            put(value.cast(), word)
        } else {
            put(value.cast(), u32::try_from(word).unwrap_or(0))
        }
    }

    None fn cuMemPoolTrimTo [call, default] (pool: usize, keep: usize) {
        let _ = keep;
        check(pool)
    }

    None fn cuMemPoolSetAccess [call, default] (pool: usize, access: In<c_void>, count: usize) {
        let _ = (access, count);
        check(pool)
    }
}

/// Fails for what is no pool.
pub(super) fn check(pool: usize) -> Cu {
    POOLS.get(pool).map(drop)
}

/// From `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD` on, attributes are 64 bits wide; before, they are ints.
fn is_wide(attribute: u32) -> bool {
    attribute >= 4
}

fn create() -> Arc<MemoryPool> {
    POOLS.insert(|handle| MemoryPool { handle, attributes: Mutex::default() }).1
}

fn default_pool(device: i32) -> Result<usize, CuError> {
    let device = device::get(device)?.ordinal;
    let mut defaults = lock(&DEFAULTS);
    Ok(*defaults.get_or_insert_default().entry(device).or_insert_with(|| create().handle))
}
