//! `CUptiResult` values the shim tells apart.

/// What every CUPTI function returns.
pub type CuptiResult = u32;

pub const SUCCESS: CuptiResult = 0;
/// Also: no such callback.
pub const INVALID_PARAMETER: CuptiResult = 1;
/// End of an activity buffer.
pub const MAX_LIMIT_REACHED: CuptiResult = 12;
pub const NOT_INITIALIZED: CuptiResult = 15;
/// A record of a kind this library does not know.
pub const INVALID_KIND: CuptiResult = 21;
pub const NOT_SUPPORTED: CuptiResult = 27;
pub const INSUFFICIENT_PRIVILEGES: CuptiResult = 35;
/// Another subscriber holds CUPTI.
pub const MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED: CuptiResult = 39;
pub const UNKNOWN: CuptiResult = 999;
