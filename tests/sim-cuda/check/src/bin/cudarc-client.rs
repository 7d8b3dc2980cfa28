//! A client that nobody here wrote: the `cudarc` crate on the simulated driver, unchanged.
#![expect(clippy::expect_used, reason = "a test program: failing loudly is its job")]

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

fn main() -> Result<(), DriverError> {
    let context = CudaContext::new(1)?;
    assert_eq!(CudaContext::device_count()?, 2);
    assert!(context.name()?.starts_with("SIM"));
    let stream = context.new_stream()?;
    let module = context.load_module(Ptx::from_src(PTX))?;
    let kernel = module.load_function("spin")?;
    let mut data = stream.clone_htod(&[1u32, 2, 3, 4])?;
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut data);
    // SAFETY: the kernel takes one pointer; it is simulated and touches nothing.
    unsafe { launch.launch(LaunchConfig::for_num_elems(4)) }?;
    assert_eq!(stream.clone_dtoh(&data)?, [1, 2, 3, 4]);
    let event = stream.record_event(None)?;
    event.synchronize()?;

    let other = stream.fork()?;
    let copy = other.clone_dtod(&data)?;
    assert_eq!(other.clone_dtoh(&copy)?, [1, 2, 3, 4]);

    // A capture must not wait for events recorded outside it.
    // SAFETY: from here on one stream is used only.
    unsafe { context.disable_event_tracking() };
    let mut zeros = stream.clone_htod(&[7u32; 4])?;
    stream.synchronize()?;
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    stream.memset_zeros(&mut zeros)?;
    let graph = stream.end_capture(CUgraphInstantiate_flags(0))?.expect("a graph");
    assert_eq!(stream.clone_dtoh(&zeros)?, [7; 4], "captured, not run");
    graph.upload()?;
    graph.launch()?;
    assert_eq!(stream.clone_dtoh(&zeros)?, [0; 4]);
    Ok(())
}

const PTX: &str = ".version 8.0
.target sm_90
.address_size 64
.visible .entry spin(.param .u64 data) { ret; }
";
