//! Functions outside any context: initialisation, versions, errors, and where functions are.

use std::ffi::{CStr, CString, c_char, c_void};

use sim_channel::find::Library;
use sim_channel::raw::{In, Out};

use crate::error::{self, Cu, CuResult, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED, code};
use crate::{config, init};

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: u32) -> CuResult {
    code(init::initialize(flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<i32>) -> CuResult {
    code(if version.put(config::get().driver_version) { Ok(()) } else { Err(INVALID_VALUE) })
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(error: i32, name: Out<*const c_char>) -> CuResult {
    code(describe(error, name, |(name, _)| name))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(error: i32, text: Out<*const c_char>) -> CuResult {
    code(describe(error, text, |(_, text)| text))
}

fn describe(
    error: i32,
    out: Out<*const c_char>,
    pick: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Cu {
    let text = error::describe(error).map(pick);
    let stored = out.put(text.map_or(std::ptr::null(), CStr::as_ptr));
    if stored && text.is_some() { Ok(()) } else { Err(INVALID_VALUE) }
}

/// The private tables of the real driver are not simulated; the real libcudart and libcupti, which
/// need them, cannot run on top of this library.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(_table: Out<*const c_void>, _id: In<c_void>) -> CuResult {
    NOT_SUPPORTED.0
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress(
    name: In<c_char>,
    function: Out<*mut c_void>,
    version: i32,
    flags: u64,
) -> CuResult {
    code(find(name, function, version, flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress_v2(
    name: In<c_char>,
    function: Out<*mut c_void>,
    version: i32,
    flags: u64,
    status: Out<i32>,
) -> CuResult {
    let result = find(name, function, version, flags);
    // CU_GET_PROC_ADDRESS_SUCCESS, ..._SYMBOL_NOT_FOUND. A null pointer means not to tell.
    let _told: bool = status.put(i32::from(result.is_err()));
    code(result)
}

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const PER_THREAD: u64 = 2;

/// Hands out exported addresses: the newest variant of a function, per-thread if asked.
fn find(name: In<c_char>, function: Out<*mut c_void>, version: i32, flags: u64) -> Cu {
    let name = name.text().and_then(|name| name.to_str().ok()).ok_or(INVALID_VALUE)?;
    let base = match name {
        // Renamed by the header since CUDA 12.
        "cuGraphInstantiate" => "cuGraphInstantiateWithFlags",
        name => name,
    };
    let library =
        Library::open(c"libcuda.so.1", libc::RTLD_NOW | libc::RTLD_NOLOAD).ok_or(NOT_FOUND)?;
    let threads = if flags & PER_THREAD == 0 { &[""][..] } else { &["_ptsz", "_ptds", ""][..] };
    // `_v4` and `_v3` change signatures and came with 12.5 and later.
    let versions = if base == "cuCtxCreate" && version >= 12_050 {
        &["_v4", "_v2", ""][..]
    } else {
        &["_v2", ""][..]
    };
    for generation in versions {
        for thread in threads {
            let Ok(symbol) = CString::new(format!("{base}{generation}{thread}")) else {
                continue;
            };
            if let Some(address) = library.symbol(&symbol) {
                return if function.put(address) { Ok(()) } else { Err(INVALID_VALUE) };
            }
        }
    }
    let _cleared: bool = function.put(std::ptr::null_mut());
    Err(NOT_FOUND)
}
