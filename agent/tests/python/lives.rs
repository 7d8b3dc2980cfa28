//! Interpreters in every situation of their lives: found, not ready, forked, replaced, renamed, in other
//! namespaces, of versions that are not known.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use warplens::proc;
use warplens::python::{PythonError, PythonSymbols, Runtime, UNKNOWN, Version};
use wire::kernel::{NO_OFFSET, PythonLayout, python_walk};

use crate::support::{Program, asleep, find, functions, interpreters, skip, wait_for};

/// Names of a sleeping thread's functions, leaf first.
fn functions_of(runtime: &Runtime, tid: u32) -> Vec<String> {
    asleep(runtime.pid(), tid);
    let mut symbols = PythonSymbols::new();
    let walked = runtime.walk(tid);
    assert_eq!(walked.end, python_walk::WHOLE);
    walked
        .frames
        .iter()
        .map(|frame| symbols.number(runtime, frame, 1))
        .filter(|&number| number != UNKNOWN)
        .collect::<Vec<u64>>()
        .into_iter()
        .map(|number| symbols.frame(number).function)
        .collect()
}

fn all(test: &str) -> Vec<(Version, PathBuf)> {
    Version::ALL
        .into_iter()
        .flat_map(|version| {
            let found = interpreters(test, &version.to_string());
            found.into_iter().map(move |path| (version, path))
        })
        .collect()
}

const STOPS: &str = "def outer():\n    inner()\ndef inner():\n    stop()\nouter()\n";
const STOPPED: [&str; 4] =
    ["<string>.stop", "<string>.inner", "<string>.outer", "<string>.<module>"];

/// Measured with each version's own headers (`offsetof`), not by the code under test.
fn expected(version: Version) -> PythonLayout {
    let (frame, cframe, code, previous, instruction, instruction_bytes, owner, entry) =
        match version {
            Version::V3_10 => (24, NO_OFFSET, 32, 24, 96, 4, NO_OFFSET, NO_OFFSET),
            Version::V3_11 => (56, 8, 32, 48, 56, 8, 69, 68),
            Version::V3_12 => (56, 0, 0, 8, 56, 8, 70, NO_OFFSET),
            Version::V3_13 => (72, NO_OFFSET, 0, 8, 56, 8, 70, NO_OFFSET),
            Version::V3_14 => (72, NO_OFFSET, 0, 8, 56, 8, 74, NO_OFFSET),
        };
    PythonLayout {
        thread_state: 0,
        gil_locked: 0,
        gil_holder: 0,
        frame,
        cframe,
        code,
        previous,
        instruction,
        instruction_bytes,
        owner,
        entry,
    }
}

#[test]
fn every_interpreter_is_found_with_its_layout() {
    for (version, path) in all("lives::every_interpreter_is_found_with_its_layout") {
        let mut program = Program::of(&path, STOPS);
        program.line();
        let runtime = find(program.pid());
        let context = format!("{}: {runtime:?}", path.display());
        assert_eq!(runtime.version(), version, "{context}");
        let layout = runtime.layout();
        // The key is one of the first that anyone asks for.
        let key = (layout.thread_state - 0x318) / 16;
        assert!((0..4).contains(&key), "{context}");
        let expected = PythonLayout {
            thread_state: 0x318 + 16 * key,
            gil_locked: runtime.gil().start + 16,
            gil_holder: runtime.gil().start + 8,
            ..expected(version)
        };
        assert_eq!(layout, expected, "{context}");
        assert!(!runtime.seams().evaluation.is_empty(), "{context}");
        assert_eq!(functions_of(&runtime, program.pid()), STOPPED, "{context}");
    }
}

#[test]
fn a_forked_child_is_found_too() {
    let text = "def child():\n    stop()\nif os.fork() == 0:\n    sys.stdin.close()\n    os.write(1, (str(os.getpid()) + '\\n').encode())\n    import signal\n    signal.pause()\nelse:\n    os.wait()\n";
    for (version, path) in all("lives::a_forked_child_is_found_too") {
        let mut program = Program::of(&path, text);
        let child: u32 = program.line().unwrap().parse().unwrap();
        let runtime = find(child);
        assert_eq!(runtime.version(), version);
        assert_eq!(functions_of(&runtime, child), ["<string>.<module>"], "{}", path.display());
        let parent = find(program.pid());
        assert_eq!(functions_of(&parent, program.pid()), ["<string>.<module>"]);
        end(child);
    }
}

/// Ends a process that is no child of ours.
fn end(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn behind_an_exec_the_old_interpreter_is_gone_and_the_new_one_is_found() {
    let all = all("lives::behind_an_exec_the_old_interpreter_is_gone_and_the_new_one_is_found");
    for pair in all.windows(2) {
        let [(_, from), (version, to)] = pair else { unreachable!("windows of two") };
        let then = "import os\nos.write(1, b'second\\n')\nos.read(0, 1)\n";
        let text = format!("stop()\nos.execv({to:?}, [{to:?}, '-c', {then:?}])\n");
        let mut program = Program::of(from, &text);
        program.line();
        let before = find(program.pid());
        asleep(program.pid(), program.pid());
        let frames = before.walk(program.pid()).frames;
        program.go_on();
        assert_eq!(program.line().as_deref(), Some("second"));
        // Nothing of the one program is taken for the other's.
        assert_eq!(before.walk(program.pid()).frames, []);
        let mut symbols = PythonSymbols::new();
        for frame in &frames {
            assert_eq!(symbols.number(&before, frame, 1), UNKNOWN);
        }
        let after = find(program.pid());
        assert_eq!(after.version(), *version);
        assert_eq!(functions_of(&after, program.pid()), ["<string>.<module>"]);
    }
}

#[test]
fn an_interpreter_that_is_upgraded_on_disk_is_the_one_that_runs() {
    let name = "lives::an_interpreter_that_is_upgraded_on_disk_is_the_one_that_runs";
    let Some((version, path)) = statically_linked() else {
        return skip(name, "no statically linked /usr/bin/python3");
    };
    for replaced in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("python");
        fs::copy(&path, &copy).unwrap();
        let mut command = Command::new(&copy);
        command.env("PYTHONHOME", "/usr").args(["-c", &format!("{PRELUDE}{STOPS}")]);
        let mut program = Program::start(&mut command);
        program.line();
        fs::remove_file(&copy).unwrap();
        if replaced {
            fs::write(&copy, "another program").unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let runtime = find(program.pid());
        assert_eq!(runtime.version(), version);
        assert_eq!(functions_of(&runtime, program.pid()), STOPPED);
    }
}

const PRELUDE: &str = "import os, sys\ndef stop(what='stopped'):\n    os.write(1, b'stopped\\n')\n    os.read(0, 1)\n";

/// The system's, which is one file.
fn statically_linked() -> Option<(Version, PathBuf)> {
    Version::ALL.into_iter().find_map(|version| {
        let path = PathBuf::from(format!("/usr/bin/python{version}"));
        let metadata = fs::metadata(&path).ok()?;
        (metadata.len() > 2 << 20).then_some((version, path))
    })
}

#[test]
fn in_other_namespaces_everything_is_the_same() {
    let name = "lives::in_other_namespaces_everything_is_the_same";
    let Some((version, path)) = statically_linked() else {
        return skip(name, "no statically linked /usr/bin/python3");
    };
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("python");
    // The file exists in that mount namespace alone, and the process is number 1 or 2 of its own.
    let script = format!(
        "mount -t tmpfs none {0} && cp {1} {2} && PYTHONHOME=/usr exec {2} -c \"$PROGRAM\"",
        folder.path().display(),
        path.display(),
        inside.display()
    );
    let text = format!(
        "{PRELUDE}import threading\nclass Job:\n    def run(self):\n        stop()\nt = threading.Thread(target=Job().run)\nt.start()\nt.join()\n"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    let unshared = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status();
    if !unshared.is_ok_and(|status| status.success()) {
        return skip(name, "unshare needs root");
    }
    let mut program = Program::start(command.env("PROGRAM", &text));
    program.line();
    let pid = wait_for("the interpreter's process", || {
        proc::descendants(program.pid())
            .into_iter()
            .find(|&pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == inside))
    });
    assert!(!inside.exists());
    let runtime = find(pid);
    assert_eq!(runtime.version(), version);
    let tids = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut tids: Vec<u32> =
        tids.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
    tids.sort_unstable();
    let [main, thread] = tids[..] else { panic!("{tids:?}") };
    assert_eq!(
        functions_of(&runtime, thread)[..3],
        ["<string>.stop", "<string>.Job.run", "threading.Thread.run"]
    );
    assert_eq!(functions_of(&runtime, main).last().unwrap(), "<string>.<module>");
}

#[test]
fn a_virtual_environment_is_found() {
    for (version, path) in all("lives::a_virtual_environment_is_found") {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new(&path)
            .args(["-m", "venv", "--without-pip"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        let python = folder.path().join("bin/python");
        // Debian's needs a package for it, and those started through a script make a broken one.
        if !made.is_ok_and(|status| status.success())
            || !Command::new(&python)
                .arg("-c")
                .arg("")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        {
            skip(
                "lives::a_virtual_environment_is_found",
                &format!("{} makes none", path.display()),
            );
            continue;
        }
        let mut program = Program::of(&python, STOPS);
        program.line();
        let runtime = find(program.pid());
        assert_eq!(runtime.version(), version);
        assert_eq!(functions_of(&runtime, program.pid()), STOPPED);
    }
}

#[test]
fn what_is_no_python_is_none() {
    let program = Program::start(Command::new("sleep").arg("1000"));
    wait_for("sleep", || {
        let exe = fs::read_link(format!("/proc/{}/exe", program.pid())).ok()?;
        (exe.file_name()? == "sleep" || exe.ends_with("coreutils")).then_some(())
    });
    assert!(Runtime::find(program.pid(), |_| None).unwrap().is_none());
    // Above the kernel's largest PID.
    assert!(matches!(Runtime::find(1 << 23, |_| None), Err(PythonError::Read { .. })));
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let name = "lives::versions_that_are_not_known_are_refused";
    for version in ["3.7", "3.8", "3.9", "3.15"] {
        for path in interpreters(name, version) {
            let mut program = Program::of(&path, "stop()\n");
            program.line();
            let error = Runtime::find(program.pid(), |_| None).unwrap_err();
            assert!(matches!(error, PythonError::Unsupported { .. }), "{error:?}");
            assert!(!error.passes());
            let text = error.to_string();
            let named =
                text.contains("older than 3.10") || text.contains(&format!("is {version},"));
            assert!(named, "{text}");
        }
    }
}

const EMBEDS: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  if (!library) { fputs(dlerror(), stderr); return 1; }
  char byte;
  puts("loaded"); fflush(stdout);
  if (read(0, &byte, 1) < 1) return 1;
  ((void (*)(int))dlsym(library, "Py_InitializeEx"))(0);
  ((int (*)(const char *))dlsym(library, "PyRun_SimpleString"))(argv[2]);
  return 0;
}
"#;

#[test]
fn a_library_under_another_name_is_found_once_it_is_set_up() {
    let name = "lives::a_library_under_another_name_is_found_once_it_is_set_up";
    let folder = tempfile::tempdir().unwrap();
    let (source, host) = (folder.path().join("host.c"), folder.path().join("host"));
    fs::write(&source, EMBEDS).unwrap();
    let status = Command::new("cc").arg("-o").args([&host, &source]).status().unwrap();
    assert!(status.success());
    let mut tried = 0;
    for (version, path) in all(name) {
        let home = path.parent().and_then(Path::parent).unwrap();
        let library = home.join(format!("lib/libpython{version}.so.1.0"));
        // 3.10 has nothing by which a library without its name could be known.
        if !library.exists() || version == Version::V3_10 {
            continue;
        }
        tried += 1;
        let renamed = folder.path().join(format!("embedded-{tried}.so"));
        fs::copy(&library, &renamed).unwrap();
        let mut command = Command::new(&host);
        command.arg(&renamed).arg(format!("{PRELUDE}{STOPS}")).env("PYTHONHOME", home);
        let mut program = Program::start(&mut command);
        assert_eq!(program.line().as_deref(), Some("loaded"));
        let early = Runtime::find(program.pid(), functions(program.pid())).unwrap_err();
        assert!(early.passes(), "{early:?}");
        program.go_on();
        assert_eq!(program.line().as_deref(), Some("stopped"));
        let runtime = find(program.pid());
        assert_eq!(runtime.version(), version);
        assert!(runtime.path().ends_with(&format!("embedded-{tried}.so")));
        assert_eq!(functions_of(&runtime, program.pid()), STOPPED);
    }
    if tried == 0 {
        skip(name, "no interpreter has a library of its own");
    }
}
