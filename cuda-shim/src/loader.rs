//! Finding and opening shared libraries without ever failing loudly.

use std::ffi::{CStr, CString, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// An open library. The shim lives as long as the process, so only one that it never called is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library {
    handle: NonNull<c_void>,
}

// SAFETY: a dlopen handle may be used from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Opens `name` only if some part of the process has it mapped already.
    pub(crate) fn already_loaded(name: &CStr) -> Option<Self> {
        Self::open_with(name, libc::RTLD_NOW | libc::RTLD_NOLOAD)
    }

    /// Opens `name`, a path or a soname for the loader's path.
    pub(crate) fn open(name: &CStr) -> Option<Self> {
        Self::open_with(name, libc::RTLD_NOW | libc::RTLD_LOCAL)
    }

    fn open_with(name: &CStr, flags: libc::c_int) -> Option<Self> {
        // SAFETY: `name` is a C string. Opening a library runs its initialisers; the names asked
        // for are NVIDIA's own.
        NonNull::new(unsafe { libc::dlopen(name.as_ptr(), flags) }).map(|handle| Self { handle })
    }

    /// Gives the library back: it leaves the process unless somebody else uses it.
    pub(crate) fn close(self) {
        // SAFETY: the handle is open and given up here; nothing resolved from it was called or is kept.
        unsafe { libc::dlclose(self.handle.as_ptr()) };
    }

    /// The address of `symbol`.
    pub(crate) fn symbol(&self, symbol: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is open and `symbol` is a C string.
        NonNull::new(unsafe { libc::dlsym(self.handle.as_ptr(), symbol.as_ptr()) })
    }

    /// The function `symbol` as an `F`.
    ///
    /// # Safety
    /// `F` is a function pointer type that fits the symbol.
    pub(crate) unsafe fn function<F: Copy>(&self, symbol: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.symbol(symbol)?.as_ptr();
        // SAFETY: same size, and the caller vouches for the type.
        Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

/// Opens libcupti: `forced` if given; else the copy already mapped; else one beside libcudart, as
/// the toolkit and the Python packages lay them out; else by the loader's path. The major version
/// follows libcudart's where that is mapped: a second major in one process would be a second owner.
pub(crate) fn find_cupti(forced: Option<&str>, driver_version: u32) -> Option<Library> {
    if let Some(path) = forced {
        return Library::open(&CString::new(path).ok()?);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = |stem: &str| {
        maps.lines().filter_map(|line| line.get(line.find('/')?..)).find(|path| {
            Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem))
        })
    };
    if let Some(path) = mapped("libcupti.so")
        && let Some(library) = Library::already_loaded(&CString::new(path).ok()?)
    {
        return Some(library);
    }
    let runtime = mapped("libcudart.so").map(PathBuf::from);
    let majors = major_order(runtime.as_deref(), driver_version);
    let beside = runtime.iter().flat_map(|path| neighbours(path, majors[0]));
    let by_name = majors.iter().map(|major| PathBuf::from(format!("libcupti.so.{major}")));
    beside.filter(|path| path.exists()).chain(by_name).find_map(|path| {
        Library::open(&CString::new(path.into_os_string().into_encoded_bytes()).ok()?)
    })
}

/// libcupti's major versions, best first.
fn major_order(runtime: Option<&Path>, driver_version: u32) -> [u32; 2] {
    let of_runtime = runtime
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("libcudart.so."))
        .and_then(|rest| rest.split('.').next())
        .and_then(|major| major.parse().ok());
    match of_runtime.unwrap_or(driver_version / 1000) {
        12 => [12, 13],
        _ => [13, 12],
    }
}

/// Where libcupti lies when libcudart is at `runtime`: the same folder (toolkit, `nvidia/cu13/lib`),
/// the toolkit's extras, or the sibling package (`nvidia/cuda_cupti/lib`).
fn neighbours(runtime: &Path, major: u32) -> Vec<PathBuf> {
    let Some(folder) = runtime.parent() else {
        return Vec::new();
    };
    let file = format!("libcupti.so.{major}");
    ["", "../extras/CUPTI/lib64", "../../cuda_cupti/lib"]
        .iter()
        .map(|relative| folder.join(relative).join(&file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_decides_the_major_then_the_driver() {
        let runtime = |name: &str| major_order(Some(Path::new(name)), 13000);
        assert_eq!(runtime("/x/libcudart.so.12.9.79"), [12, 13]);
        assert_eq!(runtime("/x/libcudart.so.13"), [13, 12]);
        assert_eq!(major_order(None, 12040), [12, 13]);
        assert_eq!(major_order(None, 13000), [13, 12]);
        assert_eq!(major_order(None, 0), [13, 12]);
    }

    #[test]
    fn neighbours_cover_toolkit_and_packages() {
        let paths = neighbours(Path::new("/p/nvidia/cuda_runtime/lib/libcudart.so.12"), 12);
        assert_eq!(paths[0], Path::new("/p/nvidia/cuda_runtime/lib/libcupti.so.12"));
        assert_eq!(
            paths[2],
            Path::new("/p/nvidia/cuda_runtime/lib/../../cuda_cupti/lib/libcupti.so.12")
        );
    }

    #[test]
    fn absent_libraries_are_none() {
        assert!(Library::open(c"libwarplens-does-not-exist.so").is_none());
        assert!(find_cupti(Some("/does/not/exist"), 0).is_none());
    }
}
