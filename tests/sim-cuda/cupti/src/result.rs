//! `CUptiResult` values, and what calls answer while there is nothing to profile.

use sim_channel::{Channel, State};

use crate::profiler;
use crate::version;

/// A `CUptiResult` that is not success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CuptiError(pub(crate) i32);

pub(crate) type Cupti<T = ()> = Result<T, CuptiError>;

pub(crate) const INVALID_PARAMETER: CuptiError = CuptiError(1);
pub(crate) const INVALID_CONTEXT: CuptiError = CuptiError(3);
pub(crate) const INVALID_OPERATION: CuptiError = CuptiError(7);
pub(crate) const PARAMETER_SIZE_NOT_SUFFICIENT: CuptiError = CuptiError(10);
pub(crate) const MAX_LIMIT_REACHED: CuptiError = CuptiError(12);
pub(crate) const NOT_INITIALIZED: CuptiError = CuptiError(15);
pub(crate) const QUEUE_EMPTY: CuptiError = CuptiError(18);
pub(crate) const INVALID_STREAM: CuptiError = CuptiError(20);
pub(crate) const INVALID_KIND: CuptiError = CuptiError(21);
pub(crate) const NOT_SUPPORTED: CuptiError = CuptiError(27);
pub(crate) const MULTIPLE_SUBSCRIBERS: CuptiError = CuptiError(39);
pub(crate) const UNKNOWN: CuptiError = CuptiError(999);

/// The number a C caller gets.
pub(crate) fn code(result: Cupti) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.0,
    }
}

/// The channel to a driver that has devices. Without one, most functions of the real libraries answer
/// 15 in CUDA 12 and 999 in CUDA 13.
pub(crate) fn ready() -> Cupti<&'static Channel> {
    let refusal = if version::current().major == 12 { NOT_INITIALIZED } else { UNKNOWN };
    let channel = profiler::channel().ok_or(refusal)?;
    match (channel.host.state)() {
        State::Before | State::Injecting | State::Ready => Ok(channel),
        State::NoDevice | State::Forked => Err(refusal),
    }
}

/// From 13.3 on, not even versions and records are answered when there is no libcuda in the process.
pub(crate) fn loaded() -> Cupti {
    let version = version::current();
    if version.number() >= (13, 3) && profiler::channel().is_none() { Err(UNKNOWN) } else { Ok(()) }
}

/// Name of a result.
pub(crate) fn name(code: i32) -> Option<&'static std::ffi::CStr> {
    Some(match code {
        0 => c"CUPTI_SUCCESS",
        1 => c"CUPTI_ERROR_INVALID_PARAMETER",
        3 => c"CUPTI_ERROR_INVALID_CONTEXT",
        7 => c"CUPTI_ERROR_INVALID_OPERATION",
        8 => c"CUPTI_ERROR_OUT_OF_MEMORY",
        10 => c"CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT",
        12 => c"CUPTI_ERROR_MAX_LIMIT_REACHED",
        14 => c"CUPTI_ERROR_NOT_COMPATIBLE",
        15 => c"CUPTI_ERROR_NOT_INITIALIZED",
        18 => c"CUPTI_ERROR_QUEUE_EMPTY",
        20 => c"CUPTI_ERROR_INVALID_STREAM",
        21 => c"CUPTI_ERROR_INVALID_KIND",
        23 => c"CUPTI_ERROR_DISABLED",
        27 => c"CUPTI_ERROR_NOT_SUPPORTED",
        35 => c"CUPTI_ERROR_INSUFFICIENT_PRIVILEGES",
        39 => c"CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED",
        999 => c"CUPTI_ERROR_UNKNOWN",
        _ => return None,
    })
}
