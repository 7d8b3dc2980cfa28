//! Line tables against what each interpreter says of its own standard library: every instruction of
//! every function.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use warplens::python::Version;
use warplens::python::line_table::line;

use crate::support::interpreters;

/// Modules of every style, some of them large.
const PROGRAM: &str = r#"
import sys, os, types, importlib.util
sys.dont_write_bytecode = True
names = "asyncio.tasks contextlib dataclasses enum functools json.decoder pathlib re threading traceback typing".split()
out = []
def tell(code):
    table = code.co_linetable
    lines = {}
    if hasattr(code, "co_positions") and sys.version_info >= (3, 11):
        for index, position in enumerate(code.co_positions()):
            lines[index * 2] = position[0]
    else:
        for start, end, line in code.co_lines():
            for offset in range(start, end, 2):
                lines[offset] = line
    length = len(code.co_code)
    said = ",".join("-" if lines.get(offset) is None else str(lines[offset]) for offset in range(0, length, 2))
    out.append("%d %s %s" % (code.co_firstlineno, table.hex() or "-", said or "-"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            tell(constant)
for name in names:
    try:
        spec = importlib.util.find_spec(name)
        if spec and spec.origin and spec.origin.endswith(".py"):
            with open(spec.origin, "rb") as file:
                tell(compile(file.read(), spec.origin, "exec"))
    except ImportError:
        pass
# Far apart, backwards, over many lines.
text = "x = 1\n" + "\n" * 3000 + "y = (x +\n" + "\n" * 200 + " x)\nfor a in (1,\n" + "\n" * 300 + "2): pass\n"
tell(compile(text, "made up", "exec"))
sys.stdout.write("\n".join(out))
"#;

#[test]
fn every_instruction_of_the_standard_library_has_its_line() {
    for version in Version::ALL {
        let name = "lines::every_instruction_of_the_standard_library_has_its_line";
        for path in interpreters(name, &version.to_string()) {
            check(&path, version);
        }
    }
}

fn check(path: &Path, version: Version) {
    let output = Command::new(path).args(["-c", PROGRAM]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut instructions = 0;
    for code in text.lines() {
        let mut words = code.split(' ');
        let first = words.next().unwrap().parse().unwrap();
        let table = hex(words.next().unwrap());
        let said = words.next().unwrap();
        let mut found = String::new();
        let count = said.split(',').count();
        for index in 0..count as u64 {
            match line(version, &table, first, index * 2) {
                Some(line) => write!(found, "{line},").unwrap(),
                None => found.push_str("-,"),
            }
        }
        assert_eq!(found.trim_end_matches(','), said, "{code}, {}", path.display());
        instructions += count;
    }
    assert!(instructions > 20_000, "{instructions} on {}", path.display());
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
