//! The functions of the simulated runtime and driver that a replay calls.

use std::ffi::{CString, c_char, c_void};

use sim_channel::MARKER_SYMBOL;
use sim_channel::find::Library;

/// Why the simulator cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CudaError {
    #[error("load {library}: put the folder of the simulated libraries on LD_LIBRARY_PATH")]
    Missing { library: &'static str },
    #[error("{library} is not the simulated one: a replay must not run on a real device")]
    Real { library: &'static str },
    #[error("{library} has no {function}: rebuild the simulated libraries")]
    Incomplete { library: &'static str, function: &'static str },
    #[error("{function} answered {code}")]
    Refused { function: &'static str, code: i32 },
    #[error("kernel name {name:?} cannot be registered")]
    Name { name: String },
}

/// `dim3`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Dim3([u32; 3]);

type Launch = extern "C" fn(usize, Dim3, Dim3, *mut *mut c_void, usize, usize) -> i32;

/// The functions, looked up once.
#[derive(Debug)]
pub(crate) struct Cuda {
    set_device: extern "C" fn(i32) -> i32,
    synchronize: extern "C" fn() -> i32,
    create_stream: extern "C" fn(*mut usize, u32) -> i32,
    allocate: extern "C" fn(*mut u64, usize) -> i32,
    allocate_host: extern "C" fn(*mut u64, usize) -> i32,
    launch: Launch,
    copy: extern "C" fn(u64, u64, usize, u32, usize) -> i32,
    set: extern "C" fn(u64, i32, usize, usize) -> i32,
    register: extern "C" fn(*const c_char) -> usize,
    prescribe: extern "C" fn(u64, u64),
}

/// Looks a function up as the type of the field it is for.
macro_rules! find {
    ($library:expr, $name:literal, $type:ty) => {{
        let (library, file) = $library;
        let name = CString::new($name).unwrap_or_default();
        let symbol = library
            .symbol(&name)
            .ok_or(CudaError::Incomplete { library: file, function: $name })?;
        // SAFETY: the simulated library exports this name with this signature.
        unsafe { std::mem::transmute::<*mut c_void, $type>(symbol) }
    }};
}

impl Cuda {
    /// Loads the simulated libraries.
    pub(crate) fn load() -> Result<Self, CudaError> {
        // The bytes of copies do not matter, and moving gigabytes would make launches late.
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var("WARPLENS_SIM_TOUCH_MAX", "0") };
        let runtime = open("libcudart.so.12")?;
        let driver = open("libcuda.so.1")?;
        Ok(Self {
            set_device: find!(runtime, "cudaSetDevice", extern "C" fn(i32) -> i32),
            synchronize: find!(runtime, "cudaDeviceSynchronize", extern "C" fn() -> i32),
            create_stream: find!(
                runtime,
                "cudaStreamCreateWithFlags",
                extern "C" fn(*mut usize, u32) -> i32
            ),
            allocate: find!(runtime, "cudaMalloc", extern "C" fn(*mut u64, usize) -> i32),
            allocate_host: find!(runtime, "cudaMallocHost", extern "C" fn(*mut u64, usize) -> i32),
            launch: find!(runtime, "cudaLaunchKernel", Launch),
            copy: find!(
                runtime,
                "cudaMemcpyAsync",
                extern "C" fn(u64, u64, usize, u32, usize) -> i32
            ),
            set: find!(runtime, "cudaMemsetAsync", extern "C" fn(u64, i32, usize, usize) -> i32),
            register: find!(
                runtime,
                "warplens_sim_register_function",
                extern "C" fn(*const c_char) -> usize
            ),
            prescribe: find!(driver, "warplens_sim_prescribe", extern "C" fn(u64, u64)),
        })
    }

    pub(crate) fn set_device(&self, device: i32) -> Result<(), CudaError> {
        check("cudaSetDevice", (self.set_device)(device))
    }

    pub(crate) fn synchronize(&self) -> Result<(), CudaError> {
        check("cudaDeviceSynchronize", (self.synchronize)())
    }

    /// A stream that does not wait for the default stream.
    pub(crate) fn create_stream(&self) -> Result<usize, CudaError> {
        let mut stream = 0;
        check("cudaStreamCreateWithFlags", (self.create_stream)(&raw mut stream, 1))?;
        Ok(stream)
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        let mut address = 0;
        check("cudaMalloc", (self.allocate)(&raw mut address, bytes))?;
        Ok(address)
    }

    pub(crate) fn allocate_host(&self, bytes: usize) -> Result<u64, CudaError> {
        let mut address = 0;
        check("cudaMallocHost", (self.allocate_host)(&raw mut address, bytes))?;
        Ok(address)
    }

    /// A kernel by name.
    pub(crate) fn register(&self, name: &str) -> Result<usize, CudaError> {
        let bad = || CudaError::Name { name: name.to_owned() };
        let text = CString::new(name).map_err(|_error| bad())?;
        let function = (self.register)(text.as_ptr());
        if function == 0 { Err(bad()) } else { Ok(function) }
    }

    /// Start (`CLOCK_MONOTONIC`) and duration of this thread's next launch, ns.
    pub(crate) fn prescribe(&self, start: u64, duration: u64) {
        (self.prescribe)(start, duration);
    }

    pub(crate) fn launch(
        &self,
        function: usize,
        grid: [u32; 3],
        block: [u32; 3],
        stream: usize,
    ) -> Result<(), CudaError> {
        let arguments = std::ptr::null_mut();
        let code = (self.launch)(function, Dim3(grid), Dim3(block), arguments, 0, stream);
        check("cudaLaunchKernel", code)
    }

    /// A copy; the runtime finds out the direction.
    pub(crate) fn copy(
        &self,
        to: u64,
        from: u64,
        bytes: usize,
        stream: usize,
    ) -> Result<(), CudaError> {
        const DEFAULT: u32 = 4;
        check("cudaMemcpyAsync", (self.copy)(to, from, bytes, DEFAULT, stream))
    }

    pub(crate) fn set(&self, to: u64, bytes: usize, stream: usize) -> Result<(), CudaError> {
        check("cudaMemsetAsync", (self.set)(to, 0, bytes, stream))
    }
}

fn open(file: &'static str) -> Result<(Library, &'static str), CudaError> {
    let name = CString::new(file).unwrap_or_default();
    let library =
        Library::open(&name, libc::RTLD_NOW).ok_or(CudaError::Missing { library: file })?;
    library.symbol(MARKER_SYMBOL).ok_or(CudaError::Real { library: file })?;
    Ok((library, file))
}

fn check(function: &'static str, code: i32) -> Result<(), CudaError> {
    if code == 0 { Ok(()) } else { Err(CudaError::Refused { function, code }) }
}
