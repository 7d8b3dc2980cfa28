//! Libraries: modules without a context. A library handle is its module's, a kernel its function.

use std::ffi::{c_char, c_void};

use sim_channel::raw::{In, Out};

use crate::entry::device::{put, text};
use crate::entry::driver_api;
use crate::entry::module::{bytes, function_attribute, load, unload};
use crate::error::FILE_NOT_FOUND;
use crate::module;

driver_api! {
    None fn cuLibraryLoadData [call, default] (
        library: Out<usize>, code: In<c_void>, options: In<c_void>, values: In<c_void>, count: u32,
        library_options: In<c_void>, library_values: In<c_void>, library_count: u32
    ) {
        let _ = (options, values, count, library_options, library_values, library_count);
        put(library, load(bytes(code)?)?.handle)
    }

    None fn cuLibraryLoadFromFile [call, default] (
        library: Out<usize>, path: In<c_char>, options: In<c_void>, values: In<c_void>, count: u32,
        library_options: In<c_void>, library_values: In<c_void>, library_count: u32
    ) {
        let _ = (options, values, count, library_options, library_values, library_count);
        let image = std::fs::read(text(&path)?).map_err(|_error| FILE_NOT_FOUND)?;
        put(library, load(&image)?.handle)
    }

    None fn cuLibraryUnload [call, default] (library: usize) {
        unload(library)
    }

    None fn cuLibraryGetKernel [call, default] (
        kernel: Out<usize>, library: usize, name: In<c_char>
    ) {
        put(kernel, module::get(library)?.function(text(&name)?)?.handle)
    }

    None fn cuLibraryGetModule [call, default] (module: Out<usize>, library: usize) {
        put(module, module::get(library)?.handle)
    }

    None fn cuLibraryGetKernelCount [call, default] (count: Out<u32>, library: usize) {
        put(count, u32::try_from(module::get(library)?.names().len()).unwrap_or(u32::MAX))
    }

    None fn cuKernelGetFunction [call, default] (function: Out<usize>, kernel: usize) {
        put(function, module::function(kernel)?.handle)
    }

    None fn cuKernelGetName [call, default] (name: Out<*const c_char>, kernel: usize) {
        put(name, module::function(kernel)?.name())
    }

    None fn cuKernelGetAttribute [call, default] (
        value: Out<i32>, attribute: i32, kernel: usize, device: i32
    ) {
        let _ = device;
        module::function(kernel)?;
        put(value, function_attribute(attribute))
    }

    None fn cuKernelSetAttribute [call, default] (
        attribute: i32, value: i32, kernel: usize, device: i32
    ) {
        let _ = (attribute, value, device);
        module::function(kernel).map(drop)
    }
}
