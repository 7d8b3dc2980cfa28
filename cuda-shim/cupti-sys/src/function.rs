//! Types of the CUPTI functions resolved at run time. All are `extern "C"`.

use core::ffi::c_void;

use crate::result::CuptiResult;

/// Opaque subscriber handle.
pub type Subscriber = *mut c_void;

/// Called for every enabled callback id: `(user data, domain, id, data)`.
pub type Callback = extern "C" fn(*mut c_void, u32, u32, *const c_void);
/// Asks for an empty activity buffer: `(buffer, size, record limit)`.
pub type BufferRequested = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// Hands a buffer back: `(context, stream, buffer, size, bytes of records)`.
pub type BufferCompleted = extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);
/// Clock that replaces CUPTI's own, ns.
pub type TimestampSource = extern "C" fn() -> u64;

pub type GetVersion = unsafe extern "C" fn(*mut u32) -> CuptiResult;
pub type Subscribe = unsafe extern "C" fn(*mut Subscriber, Callback, *mut c_void) -> CuptiResult;
pub type Unsubscribe = unsafe extern "C" fn(Subscriber) -> CuptiResult;
pub type EnableCallback = unsafe extern "C" fn(u32, Subscriber, u32, u32) -> CuptiResult;
pub type ActivityRegisterCallbacks =
    unsafe extern "C" fn(BufferRequested, BufferCompleted) -> CuptiResult;
pub type ActivityRegisterTimestampCallback = unsafe extern "C" fn(TimestampSource) -> CuptiResult;
pub type ActivityKind = unsafe extern "C" fn(u32) -> CuptiResult;
pub type ActivitySetAttribute = unsafe extern "C" fn(u32, *mut usize, *mut c_void) -> CuptiResult;
pub type ActivityFlushAll = unsafe extern "C" fn(u32) -> CuptiResult;
pub type ActivityGetNextRecord = unsafe extern "C" fn(*mut u8, usize, *mut *mut u8) -> CuptiResult;
pub type ActivityGetNumDroppedRecords =
    unsafe extern "C" fn(*mut c_void, u32, *mut usize) -> CuptiResult;
pub type GetGraphId = unsafe extern "C" fn(*mut c_void, *mut u32) -> CuptiResult;
pub type GetGraphNodeId = unsafe extern "C" fn(*mut c_void, *mut u64) -> CuptiResult;

/// `ActivitySetAttribute`: buffers are handed over zeroed, so that CUPTI need not clear them on
/// the application's thread. A `u8`.
pub const ATTRIBUTE_ZEROED_OUT_ACTIVITY_BUFFER: u32 = 5;
/// `ActivityFlushAll`: also return unfinished records.
pub const FLUSH_FORCED: u32 = 1;
