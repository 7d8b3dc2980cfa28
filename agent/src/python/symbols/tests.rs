//! Code objects that a test writes itself: identity, reuse, bounds, and nonsense.

use proptest::prelude::*;

use super::super::memory::fake::Fake;
use super::super::offsets::Offsets;
use super::known::{OFFSETS_MAX, READ_PER_SECOND};
use super::*;

const CODE: u64 = 0x10_0000;
const TYPE_AT: u64 = 0x20_0000;
const SECOND: u64 = 1_000_000_000;

/// 3.12's `PyCodeObject` with a line table of one line, at `at`.
fn put_code(memory: &mut Fake, at: u64, name: &str, first_line: u32, version: u32) {
    put_code_of(memory, at, "/srv/work.py", name, first_line, version);
}

fn put_code_of(memory: &mut Fake, at: u64, file: &str, name: &str, first_line: u32, version: u32) {
    let strings = at + 0x1000;
    memory.put(at, &[0; 256]);
    memory.put_u64(at + 8, TYPE_AT);
    memory.put_u32(at + 68, first_line);
    memory.put_u32(at + 92, version);
    for (index, (offset, text)) in [(112, file), (120, name), (128, name)].into_iter().enumerate() {
        let to = strings + 0x100 * index as u64;
        memory.put_u64(at + offset, to);
        memory.put(to, &[0; 40]);
        memory.put_u64(to + 16, text.len() as u64);
        memory.put_u32(to + 32, 0x64);
        memory.put(to + 40, text.as_bytes());
    }
    let table = [0x80 | 11 << 3 | 7, 0, 0, 0x80 | 11 << 3 | 7, 0, 0];
    memory.put_u64(at + 136, strings + 0x800);
    memory.put(strings + 0x800, &[0; 32]);
    memory.put_u64(strings + 0x800 + 16, table.len() as u64);
    memory.put(strings + 0x800 + 32, &table);
}

fn frame(code: u64, offset: u64) -> PythonFrame {
    PythonFrame { code, instruction: code + 192 + offset }
}

struct World {
    memory: Fake,
    offsets: Offsets,
    symbols: PythonSymbols,
}

impl World {
    fn new() -> Self {
        let offsets = Offsets::of(Version::V3_12);
        Self { memory: Fake::default(), offsets, symbols: PythonSymbols::new() }
    }

    fn number(&mut self, frame: &PythonFrame, time_ns: u64) -> u64 {
        let interpreter = Interpreter {
            memory: &self.memory,
            version: Version::V3_12,
            offsets: &self.offsets,
            code_type: Some(TYPE_AT),
        };
        self.symbols.number_in(7, &interpreter, frame, time_ns)
    }

    fn name(&mut self, number: u64) -> String {
        let frame = self.symbols.frame(number);
        let line = frame.line.map_or("?".to_owned(), |line| line.to_string());
        format!("{} {}:{line}", frame.function, frame.file.unwrap_or_default())
    }
}

#[test]
fn a_function_and_line_has_one_number() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "Worker.run", 10, 1);
    let first = world.number(&frame(CODE, 0), SECOND);
    assert_eq!(world.name(first), "work.Worker.run /srv/work.py:11");
    assert_eq!(world.number(&frame(CODE, 8), SECOND), first);
    let second = world.number(&frame(CODE, 16), SECOND);
    assert_eq!(world.name(second), "work.Worker.run /srv/work.py:12");
    assert_ne!(first, second);
    let behind = world.number(&frame(CODE, 4000), SECOND);
    assert_eq!(world.name(behind), "work.Worker.run /srv/work.py:?");
    // A frame that has not begun: its instruction lies before the first one.
    let not_begun = world.number(&PythonFrame { code: CODE, instruction: CODE + 190 }, SECOND);
    assert_eq!(world.name(not_begun), "work.Worker.run /srv/work.py:10");
    assert_eq!(world.symbols.losses(), PythonLosses::default());
}

#[test]
fn an_address_that_another_function_got_has_another_number() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "first", 10, 1);
    let first = world.number(&frame(CODE, 0), SECOND);
    put_code(&mut world.memory, CODE, "second", 10, 2);
    // Within the second it is believed to be the same; then it is looked at.
    assert_eq!(world.number(&frame(CODE, 0), SECOND + 5), first);
    let second = world.number(&frame(CODE, 0), 3 * SECOND);
    assert_eq!(world.name(first), "work.first /srv/work.py:11");
    assert_eq!(world.name(second), "work.second /srv/work.py:11");
    // Unchanged: the same number again.
    assert_eq!(world.number(&frame(CODE, 0), 9 * SECOND), second);
    // Another process at the same address shares nothing.
    world.symbols.forget(7);
    assert!(world.number(&frame(CODE, 0), 9 * SECOND) > second);
    assert_eq!(world.name(second), "work.second /srv/work.py:11");
}

/// `eval` frees its code object, and the next one gets its place within microseconds.
#[test]
fn code_of_no_file_is_looked_at_each_time() {
    let mut world = World::new();
    put_code_of(&mut world.memory, CODE, "<string>", "first", 10, 1);
    let first = world.number(&frame(CODE, 0), SECOND);
    put_code_of(&mut world.memory, CODE, "<string>", "second", 10, 2);
    let second = world.number(&frame(CODE, 0), SECOND + 5);
    assert_eq!(world.name(first), "<string>.first <string>:11");
    assert_eq!(world.name(second), "<string>.second <string>:11");
}

#[test]
fn what_is_no_code_object_is_unknown_and_counted() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "first", 10, 1);
    world.memory.put_u64(CODE + 8, TYPE_AT + 8);
    for code in [CODE, 0, 3, u64::MAX, 0x5000] {
        assert_eq!(world.number(&PythonFrame { code, instruction: 0 }, SECOND), UNKNOWN);
    }
    assert_eq!(world.symbols.losses(), PythonLosses { unreadable: 5, ..PythonLosses::default() });
    assert_eq!(world.name(UNKNOWN), "[unknown Python function] :?");
    assert_eq!(world.symbols.losses().late, 0);
    assert_eq!(world.name(99), "[unknown Python function] :?");
    assert_eq!(world.symbols.losses().late, 1);
    // A string of absurd length, a table of absurd length.
    put_code(&mut world.memory, CODE, "first", 10, 1);
    world.memory.put_u64(CODE + 0x1800 + 16, u64::MAX);
    let number = world.number(&frame(CODE, 0), SECOND);
    assert_eq!(world.name(number), "work.first /srv/work.py:?");
    put_code(&mut world.memory, CODE, "other", 10, 2);
    world.memory.put_u64(CODE + 0x1200 + 16, u64::MAX);
    assert_eq!(world.number(&frame(CODE, 0), 4 * SECOND), UNKNOWN);
}

#[test]
fn a_process_that_makes_functions_forever_is_bounded() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "first", 10, 0);
    let mut refused = 0;
    for round in 0..READ_PER_SECOND + 100 {
        // The same address, another function each time, always an instant too late to be trusted.
        world.memory.put_u32(CODE + 68, u32::try_from(round).unwrap() + 1);
        world.symbols.processes.values_mut().for_each(Known::distrust);
        refused += u32::from(world.number(&frame(CODE, 0), 5 * SECOND) == UNKNOWN);
    }
    assert_eq!(refused, 100);
    assert_eq!(world.symbols.losses(), PythonLosses { too_many: 100, ..PythonLosses::default() });
    assert_ne!(world.number(&frame(CODE, 0), 6 * SECOND), UNKNOWN);
}

#[test]
fn a_process_with_instructions_forever_is_bounded() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "first", 10, 0);
    for offset in 0..=OFFSETS_MAX as u64 {
        world.number(&frame(CODE, 100 + offset), SECOND);
    }
    assert_eq!(world.symbols.losses(), PythonLosses::default());
    world.number(&frame(CODE, 0), SECOND);
    assert_eq!(world.symbols.losses(), PythonLosses { forgotten: 1, ..PythonLosses::default() });
}

#[test]
fn the_latest_names_are_kept() {
    let mut world = World::new();
    put_code(&mut world.memory, CODE, "first", 10, 0);
    let oldest = world.number(&frame(CODE, 0), SECOND);
    let name = world.symbols.names[0].clone();
    world.symbols.names.extend(std::iter::repeat_n(name, NAMES_MAX - 1));
    put_code(&mut world.memory, CODE, "second", 10, 1);
    assert_ne!(world.number(&frame(CODE, 0), 3 * SECOND), UNKNOWN);
    assert_eq!(world.symbols.names.len(), NAMES_MAX);
    assert_eq!(world.name(oldest), "[unknown Python function] :?");
    // A number that nobody can name any more is not handed out again.
    let again = world.number(&frame(CODE, 0), 3 * SECOND);
    assert_eq!(world.name(again), "work.second /srv/work.py:11");
}

proptest! {
    /// A code object of random bytes is a name, or unknown, and always a few reads.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 256), instruction: u64) {
        let mut world = World::new();
        world.memory.put(CODE, &bytes);
        world.memory.put_u64(CODE + 8, TYPE_AT);
        // Pointers into itself, so that reading goes on.
        for offset in [112, 120, 128, 136] {
            let at = usize::try_from(offset).unwrap();
            world.memory.put_u64(CODE + offset, CODE + u64::from(bytes[at]));
        }
        let number = world.number(&PythonFrame { code: CODE, instruction }, SECOND);
        let frame = world.symbols.frame(number);
        prop_assert!(frame.function.chars().all(|character| !character.is_control()));
    }
}
