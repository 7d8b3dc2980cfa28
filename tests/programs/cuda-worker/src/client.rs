//! The device and the module: opens CUDA, finds out whether it is the simulator, loads the kernels.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cudarc::driver::{CudaContext, CudaFunction, sys};
use cudarc::nvrtc::Ptx;

use crate::ptx;
use crate::sites::SITES;

/// Exported by the simulated CUDA only.
const MARKER: &[u8] = b"warplens_simulated_cuda\0";

/// Threads per block no GPU accepts: a launch that must fail.
const IMPOSSIBLE_BLOCK: u32 = 4096;

/// One open device with the kernels of every site.
#[derive(Debug)]
pub(crate) struct Client {
    context: Arc<CudaContext>,
    functions: HashMap<&'static str, CudaFunction>,
    simulated: bool,
    uuid: String,
}

impl Client {
    /// Initialises CUDA. With `fail_every` the simulator is told to refuse launches.
    pub(crate) fn open(device: usize, fail_every: u32) -> Result<Self> {
        // SAFETY: only looks for the library; loading it runs the driver's own constructors.
        let present = unsafe { sys::is_culib_present() };
        anyhow::ensure!(
            present,
            "no libcuda found: set LD_LIBRARY_PATH to the simulated CUDA or install a driver"
        );
        let simulated = is_simulated();
        if simulated && fail_every > 0 {
            // SAFETY: no other thread exists yet, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var("WARPLENS_SIM_FAIL_EVERY", fail_every.to_string()) };
        }
        let context = CudaContext::new(device)
            .with_context(|| format!("create a context on device {device}"))?;
        // SAFETY: this program orders its work by streams and events of its own.
        unsafe { context.disable_event_tracking() };
        let module = context
            .load_module(Ptx::from_src(ptx::module(&names())))
            .context("load the kernels' PTX")?;
        let mut functions = HashMap::new();
        for site in SITES {
            let name = if simulated { site.simulated_name() } else { site.kernel.to_owned() };
            let function =
                module.load_function(&name).with_context(|| format!("find kernel `{name}`"))?;
            functions.insert(site.name, function);
        }
        let uuid = context.uuid().context("read the device's UUID")?;
        Ok(Self { context, functions, simulated, uuid: hexadecimal(&uuid.bytes) })
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// The kernel of a site.
    pub(crate) fn function(&self, site: &str) -> Option<&CudaFunction> {
        self.functions.get(site)
    }

    pub(crate) fn simulated(&self) -> bool {
        self.simulated
    }

    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Threads per block of launch number `launch`: impossible where a failure is wanted and the
    /// driver will not make one itself.
    pub(crate) fn block(&self, launch: u64, fail_every: u32) -> u32 {
        let fails =
            !self.simulated && fail_every > 0 && (launch + 1).is_multiple_of(u64::from(fail_every));
        if fails { IMPOSSIBLE_BLOCK } else { 32 }
    }
}

/// Every name the module needs: plain for a GPU, with the duration for the simulator.
fn names() -> Vec<String> {
    let mut names: Vec<String> =
        SITES.iter().flat_map(|site| [site.kernel.to_owned(), site.simulated_name()]).collect();
    names.sort();
    names.dedup();
    names
}

fn is_simulated() -> bool {
    // SAFETY: the library was found above, so this returns it instead of panicking.
    let library = unsafe { sys::culib() };
    // SAFETY: only the symbol's presence is used, never its value.
    let symbol = unsafe { library.get::<*const u8>(MARKER) };
    symbol.is_ok()
}

fn hexadecimal(bytes: &[std::ffi::c_char; 16]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{:02x}", byte.cast_unsigned());
        text
    })
}
