//! The one shim of a process: everything the callbacks reach.

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use cupti_sys::callback::{Call, DRIVER_CALLS, RUNTIME_CALLS};
use wire::shim::Payload;

use crate::activity::Fields;
use crate::buffers::Pool;
use crate::cupti::Cupti;
use crate::gate::Gate;
use crate::names::Names;
use crate::region::Region;
use crate::teller::Teller;
use crate::thread_local::ThreadLocal;

/// Set once, never freed: CUDA may call us as long as the process lives.
static SHIM: AtomicPtr<Shim> = AtomicPtr::new(null_mut());

/// Ids of both domains lie below this (877 in 13.5).
const CALL_IDS: usize = 1024;

/// See the module's text. Built at start-up; nothing in it is allocated later.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) teller: &'static Teller,
    pub(crate) gate: &'static Gate,
    pub(crate) region: &'static Region,
    pub(crate) cupti: Cupti,
    /// What the library's records hold.
    pub(crate) fields: Fields,
    pub(crate) names: Option<Names>,
    pub(crate) pool: Pool,
    runtime_calls: Box<[Option<Call>; CALL_IDS]>,
    driver_calls: Box<[Option<Call>; CALL_IDS]>,
}

impl Shim {
    /// From here on `teller` is the process's, unless there is no memory for buffers.
    pub(crate) fn new(teller: Teller, cupti: Cupti, fields: Fields) -> io::Result<Self> {
        let pool = Pool::new()?;
        let teller = teller.publish();
        let Teller { gate, region, .. } = teller;
        let names =
            region.names().zip(region.cursors()).map(|(area, cursors)| Names::new(area, cursors));
        Ok(Self {
            names,
            pool,
            runtime_calls: call_table(RUNTIME_CALLS),
            driver_calls: call_table(DRIVER_CALLS),
            teller,
            gate,
            region,
            cupti,
            fields,
        })
    }

    /// Makes `self` the process's shim.
    pub(crate) fn publish(self) -> &'static Self {
        let shim: &'static Self = Box::leak(Box::new(self));
        SHIM.store(std::ptr::from_ref(shim).cast_mut(), Ordering::Release);
        shim
    }

    /// The process's shim, once there is one. In a forked child its gate is shut.
    pub(crate) fn get() -> Option<&'static Self> {
        // SAFETY: only `publish` stores here, a reference that lives for ever.
        unsafe { SHIM.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn runtime_call(&self, id: u32) -> Option<Call> {
        self.runtime_calls.get(id as usize).copied().flatten()
    }

    pub(crate) fn driver_call(&self, id: u32) -> Option<Call> {
        self.driver_calls.get(id as usize).copied().flatten()
    }

    /// As [`Teller::thread`].
    pub(crate) fn thread(&self) -> &'static ThreadLocal {
        self.teller.thread()
    }

    /// As [`Teller::push`].
    pub(crate) fn push(&self, producer: u16, records: &[Payload]) {
        self.teller.push(producer, records);
    }
}

fn call_table(calls: &[(u32, Call)]) -> Box<[Option<Call>; CALL_IDS]> {
    let mut table = Box::new([None; CALL_IDS]);
    for (id, call) in calls {
        if let Some(entry) = table.get_mut(*id as usize) {
            *entry = Some(*call);
        }
    }
    table
}
