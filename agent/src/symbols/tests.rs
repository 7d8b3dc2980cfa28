//! This process, and children of it, named from the outside.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn names(symbols: &[Symbol], address: u64) -> Vec<String> {
    let symbol =
        symbols.iter().find(|symbol| symbol.address == address).expect("an entry for the address");
    symbol.frames.iter().map(|frame| frame.function.clone()).collect()
}

#[inline(never)]
extern "C" fn named_function() -> u64 {
    std::hint::black_box(7)
}

#[test]
fn own_functions_have_names_files_and_lines() {
    let function: extern "C" fn() -> u64 = named_function;
    let entry = function as usize as u64;
    let symbols = Symbols::new().resolve(std::process::id(), &[entry, entry + 1, 0x10]);
    assert_eq!(symbols.len(), 3);
    assert_eq!(names(&symbols, 0x10), [NOT_CODE]);
    for address in [entry, entry + 1] {
        let symbol = symbols.iter().find(|symbol| symbol.address == address).unwrap();
        let outermost = symbol.frames.last().unwrap();
        assert!(outermost.function.ends_with("symbols::tests::named_function"), "{outermost:?}");
        assert!(outermost.file.as_deref().unwrap().ends_with("symbols/tests.rs"), "{outermost:?}");
        assert!(outermost.line.is_some());
        assert!(outermost.module.as_deref().unwrap().starts_with("warplens"));
    }
}

#[test]
fn losses_are_counted() {
    let mut symbols = Symbols::new();
    assert_eq!(symbols.resolve(std::process::id(), &[0x10, 0x20]).len(), 2);
    assert_eq!(symbols.losses(), SymbolLosses { astray: 2, ..SymbolLosses::default() });
    // Above the kernel's largest PID.
    assert_eq!(symbols.resolve(1 << 23, &[0x10]), []);
    assert_eq!(symbols.losses().too_late, 1);
}

const LIBRARY: &str = "
__attribute__((visibility(\"default\"), noinline)) int warplens_test_exported(int x) { return x * 3 + 1; }
";

/// Compiles a library whose only symbol is exported, as stripped libraries are.
fn compile(dir: &Path) -> std::path::PathBuf {
    let (source, library) = (dir.join("library.c"), dir.join("libwarplens-test.so"));
    fs::write(&source, LIBRARY).unwrap();
    let status = Command::new("cc")
        .args(["-O1", "-s", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(status.expect("the C compiler that links Rust programs").success());
    library
}

/// Executable mapping of this process whose path holds `part`.
fn mapping(part: &str) -> crate::proc::Mapping {
    let mut maps = crate::proc::maps(std::process::id()).unwrap();
    maps.retain(|mapping| mapping.executable && mapping.path.contains(part));
    maps.pop().expect("the library is mapped")
}

#[test]
#[expect(unsafe_code, reason = "loading a library needs it")]
fn a_deleted_library_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let library = compile(dir.path());
    let path = std::ffi::CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library has no constructors.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    // SAFETY: the handle is open and the name ends with NUL.
    let address = unsafe { libc::dlsym(handle, c"warplens_test_exported".as_ptr()) } as u64;
    drop(dir);
    assert!(mapping("libwarplens-test.so").path.ends_with("(deleted)"));
    let place = mapping("libwarplens-test.so");
    // The last byte of the mapping is padding that no symbol covers.
    let padding = place.end - 1;
    let symbols = Symbols::new().resolve(std::process::id(), &[address, padding]);
    assert_eq!(names(&symbols, address), ["warplens_test_exported"]);
    let offset = place.offset + (padding - place.start);
    assert_eq!(names(&symbols, padding), [format!("libwarplens-test.so+0x{offset:x}")]);
}

/// A child that never outlives its test.
struct Child(std::process::Child);

impl Child {
    fn sleeping() -> Self {
        Self(Command::new("sleep").arg("1000").stdout(std::process::Stdio::null()).spawn().unwrap())
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_process_that_ended_is_named_from_what_was_seen() {
    let mut child = Child::sleeping();
    let pid = child.0.id();
    let mut symbols = Symbols::new();
    let libc_code = || {
        crate::proc::maps(pid)
            .unwrap()
            .into_iter()
            .find(|map| map.executable && map.path.contains("libc.so"))
    };
    // The child maps its libraries a moment after it exists.
    let place = loop {
        if let Some(place) = libc_code() {
            break place;
        }
        std::thread::yield_now();
    };
    let found = crate::elf::find(&place.map_files(pid), &["getpid", "getppid"]).unwrap();
    let address = |symbol: &str| place.start + found[symbol].offset - place.offset;
    // Debug information, where it is installed, knows the functions by their internal names.
    let check = |symbols: &[Symbol], address: u64, expected: &str| {
        let names = names(symbols, address);
        assert!(
            names.len() == 1 && names[0].trim_start_matches('_') == expected,
            "{names:?} is not {expected}"
        );
    };
    check(&symbols.resolve(pid, &[address("getpid")]), address("getpid"), "getpid");
    child.end();
    let named = symbols.resolve(pid, &[address("getppid"), address("getppid") + 1]);
    check(&named, address("getppid"), "getppid");
    check(&named, address("getppid") + 1, "getppid");
}

#[test]
fn the_kernels_code_in_a_process_is_named() {
    let vdso = mapping("[vdso]");
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut bytes = vec![0; usize::try_from(vdso.end - vdso.start).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, vdso.start).unwrap();
    let offset =
        crate::elf::find_in(&bytes, &["__vdso_clock_gettime"]).unwrap()["__vdso_clock_gettime"]
            .offset;
    let (inside, header) = (vdso.start + offset + 1, vdso.start + 0x10);
    let symbols = Symbols::new().resolve(std::process::id(), &[inside, header]);
    assert_eq!(names(&symbols, inside), ["__vdso_clock_gettime"]);
    assert_eq!(names(&symbols, header), ["[vdso]"]);
    assert!(symbols.iter().all(|symbol| symbol.frames[0].module.as_deref() == Some("[vdso]")));
}

#[test]
fn the_entries_of_a_stripped_c_library_are_told_by_their_code() {
    let place = mapping("libc.so");
    let path = place.map_files(std::process::id());
    let file = fs::File::open(&path).unwrap();
    let exit = crate::elf::find(&path, &["exit"]).unwrap()["exit"].offset;
    let recognise = |offset| entry::recognise(&file, "libc.so.6", offset, |target| target == exit);
    // Exactly one place in the whole library passes main's result to exit, and few call a
    // thread's routine.
    let mut found: HashMap<&str, Vec<u64>> = HashMap::new();
    for offset in place.offset + 64..place.offset + (place.end - place.start) - 64 {
        if let Some(name) = recognise(offset) {
            found.entry(name).or_default().push(offset);
        }
    }
    assert_eq!(found["__libc_start_call_main"].len(), 1, "{found:x?}");
    assert!((1..=2).contains(&found["start_thread"].len()), "{found:x?}");
    // The caller of a thread's first function is one of them.
    let (start, routines) = (place.start - place.offset, &found["start_thread"]);
    let callers = std::thread::spawn(backtrace).join().unwrap();
    assert!(
        callers.iter().any(|address| routines.contains(&address.wrapping_sub(start))),
        "{callers:x?} {found:x?}"
    );
    assert_eq!(entry::recognise(&file, "libother.so", routines[0], |_| true), None);
}

/// Return addresses of this thread, by the C library's own unwinder.
#[expect(unsafe_code, reason = "calls the C library's unwinder")]
fn backtrace() -> Vec<u64> {
    let mut addresses = [std::ptr::null_mut(); 64];
    // SAFETY: the buffer has room for 64 addresses.
    let count = unsafe { libc::backtrace(addresses.as_mut_ptr(), 64) };
    addresses[..usize::try_from(count).unwrap()].iter().map(|address| *address as u64).collect()
}
