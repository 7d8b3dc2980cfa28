//! Activity attributes and switches, remembered and checked as the real library does.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim_channel::callback::{DRIVER, IDS, RUNTIME};
use sim_channel::lock;
use sim_channel::raw::Out;

use crate::result::{Cupti, INVALID_PARAMETER, PARAMETER_SIZE_NOT_SUFFICIENT};
use crate::version;

static VALUES: Mutex<Option<HashMap<u32, u64>>> = Mutex::new(None);

/// API ids that `cuptiActivityEnableDriverApi` / `...RuntimeApi` turned off.
static API_OFF: [[AtomicU64; IDS / 64]; 2] = [const { [const { AtomicU64::new(0) }; IDS / 64] }; 2];

/// Bytes of an attribute's value; `None` where the version has no such attribute.
fn width(attribute: u32) -> Option<usize> {
    let number = version::current().number();
    match attribute {
        0..=4 | 6 | 7 => Some(8),
        5 | 8 => Some(1),
        9 if number >= (12, 3) => Some(1),
        11 | 12 if number >= (13, 2) => Some(1),
        13 | 22 | 24 if number >= (13, 4) => Some(8),
        _ => None,
    }
}

fn default(attribute: u32) -> u64 {
    match attribute {
        0 | 1 => 3 << 20,
        2 | 4 => 250,
        3 => 25_000,
        6 => 3,
        9 => u64::from(version::current().major >= 13),
        24 => 128,
        _ => 0,
    }
}

/// `cuptiActivitySetAttribute`.
pub(crate) fn set(attribute: u32, size: Out<usize>, value: Out<c_void>) -> Cupti {
    let width = room(attribute, size)?;
    let word = if width == 1 {
        value.cast::<u8>().get().map(u64::from)
    } else {
        value.cast::<u64>().get()
    };
    let word = word.ok_or(INVALID_PARAMETER)?;
    lock(&VALUES).get_or_insert_default().insert(attribute, word);
    Ok(())
}

/// `cuptiActivityGetAttribute`.
pub(crate) fn get(attribute: u32, size: Out<usize>, value: Out<c_void>) -> Cupti {
    let width = room(attribute, size)?;
    let stored = lock(&VALUES).as_ref().and_then(|values| values.get(&attribute).copied());
    let word = stored.unwrap_or_else(|| default(attribute));
    let done = if width == 1 {
        value.cast::<u8>().put(u8::from(word != 0))
    } else {
        value.cast::<u64>().put(word)
    };
    if done && size.put(width) { Ok(()) } else { Err(INVALID_PARAMETER) }
}

fn room(attribute: u32, size: Out<usize>) -> Cupti<usize> {
    let width = width(attribute).ok_or(INVALID_PARAMETER)?;
    let given = size.get().ok_or(INVALID_PARAMETER)?;
    if given < width { Err(PARAMETER_SIZE_NOT_SUFFICIENT) } else { Ok(width) }
}

/// Turns records of one API function on or off.
pub(crate) fn enable_api(domain: u32, cbid: u32, on: bool) -> Cupti {
    let word = API_OFF[row(domain)].get(cbid as usize / 64).ok_or(INVALID_PARAMETER)?;
    let bit = 1 << (cbid % 64);
    if on {
        word.fetch_and(!bit, Ordering::AcqRel);
    } else {
        word.fetch_or(bit, Ordering::AcqRel);
    }
    Ok(())
}

/// Whether records of an API function are wanted.
pub(crate) fn api_enabled(domain: u32, cbid: u32) -> bool {
    let word = API_OFF[row(domain)].get(cbid as usize / 64);
    word.is_none_or(|word| word.load(Ordering::Acquire) >> (cbid % 64) & 1 == 0)
}

fn row(domain: u32) -> usize {
    debug_assert!(domain == DRIVER || domain == RUNTIME);
    usize::from(domain == RUNTIME)
}
