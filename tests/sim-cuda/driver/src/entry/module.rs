//! Modules and functions.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use sim_channel::callback::resource;
use sim_channel::raw::{In, Out};

use crate::entry::device::{put, text};
use crate::entry::driver_api;
use crate::error::{Cu, CuError, FILE_NOT_FOUND, INVALID_VALUE, NOT_FOUND};
use crate::module::Module;
use crate::{context, module, resource as callbacks};

driver_api! {
    None fn cuModuleLoad [call, default] (module: Out<usize>, path: In<c_char>) {
        context::current()?;
        let image = std::fs::read(text(&path)?).map_err(|_error| FILE_NOT_FOUND)?;
        put(module, load(&image)?.handle)
    }

    None fn cuModuleLoadData [call, default] (module: Out<usize>, image: In<c_void>) {
        context::current()?;
        put(module, load(bytes(image)?)?.handle)
    }

    None fn cuModuleLoadDataEx [call, default] (
        module: Out<usize>, image: In<c_void>, count: u32, options: In<c_void>, values: In<c_void>
    ) {
        let _ = (count, options, values);
        context::current()?;
        put(module, load(bytes(image)?)?.handle)
    }

    None fn cuModuleLoadFatBinary [call, default] (module: Out<usize>, image: In<c_void>) {
        context::current()?;
        put(module, load(bytes(image)?)?.handle)
    }

    None fn cuModuleUnload [call, default] (module: usize) {
        unload(module)
    }

    None fn cuModuleGetFunction [call, default] (
        function: Out<usize>, module: usize, name: In<c_char>
    ) {
        put(function, module::get(module)?.function(text(&name)?)?.handle)
    }

    None fn cuModuleGetFunctionCount [call, default] (count: Out<u32>, module: usize) {
        put(count, u32::try_from(module::get(module)?.names().len()).unwrap_or(u32::MAX))
    }

    None fn cuModuleGetGlobal_v2 [call, default] (
        address: Out<u64>, bytes: Out<usize>, module: usize, name: In<c_char>
    ) {
        // Variables of PTX modules are not simulated.
        let _ = (address, bytes, name);
        module::get(module)?;
        Err(NOT_FOUND)
    }

    None fn cuFuncGetAttribute [call, default] (value: Out<i32>, attribute: i32, function: usize) {
        module::function(function)?;
        put(value, function_attribute(attribute))
    }

    None fn cuFuncSetAttribute [call, default] (function: usize, attribute: i32, value: i32) {
        let _ = (attribute, value);
        module::function(function).map(drop)
    }

    None fn cuFuncSetCacheConfig [call, default] (function: usize, config: u32) {
        let _ = config;
        module::function(function).map(drop)
    }

    None fn cuFuncGetModule [call, default] (module: Out<usize>, function: usize) {
        put(module, module::function(function)?.module.handle)
    }

    None fn cuFuncGetName [call, default] (name: Out<*const c_char>, function: usize) {
        put(name, module::function(function)?.name())
    }

    None fn cuFuncLoad [call, default] (function: usize) {
        module::function(function).map(drop)
    }

    None fn cuOccupancyMaxActiveBlocksPerMultiprocessor [call, default] (
        blocks: Out<i32>, function: usize, block_size: i32, shared: usize
    ) {
        let _ = shared;
        module::function(function)?;
        put(blocks, occupancy(block_size)?)
    }

    None fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags [call, default] (
        blocks: Out<i32>, function: usize, block_size: i32, shared: usize, flags: u32
    ) {
        let _ = (shared, flags);
        module::function(function)?;
        put(blocks, occupancy(block_size)?)
    }

    None fn cuOccupancyMaxPotentialBlockSize [call, default] (
        grid: Out<i32>, block: Out<i32>, function: usize, shared_of: In<c_void>, shared: usize,
        limit: i32
    ) {
        let _ = (shared_of, shared);
        module::function(function)?;
        put(grid, 264)?;
        put(block, if limit > 0 { limit.min(1024) } else { 1024 })
    }
}

/// Loads an image and announces the module.
pub(super) fn load(image: &[u8]) -> Result<Arc<Module>, CuError> {
    let module = module::load(image)?;
    callbacks::module(resource::MODULE_LOADED, number(&module), image);
    Ok(module)
}

/// Announces a module's end and unloads it.
pub(super) fn unload(handle: usize) -> Cu {
    let module = module::get(handle)?;
    callbacks::module(resource::MODULE_UNLOAD_STARTING, number(&module), &[]);
    module::unload(handle)
}

fn number(module: &Module) -> u32 {
    u32::try_from(module.number).unwrap_or(u32::MAX)
}

/// The bytes of an image in memory: PTX is text that ends with NUL; of anything else only the first
/// bytes are looked at, to refuse it.
pub(super) fn bytes<'a>(image: In<c_void>) -> Result<&'a [u8], CuError> {
    let head: [u8; 4] = image.cast::<[u8; 4]>().get().ok_or(INVALID_VALUE)?;
    if head[0] == 0x7f || head == [0x50, 0xed, 0x55, 0xba] {
        return Ok(if head[0] == 0x7f { b"\x7fELF" } else { &[0x50, 0xed, 0x55, 0xba] });
    }
    // SAFETY: the C caller guarantees that an image that is neither ELF nor a fat binary is text with
    // a NUL at its end, valid while the call lasts; the slice is not kept beyond it.
    let text = unsafe { CStr::from_ptr(image.address().cast()) };
    Ok(text.to_bytes())
}

/// `CU_FUNC_ATTRIBUTE_*`: what a small kernel has.
pub(super) fn function_attribute(attribute: i32) -> i32 {
    match attribute {
        0 => 1024,   // threads per block
        4 => 32,     // registers
        5 | 6 => 90, // PTX and binary version
        8 => 232_448,
        _ => 0,
    }
}

fn occupancy(block_size: i32) -> Result<i32, CuError> {
    if !(1..=1024).contains(&block_size) {
        return Err(INVALID_VALUE);
    }
    Ok((2048 / block_size).min(32))
}
