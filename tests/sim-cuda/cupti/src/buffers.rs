//! Activity buffers: asked for, filled, and handed back with what became of their records.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim_channel::lock;
use sim_channel::work::{Outcome, Settlement};

use crate::encode::Bytes;
use crate::result::{Cupti, INVALID_PARAMETER};

/// `CUpti_BuffersCallbackRequestFunc`.
pub(crate) type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// `CUpti_BuffersCallbackCompleteFunc`.
pub(crate) type Complete = extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);
/// The same of the per-subscriber interface: one more argument each, an information structure.
pub(crate) type RequestV2 = extern "C" fn(*mut *mut u8, *mut usize, *mut usize, *const usize);
pub(crate) type CompleteV2 = extern "C" fn(*mut u8, usize, usize, *const CompleteInfo);

/// `CUpti_BufferCallbackCompleteInfo`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CompleteInfo {
    size: usize,
    thread: u64,
    layouts: *const c_void,
    layout_count: usize,
}

/// Who gives and takes buffers.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    First { request: Request, complete: Complete },
    PerSubscriber { request: RequestV2, complete: CompleteV2 },
}

/// A buffer of the profiler, while CUPTI has it.
#[derive(Debug)]
pub(crate) struct Buffer {
    start: *mut u8,
    size: usize,
    used: usize,
    /// Most records the profiler allows in it.
    most: usize,
    count: usize,
    contents: Contents,
}

/// What the records in a buffer are about.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) settlements: Vec<Settlement>,
    /// Module numbers, and how many records named them.
    pub(crate) names: Vec<(usize, u64)>,
}

// SAFETY: the profiler gave the memory to CUPTI until it is handed back, to use on any thread.
unsafe impl Send for Buffer {}

static OWNER: Mutex<Option<Owner>> = Mutex::new(None);
/// Asked for in advance, on launching threads.
static SPARE: Mutex<Option<Buffer>> = Mutex::new(None);
/// No spare buffer is there and none was refused since the last one was used.
static WANTED: AtomicBool = AtomicBool::new(true);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Sets who gives and takes buffers.
pub(crate) fn register(owner: Owner) {
    *lock(&OWNER) = Some(owner);
    WANTED.store(true, Ordering::Release);
}

/// Forgets the owner.
pub(crate) fn unregister() {
    *lock(&OWNER) = None;
}

/// Gets a spare buffer on a launching thread, as the real library does: there, and not on its worker,
/// the profiler is asked.
pub(crate) fn prepare() {
    if !WANTED.load(Ordering::Relaxed) || !WANTED.swap(false, Ordering::AcqRel) {
        return;
    }
    if let Some(buffer) = request() {
        *lock(&SPARE) = Some(buffer);
    }
}

/// The spare buffer, or one asked for here and now; `None` when it is refused.
pub(crate) fn next() -> Option<Buffer> {
    let spare = lock(&SPARE).take();
    WANTED.store(true, Ordering::Release);
    spare.or_else(request)
}

/// The spare buffer, for handing back unused.
pub(crate) fn take_spare() -> Option<Buffer> {
    lock(&SPARE).take()
}

fn request() -> Option<Buffer> {
    let owner = (*lock(&OWNER))?;
    let mut start: *mut u8 = std::ptr::null_mut();
    let (mut size, mut most) = (0, 0);
    match owner {
        Owner::First { request, .. } => request(&raw mut start, &raw mut size, &raw mut most),
        Owner::PerSubscriber { request, .. } => {
            let info = size_of::<usize>();
            request(&raw mut start, &raw mut size, &raw mut most, &raw const info);
        }
    }
    // Real CUPTI needs records aligned to 8; a buffer that is not cannot hold any.
    let usable = !start.is_null() && size > 0 && start.addr().is_multiple_of(8);
    usable.then_some(Buffer {
        start,
        size,
        used: 0,
        most: if most == 0 { usize::MAX } else { most },
        count: 0,
        contents: Contents::default(),
    })
}

/// Records lost for want of a buffer, or as the scenario wants it.
pub(crate) fn count_dropped(count: u64) {
    DROPPED.fetch_add(count, Ordering::AcqRel);
}

/// Records dropped since the last question.
pub(crate) fn take_dropped() -> u64 {
    DROPPED.swap(0, Ordering::AcqRel)
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a record of this many bytes still fits.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes <= self.size && self.count < self.most
    }

    /// Appends a record; the caller has made sure that there is room.
    pub(crate) fn append(&mut self, record: &Bytes) {
        let bytes = record.as_slice();
        debug_assert!(self.has_room(bytes.len()));
        let place = self.start.wrapping_add(self.used);
        // SAFETY: `used + bytes.len() <= size` (`has_room`), and the profiler guarantees `size`
        // writable bytes until the buffer is handed back.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        self.used += bytes.len();
        self.count += 1;
    }

    /// Notes what became of the work behind the last record.
    pub(crate) fn note(&mut self, work: u64, clock_offset: i64, outcome: Outcome, module: usize) {
        self.contents.settlements.push(Settlement { work, clock_offset, outcome, padding: 0 });
        if module == 0 {
            return;
        }
        match self.contents.names.last_mut() {
            Some((last, count)) if *last == module => *count += 1,
            _ => self.contents.names.push((module, 1)),
        }
    }

    /// Hands the buffer back. Returns what became of its work.
    pub(crate) fn hand_back(self) -> Cupti<Contents> {
        let owner = (*lock(&OWNER)).ok_or(INVALID_PARAMETER)?;
        match owner {
            Owner::First { complete, .. } => {
                complete(std::ptr::null_mut(), 0, self.start, self.size, self.used);
            }
            Owner::PerSubscriber { complete, .. } => {
                let info = CompleteInfo {
                    size: size_of::<CompleteInfo>(),
                    thread: 0,
                    layouts: std::ptr::null(),
                    layout_count: 0,
                };
                complete(self.start, self.size, self.used, &raw const info);
            }
        }
        Ok(self.contents)
    }
}
