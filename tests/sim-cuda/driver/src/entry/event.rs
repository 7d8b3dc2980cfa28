//! Events.

use sim_channel::raw::Out;

use crate::entry::device::put;
use crate::entry::driver_api;
use crate::{context, event, stream};

driver_api! {
    None fn cuEventCreate [call, default] (event: Out<usize>, flags: u32) {
        context::current()?;
        put(event, event::create(flags).handle)
    }

    None fn cuEventDestroy_v2 [call, default] (event: usize) {
        event::remove(event)
    }

    None fn cuEventRecord | cuEventRecord_ptsz [call, default] (event: usize, stream: usize) {
        event::get(event)?.record(&*stream::resolve(stream, default)?);
        Ok(())
    }

    None fn cuEventRecordWithFlags | cuEventRecordWithFlags_ptsz [call, default] (
        event: usize, stream: usize, flags: u32
    ) {
        let _ = flags;
        event::get(event)?.record(&*stream::resolve(stream, default)?);
        Ok(())
    }

    None fn cuEventQuery [call, default] (event: usize) {
        event::get(event)?.query()
    }

    Sync fn cuEventSynchronize [call, default] (event: usize) {
        event::get(event)?.synchronize(call)
    }

    None fn cuEventElapsedTime [call, default] (
        milliseconds: Out<f32>, start: usize, end: usize
    ) {
        put(milliseconds, event::get(start)?.elapsed(&*event::get(end)?)?)
    }

    None fn cuEventElapsedTime_v2 [call, default] (
        milliseconds: Out<f32>, start: usize, end: usize
    ) {
        put(milliseconds, event::get(start)?.elapsed(&*event::get(end)?)?)
    }
}
