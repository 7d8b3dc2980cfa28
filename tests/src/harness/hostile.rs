//! The small C hosts that treat a process badly while CUDA is loaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::artefacts;
use crate::harness::child::{Child, ChildError};

/// Programs that run to their end without help, in `tests/programs/hostile`.
pub const PROGRAMS: [&str; 11] = [
    "abort",
    "dlclose",
    "enter_late",
    "exec_self",
    "exit_in_thread",
    "fork_clone",
    "fork_plain",
    "fork_spawn",
    "fork_vfork",
    "longjmp",
    "thread_churn",
];

/// Compiles a program into `folder` and returns its path.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the program does not compile.
pub fn build(name: &str, folder: &Path) -> Result<PathBuf, ChildError> {
    compile(name, folder.join(name), &["-ldl", "-lpthread"])
}

/// The same, with the program's own functions (an allocator, say) in front of every library's.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the program does not compile.
pub fn build_interposing(name: &str, folder: &Path) -> Result<PathBuf, ChildError> {
    compile(name, folder.join(name), &["-rdynamic", "-ldl", "-lpthread"])
}

/// Compiles a library of the name the loader knows it by.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the library does not compile.
pub fn build_library(name: &str, soname: &str, folder: &Path) -> Result<PathBuf, ChildError> {
    let option = format!("-Wl,-soname,{soname}");
    compile(name, folder.join(soname), &["-shared", "-fPIC", &option])
}

/// Compiles `host/forge.c`, which forges Python's structures, under a name that looks like Python's.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the program does not compile.
pub fn build_forger(folder: &Path) -> Result<PathBuf, ChildError> {
    let source = artefacts::program("host").join("forge.c");
    compile_file(&source, folder.join("python3.12"), &["-rdynamic", "-lpthread"])
}

/// Compiles a program or library of `tests/programs/neighbour`.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When it does not compile.
pub fn build_neighbour(
    name: &str,
    output: PathBuf,
    options: &[&str],
) -> Result<PathBuf, ChildError> {
    compile_file(&artefacts::program("neighbour").join(format!("{name}.c")), output, options)
}

/// Compiles a program of `tests/programs/memory`, in C or C++.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the program does not compile.
pub fn build_memory(name: &str, folder: &Path) -> Result<PathBuf, ChildError> {
    let source = artefacts::program("memory").join(name);
    let source = [source.with_extension("cpp"), source.with_extension("c")];
    let source = source.iter().find(|source| source.exists()).unwrap_or(&source[1]);
    compile_file(source, folder.join(name), &["-ldl", "-lpthread"])
}

/// Compiles an extension for Python of `tests/programs/memory`.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When it does not compile.
pub fn build_extension(name: &str, folder: &Path) -> Result<PathBuf, ChildError> {
    let source = artefacts::program("memory").join(format!("{name}.c"));
    compile_file(&source, folder.join(format!("{name}.so")), &["-shared", "-fPIC"])
}

/// Compiles any program.
///
/// # Errors
/// When the compiler cannot be run in time.
///
/// # Panics
/// When the program does not compile.
pub fn build_from(source: &Path, output: PathBuf, options: &[&str]) -> Result<PathBuf, ChildError> {
    compile_file(source, output, options)
}

fn compile(name: &str, output: PathBuf, options: &[&str]) -> Result<PathBuf, ChildError> {
    compile_file(&artefacts::program("hostile").join(format!("{name}.c")), output, options)
}

fn compile_file(source: &Path, output: PathBuf, options: &[&str]) -> Result<PathBuf, ChildError> {
    let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = output.parent().unwrap_or(Path::new("."));
    let compiler = if source.extension().is_some_and(|kind| kind == "cpp") { "c++" } else { "cc" };
    let ended = Child::run(
        Command::new(compiler)
            .args(["-O1", "-g", "-Wall", "-Werror", "-fno-omit-frame-pointer", "-o"])
            .arg(&output)
            .arg(source)
            .args(options),
        folder,
        &format!("cc-{name}"),
        Duration::from_mins(1),
    )?;
    assert_eq!(ended.code, 0, "{name}.c does not compile: {}", ended.stderr);
    Ok(output)
}
