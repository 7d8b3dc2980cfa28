//! Whatever files, registers and stacks hold: no panic, no endless work, no frame that is no code.
//! What programs truly do is tested in `tests/unwind`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::rehearsal::rows;
use super::row::State;
use super::*;

/// A real library: 20 functions, PLT, a search table.
fn library() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/chain.c");
        let library = dir.path().join("library.so");
        let status = Command::new("cc")
            .args(["-w", "-O2", "-mavx2", "-shared", "-fPIC", "-s", "-o"])
            .args([&library, &source])
            .status();
        assert!(status.expect("the C compiler that links Rust programs").success());
        std::fs::read(library).unwrap()
    })
}

#[test]
fn a_whole_library_is_understood() {
    let rows = rows(library(), (0x1000..0x3000).step_by(16));
    assert!(rows.len() > 100, "{}", rows.len());
}

#[test]
fn a_file_cut_short_gives_less_and_no_harm() {
    let bytes = library();
    for length in (0..bytes.len()).step_by(97) {
        rows(&bytes[..length], (0x1000..0x2000).step_by(64));
    }
}

/// Registers that point into the stack, at code, or anywhere.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0x7000_u64..0x7400, any::<u64>(), 0_u64..0x3000]
}

proptest! {
    #[test]
    fn any_bytes_are_no_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 64..2048),
        addresses in prop::collection::vec(any::<u64>(), 8),
    ) {
        rows(&bytes, addresses.clone());
        bytes[..64].copy_from_slice(&library()[..64]);
        rows(&bytes, addresses);
    }

    #[test]
    fn damaged_files_are_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        in_front in any::<bool>(),
        registers in prop::array::uniform17(value()),
        stack in prop::collection::vec(any::<u8>(), 0..1024),
    ) {
        let mut bytes = library().to_vec();
        // Headers are hit rarely by chance.
        let among = if in_front { 1024 } else { bytes.len() };
        for (at, byte) in changes {
            bytes[at.index(among)] = byte;
        }
        let copied =
            Copied { registers: &registers, start: 0x7000, bytes: &stack, longer: false };
        for row in rows(&bytes, (0x1000..0x2000).step_by(32)) {
            let _stepped = row.step(&State::of_leaf(&registers), &copied);
        }
    }

    #[test]
    fn any_expression_is_no_harm(
        code in prop::collection::vec(any::<u8>(), 0..64),
        registers in prop::array::uniform17(value()),
        stack in prop::collection::vec(any::<u8>(), 0..1024),
    ) {
        let copied = Copied { registers: &registers, start: 0x7000, bytes: &stack, longer: true };
        let _value = expression::evaluate(&code, Some(7), &State::of_leaf(&registers), &copied);
    }

    /// This process, from where it is not.
    #[test]
    fn stacks_of_anything_give_only_code(
        mut registers in prop::array::uniform17(value()),
        offset in 0_u64..4096,
        words in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..4096], 0..128),
    ) {
        let function: fn(&mut Unwinder, &Copied<'_>) = a_walk;
        let code = function as usize as u64;
        registers[7] = 0x7000 + offset % 0x400;
        registers[16] = code + offset;
        // Numbers below a page stand for addresses of code.
        let stack: Vec<u8> = words
            .iter()
            .flat_map(|&word| if word < 4096 { code + word } else { word }.to_le_bytes())
            .collect();
        let copied =
            Copied { registers: &registers, start: 0x7000, bytes: &stack, longer: offset % 2 == 0 };
        UNWINDER.with_borrow_mut(|unwinder| a_walk(unwinder, &copied));
    }
}

thread_local! {
    static UNWINDER: std::cell::RefCell<Unwinder> = std::cell::RefCell::default();
}

fn a_walk(unwinder: &mut Unwinder, copied: &Copied<'_>) {
    let (pid, mut frames) = (std::process::id(), Vec::new());
    let end = unwinder.unwind(pid, copied, &mut frames);
    assert!(frames.len() <= STACK_FRAMES);
    let maps = crate::proc::maps(pid).unwrap();
    for frame in &frames {
        let is_code = maps.iter().any(|mapping| {
            mapping.executable && (mapping.start..=mapping.end).contains(&frame.address)
        });
        assert!(is_code, "{end:?} {frames:x?}");
    }
}

#[test]
fn every_walk_is_counted_once() {
    let mut unwinder = Unwinder::new();
    let registers = [0; 17];
    let copied = Copied { registers: &registers, start: 0, bytes: &[], longer: false };
    a_walk(&mut unwinder, &copied);
    let losses = unwinder.losses();
    assert_eq!((losses.whole, losses.cut), (0, 1));
    // Mappings that were just read say that nothing is there, or that they are too fresh to ask again.
    assert_eq!(losses.astray + losses.maps_changed, 1);
}

#[test]
fn what_is_missing_of_a_stack_has_its_reason() {
    let registers = [0; 17];
    let check = |longer, address, expected| {
        let copied = Copied { registers: &registers, start: 0x7000, bytes: &[0; 64], longer };
        assert_eq!(copied.missing(address), expected, "{longer} {address:#x}");
    };
    check(true, 0x7040, Remark::TooLong);
    check(true, 0x703c, Remark::TooLong);
    check(true, 0x9000, Remark::TooLong);
    check(false, 0x7040, Remark::StackUnread);
    // Below, or far away: another stack.
    check(true, 0x6000, Remark::StackUnread);
    check(true, 0x7fff_0000_0000, Remark::StackUnread);
}
