//! The `CUresult` values the simulator answers with.

/// What exported functions return.
pub(crate) type CuResult = i32;

/// A `CUresult` that is not success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CuError(pub(crate) i32);

pub(crate) type Cu<T = ()> = Result<T, CuError>;

pub(crate) const INVALID_VALUE: CuError = CuError(1);
pub(crate) const OUT_OF_MEMORY: CuError = CuError(2);
pub(crate) const NOT_INITIALIZED: CuError = CuError(3);
pub(crate) const NO_DEVICE: CuError = CuError(100);
pub(crate) const INVALID_DEVICE: CuError = CuError(101);
pub(crate) const INVALID_IMAGE: CuError = CuError(200);
pub(crate) const INVALID_CONTEXT: CuError = CuError(201);
pub(crate) const INVALID_PTX: CuError = CuError(218);
pub(crate) const FILE_NOT_FOUND: CuError = CuError(301);
pub(crate) const INVALID_HANDLE: CuError = CuError(400);
pub(crate) const NOT_FOUND: CuError = CuError(500);
pub(crate) const NOT_READY: CuError = CuError(600);
pub(crate) const LAUNCH_OUT_OF_RESOURCES: CuError = CuError(701);
pub(crate) const NOT_SUPPORTED: CuError = CuError(801);
pub(crate) const STREAM_CAPTURE_UNSUPPORTED: CuError = CuError(900);
pub(crate) const STREAM_CAPTURE_INVALIDATED: CuError = CuError(901);
pub(crate) const STREAM_CAPTURE_UNMATCHED: CuError = CuError(903);
pub(crate) const STREAM_CAPTURE_UNJOINED: CuError = CuError(904);
pub(crate) const GRAPH_EXEC_UPDATE_FAILURE: CuError = CuError(910);

/// The number a C caller gets.
pub(crate) fn code(result: Cu) -> CuResult {
    match result {
        Ok(()) => 0,
        Err(error) => error.0,
    }
}

/// Name and text of a `CUresult`.
pub(crate) fn describe(code: i32) -> Option<(&'static std::ffi::CStr, &'static std::ffi::CStr)> {
    Some(match code {
        0 => (c"CUDA_SUCCESS", c"no error"),
        1 => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        2 => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        3 => (c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
        100 => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        101 => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        200 => (c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
        201 => (c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
        218 => (c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
        301 => (c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found"),
        400 => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        500 => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        600 => (c"CUDA_ERROR_NOT_READY", c"device not ready"),
        701 => (c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch"),
        801 => (c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
        900 => (
            c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
            c"operation not permitted when stream is capturing",
        ),
        901 => (
            c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
            c"operation failed due to a previous error during capture",
        ),
        903 => {
            (c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", c"capture was not initiated in this stream")
        }
        904 => (c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", c"capturing stream has unjoined work"),
        _ => return None,
    })
}
