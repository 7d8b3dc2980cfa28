//! For each number read from standard input: launches that many kernels through
//! `cudaLaunchKernel` of the simulated runtime and prints `#TURN` and the median ns per launch
//! over batches.
//! The waits between batches are not counted.
#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::{BufRead, Write};
use std::ptr::null_mut;
use std::time::Instant;

/// Launches timed together: long against the clock's cost, short against a scheduler's tick.
const BATCH: u32 = 500;

#[derive(Clone, Copy)]
#[repr(C)]
struct Dim3 {
    x: c_uint,
    y: c_uint,
    z: c_uint,
}

type Register = unsafe extern "C" fn(*const c_char) -> *const c_void;
type Launch =
    unsafe extern "C" fn(*const c_void, Dim3, Dim3, *mut *mut c_void, usize, *mut c_void) -> c_int;
type Synchronize = unsafe extern "C" fn() -> c_int;

fn main() -> Result<(), String> {
    // SAFETY: the name is a C string; the simulated runtime's initialisers may run.
    let runtime = unsafe { libc::dlopen(c"libcudart.so.12".as_ptr(), libc::RTLD_NOW) };
    if runtime.is_null() {
        return Err("libcudart.so.12 is not on LD_LIBRARY_PATH".to_owned());
    }
    // SAFETY: the simulator exports it with this type.
    let register: Register = unsafe { symbol(runtime, c"warplens_sim_register_function")? };
    // SAFETY: CUDA documents this type.
    let launch: Launch = unsafe { symbol(runtime, c"cudaLaunchKernel")? };
    // SAFETY: as above.
    let synchronize: Synchronize = unsafe { symbol(runtime, c"cudaDeviceSynchronize")? };
    // 2 us: most records complete while this thread waits, not while it launches.
    // SAFETY: the name is a C string.
    let kernel = unsafe { register(c"bench_kernel__sim2000".as_ptr()) };
    let one = Dim3 { x: 1, y: 1, z: 1 };
    let batch = |count: u32| {
        let begin = Instant::now();
        for _ in 0..count {
            // SAFETY: a registered kernel without arguments.
            let result = unsafe { launch(kernel, one, one, null_mut(), 0, null_mut()) };
            if result != 0 {
                return Err(format!("cudaLaunchKernel answered {result}"));
            }
        }
        let elapsed = begin.elapsed();
        // SAFETY: no arguments.
        unsafe { synchronize() };
        Ok(elapsed.as_secs_f64() * 1e9 / f64::from(count))
    };
    batch(BATCH)?;
    println!("ready");
    for (turn, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.map_err(|error| error.to_string())?;
        let launches: u64 =
            line.trim().parse().map_err(|_parse| format!("not a number: {line}"))?;
        let mut figures = (0..launches.div_ceil(BATCH.into()))
            .map(|_| batch(BATCH))
            .collect::<Result<Vec<_>, _>>()?;
        figures.sort_by(f64::total_cmp);
        println!("#{turn} {:.1}", figures[figures.len() / 2]);
        std::io::stdout().flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// # Safety
/// `F` is a function pointer type that fits the symbol.
unsafe fn symbol<F: Copy>(library: *mut c_void, name: &CStr) -> Result<F, String> {
    // SAFETY: an open library and a C string.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        return Err(format!("no {}: this is not the simulated runtime", name.to_string_lossy()));
    }
    // SAFETY: same size; the caller vouches for the type.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
}
