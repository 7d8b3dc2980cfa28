//! Streams and events.

use sim_channel::raw::Out;

use crate::driver;
use crate::entry::runtime_api;

/// `cudaEventDefault`.
const DEFAULT: u32 = 0;

runtime_api! {
    None Context fn cudaStreamCreate [default] (stream: Out<usize>) {
        driver::cuStreamCreate(stream, DEFAULT)
    }

    None Context fn cudaStreamCreateWithFlags [default] (stream: Out<usize>, flags: u32) {
        driver::cuStreamCreate(stream, flags)
    }

    None Context fn cudaStreamCreateWithPriority [default] (
        stream: Out<usize>, flags: u32, priority: i32
    ) {
        driver::cuStreamCreateWithPriority(stream, flags, priority)
    }

    None Context fn cudaStreamDestroy [default] (stream: usize) {
        driver::cuStreamDestroy_v2(stream)
    }

    Sync Context fn cudaStreamSynchronize | cudaStreamSynchronize_ptsz [default] (stream: usize) {
        driver::cuStreamSynchronize(default, stream)
    }

    None Context fn cudaStreamQuery | cudaStreamQuery_ptsz [default] (stream: usize) {
        driver::cuStreamQuery(default, stream)
    }

    None Context fn cudaStreamWaitEvent | cudaStreamWaitEvent_ptsz [default] (
        stream: usize, event: usize, flags: u32
    ) {
        driver::cuStreamWaitEvent(default, stream, event, flags)
    }

    None Context fn cudaStreamBeginCapture | cudaStreamBeginCapture_ptsz [default] (
        stream: usize, mode: u32
    ) {
        driver::cuStreamBeginCapture_v2(default, stream, mode)
    }

    None Context fn cudaStreamEndCapture | cudaStreamEndCapture_ptsz [default] (
        stream: usize, graph: Out<usize>
    ) {
        driver::cuStreamEndCapture(default, stream, graph)
    }

    None Context fn cudaStreamIsCapturing | cudaStreamIsCapturing_ptsz [default] (
        stream: usize, status: Out<u32>
    ) {
        driver::cuStreamIsCapturing(default, stream, status)
    }

    None Context fn cudaEventCreate [default] (event: Out<usize>) {
        driver::cuEventCreate(event, DEFAULT)
    }

    None Context fn cudaEventCreateWithFlags [default] (event: Out<usize>, flags: u32) {
        driver::cuEventCreate(event, flags)
    }

    None Context fn cudaEventDestroy [default] (event: usize) {
        driver::cuEventDestroy_v2(event)
    }

    None Context fn cudaEventRecord | cudaEventRecord_ptsz [default] (event: usize, stream: usize) {
        driver::cuEventRecord(default, event, stream)
    }

    None Context fn cudaEventQuery [default] (event: usize) {
        driver::cuEventQuery(event)
    }

    Sync Context fn cudaEventSynchronize [default] (event: usize) {
        driver::cuEventSynchronize(event)
    }

    None Context fn cudaEventElapsedTime [default] (
        milliseconds: Out<f32>, start: usize, end: usize
    ) {
        driver::cuEventElapsedTime(milliseconds, start, end)
    }
}
