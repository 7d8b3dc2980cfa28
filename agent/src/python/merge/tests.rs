//! The merge rule on made-up stacks, version by version.

use proptest::prelude::*;

use super::*;

const EVAL: u64 = 0x1100;
const PASS: u64 = 0x1880;
/// Another function of the interpreter: `builtin_sorted`, say.
const OWN: u64 = 0x1a00;
/// Code of another library.
const FAR: u64 = 0x9000;

fn seams(version: Version) -> Seams {
    Seams {
        version,
        evaluation: vec![0x1000..0x1200, 0x1400..0x1500],
        passing: vec![0x1800..0x1880, 0x1880..0x1900],
        code: vec![0x1000..0x1800, 0x1800..0x2000],
    }
}

/// A frame: `e` is an entry (3.11), `s` the loop's own (3.12 on), a digit any other.
fn frame(kind: char) -> PythonFrame {
    let (code, bits) = match kind {
        's' => (0x7000, 3 << OWNER_SHIFT),
        'e' => (u64::from(u32::from(kind)), PYTHON_ENTRY),
        kind => (u64::from(u32::from(kind)), 0),
    };
    PythonFrame { code, instruction: bits | 0x100 }
}

/// Places as text: native addresses by their letter, Python frames as their own, remarks as `!`.
fn merged(version: Version, native: &str, cut: Option<Remark>, python: &str, walk: u32) -> String {
    let addresses: Vec<u64> = native
        .chars()
        .map(|kind| match kind {
            'E' => EVAL,
            'P' => PASS,
            'O' => OWN,
            _ => FAR,
        })
        .collect();
    let python: Vec<PythonFrame> = python.chars().map(frame).collect();
    let native = Native { addresses: &addresses, cut };
    let places = merge(&seams(version), native, &python, walk, |frame| Place::Python(frame.code));
    places
        .into_iter()
        .map(|place| match place {
            Place::User(EVAL) => 'E',
            Place::User(PASS) => 'P',
            Place::User(OWN) => 'O',
            Place::User(_) => 'F',
            Place::Python(code) => char::from_u32(u32::try_from(code).unwrap()).unwrap(),
            Place::Remark(Remark::Unmerged) => '|',
            Place::Remark(_) => '!',
            Place::Kernel(_) => '?',
        })
        .collect()
}

fn whole(version: Version, native: &str, python: &str) -> String {
    merged(version, native, None, python, python_walk::WHOLE)
}

#[test]
fn every_version_has_its_runs() {
    // A C function calls back: two activations.
    assert_eq!(whole(Version::V3_10, "FOPEPEPPEFF", "123"), "FO123FF");
    assert_eq!(whole(Version::V3_11, "FOPEPPOEFF", "12e3e"), "FO12eO3eFF");
    for version in [Version::V3_12, Version::V3_13, Version::V3_14] {
        assert_eq!(whole(version, "FOPEPPOEFF", "12s34s"), "FO12O34FF");
        // The loop's frame is linked and the function's is not, or no more: an empty run.
        assert_eq!(whole(version, "EPOEFF", "s34s"), "O34FF");
    }
}

#[test]
fn what_only_passes_calls_on_is_left_out_beside_the_loop_alone() {
    assert_eq!(whole(Version::V3_12, "PFPEPFPF", "12s"), "PF12FPF");
}

#[test]
fn one_activation_too_many_at_the_leaf_is_the_loop_at_its_beginning_or_end() {
    assert_eq!(whole(Version::V3_12, "EPPEF", "12s"), "12F");
    assert_eq!(whole(Version::V3_11, "EPOEF", "1e"), "O1eF");
    assert_eq!(whole(Version::V3_10, "EPEPEF", "12"), "12F");
    // Two are no accident.
    assert_eq!(whole(Version::V3_12, "EPEPEF", "12s"), "EPEPEF|12");
}

#[test]
fn one_run_too_many_at_the_leaf_is_a_part_of_the_loop_that_nobody_knew() {
    assert_eq!(whole(Version::V3_12, "OPEF", "12s3s"), "123F");
    // Code of somebody else is no such part.
    assert_eq!(whole(Version::V3_12, "FEF", "12s3s"), "FEF|123");
    assert_eq!(whole(Version::V3_12, "OEF", "1s2s3s"), "OEF|123");
}

#[test]
fn python_frames_go_on_below_a_native_cut() {
    let cut = |native, python| {
        merged(Version::V3_12, native, Some(Remark::TooLong), python, python_walk::WHOLE)
    };
    assert_eq!(cut("FOPEPPO", "12s34s5s"), "FO12O!345");
    assert_eq!(cut("", "12s34s"), "!1234");
    assert_eq!(cut("F", "1s"), "F!1");
    assert_eq!(cut("EPEPF", "1s"), "1F!");
    assert_eq!(cut("EPEPEF", "1s"), "EPEPEF!|1");
}

#[test]
fn native_frames_go_on_below_python_frames_that_were_not_taken() {
    let deep =
        |native, python| merged(Version::V3_12, native, None, python, python_walk::TRUNCATED);
    assert_eq!(deep("FEPEPEF", "12s3"), "F123!PEF".replace("PEF", "EF"));
    assert_eq!(deep("FEF", "123"), "F123!F");
    assert_eq!(merged(Version::V3_12, "FEPEF", None, "", python_walk::FAULT), "!FEPEF",);
}

#[test]
fn without_python_the_native_frames_stay_as_they_are() {
    for walk in [python_walk::NONE, python_walk::NO_THREAD_STATE, python_walk::WHOLE] {
        assert_eq!(merged(Version::V3_12, "FOF", None, "", walk), "FOF");
        assert_eq!(merged(Version::V3_12, "FOF", Some(Remark::Astray), "", walk), "FOF!");
    }
    assert_eq!(merged(Version::V3_12, "", None, "", python_walk::NONE), "");
}

#[test]
fn a_return_address_behind_the_last_instruction_belongs_to_the_call() {
    let place = |_: &PythonFrame| Place::Python(1);
    let frames = [frame('1'), frame('s')];
    let merged = |addresses: &[u64]| {
        let native = Native { addresses, cut: None };
        merge(&seams(Version::V3_12), native, &frames, python_walk::WHOLE, place)
    };
    // 0x1200 is the first byte behind the loop.
    assert_eq!(merged(&[FAR, 0x1200]), [Place::User(FAR), Place::Python(1)]);
    // At the leaf it is the instruction itself: no activation, but the interpreter's own code.
    assert_eq!(merged(&[0x1200, FAR]), [Place::Python(1), Place::User(FAR)]);
    assert_eq!(merged(&[FAR, 0x1201]).len(), 4);
}

proptest! {
    /// Whatever comes: every function of Python is there once, in order, and native frames are in
    /// order; nothing panics.
    #[test]
    fn python_frames_are_never_dropped(
        native in "[EPOF]{0,12}",
        python in "[0-9es]{0,12}",
        walk in 0_u32..6,
        cut: bool,
    ) {
        for version in Version::ALL {
            let merged = merged(version, &native, cut.then_some(Remark::Astray), &python, walk);
            let functions = |text: &str| -> String {
                text.chars().filter(|kind| kind.is_ascii_digit() || *kind == 'e').collect()
            };
            prop_assert_eq!(functions(&merged), functions(&python), "{} {}", version, &merged);
            let far = |text: &str| text.chars().filter(|&kind| kind == 'F').count();
            prop_assert_eq!(far(&merged), far(&native), "{} {}", version, &merged);
            prop_assert_eq!(merged.contains('!') , cut || [3, 4].contains(&walk), "{} {}", version, &merged);
        }
    }
}
