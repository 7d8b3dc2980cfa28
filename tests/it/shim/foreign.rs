//! The shim over a libcupti of somebody else's (`tests/sim-cuda/foreign-cupti`), which keeps the public
//! interface and nothing more: each of its habits alone, each function failing or missing, and mixes.
//!
//! A program ends as it does without us, and what CUPTI handed over is in the ring, or is known to be missing.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sim_truth::Truth;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, ChildError, Ended};
use warplens_tests::harness::dice::{self, Dice};
use warplens_tests::harness::hostile;
use warplens_tests::harness::ring::{self, RingView};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::handed::{self, Handed};
use warplens_tests::require;
use wire::shim::{Level, OffReason};

use super::LIMIT;

/// Runs under way at a time: they mostly sleep.
const ABREAST: usize = 4;
/// Mixes in a run of the tier.
const MIXES: u32 = 40;

/// What must be in the ring at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Everything that CUPTI handed over.
    Exact,
    /// The same but for launches that CUPTI did not tell of.
    ExactWork,
    /// Some is lost, and as much is counted.
    Counted,
    /// Some is missing, and is known to be: [`Handed::honest`].
    Honest,
    /// Nothing that CUPTI did not hand over.
    Sound,
    /// The shim is off for this reason, with CUPTI's error.
    Off(OffReason, u32),
}

use Expected::{Counted, Exact, ExactWork, Honest, Off};

const HABITS: &[(&str, Expected)] = &[
    ("", Exact),
    ("long-records", Exact),
    ("short-records", Counted),
    ("strangers", Exact),
    ("odd-names", Exact),
    ("odd-ids", Exact),
    ("no-times", Exact),
    ("early-buffers", Exact),
    ("hoarded-buffers", Counted),
    ("pairs", Exact),
    ("fresh-threads", Exact),
    ("tiny-stacks", Exact),
    ("launching-threads", Exact),
    ("crowd", Exact),
    ("small-fills", Exact),
    ("shuffled", Exact),
    ("empties", Exact),
    ("drops", Counted),
    ("drops-all", Counted),
    ("late-buffers", Exact),
    ("at-exit", Honest),
    ("unasked-callbacks", Exact),
    ("bare-callbacks", Exact),
    ("lost-exits", Exact),
    ("lost-enters", ExactWork),
    ("nested-callbacks", Exact),
    ("stranger-callbacks", Exact),
    ("odd-graphs", Exact),
    ("slow-flush", Exact),
    ("slow-switches", Exact),
    ("flush-elsewhere", Exact),
    ("after-unsubscribe", Exact),
];

const FAILURES: &[(&str, Expected)] = &[
    ("cuptiGetVersion:999:1", Off(OffReason::CuptiRefused, 999)),
    ("cuptiSubscribe:15:1", Off(OffReason::CuptiRefused, 15)),
    ("cuptiSubscribe:39:1", Off(OffReason::CuptiTaken, 39)),
    ("cuptiSubscribe:35:2", Off(OffReason::CuptiRefused, 35)),
    ("cuptiUnsubscribe:1:1", Off(OffReason::CuptiRefused, 1)),
    ("cuptiEnableCallback:15:1", Off(OffReason::CuptiRefused, 15)),
    ("cuptiEnableCallback:999:7", Off(OffReason::CuptiRefused, 999)),
    ("cuptiEnableCallback:1:1", Off(OffReason::CuptiRefused, 1)),
    ("cuptiActivityRegisterCallbacks:8:1", Off(OffReason::CuptiRefused, 8)),
    ("cuptiActivityRegisterTimestampCallback:7:1", Off(OffReason::CuptiRefused, 7)),
    ("cuptiActivityEnable:35:1", Off(OffReason::CuptiRefused, 35)),
    ("cuptiActivityEnable:35:3", Off(OffReason::CuptiRefused, 35)),
    ("cuptiActivityDisable:999:1", Exact),
    ("cuptiActivitySetAttribute:27:1", Exact),
    ("cuptiActivityFlushAll:999:1", Honest),
    ("cuptiActivityFlushAll:7:2", Honest),
    ("cuptiActivityGetNextRecord:1:1", Counted),
    ("cuptiActivityGetNextRecord:999:50", Counted),
    ("cuptiActivityGetNumDroppedRecords:7:1", Exact),
    ("cuptiGetGraphId:1:1", Exact),
    ("cuptiGetGraphNodeId:1:2", Exact),
    ("cuptiGetGraphExecId:1:3", Exact),
];

/// Functions that the shim cannot do without, and ones that old versions do not have.
const NEEDED: &[&str] = &[
    "cuptiGetVersion",
    "cuptiSubscribe",
    "cuptiUnsubscribe",
    "cuptiEnableCallback",
    "cuptiActivityRegisterCallbacks",
    "cuptiActivityRegisterTimestampCallback",
    "cuptiActivityEnable",
    "cuptiActivityDisable",
    "cuptiActivityFlushAll",
    "cuptiActivityGetNextRecord",
    "cuptiActivityGetNumDroppedRecords",
];
const OPTIONAL: &[&str] =
    &["cuptiActivitySetAttribute", "cuptiGetGraphId", "cuptiGetGraphNodeId", "cuptiGetGraphExecId"];

/// Who asks for levels while the program runs.
#[derive(Clone, Debug)]
enum Asking {
    /// Nobody: the level of the environment holds from the start to the end.
    Nobody,
    /// Somebody who cannot decide.
    Restless(Dice),
}

/// A run of the program.
#[derive(Clone, Debug)]
struct Case {
    library: PathBuf,
    character: String,
    asking: Asking,
    expected: Expected,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    ended: Ended,
    view: RingView,
    handed: Handed,
}

/// The program, and how it ends without the shim.
struct Bench {
    folder: tempfile::TempDir,
    program: PathBuf,
    bare: Ended,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = hostile::build("many_calls", folder.path()).unwrap();
        let run = Run::new(1).unwrap();
        let mut child =
            Child::start(&mut run.command(&program).unwrap(), run.folder(), "bare").unwrap();
        assert!(child.write("\n\n"));
        let bare = child.wait(LIMIT).unwrap();
        assert!(bare.code == 0 && bare.stdout.contains("refused 0 wrong 0"), "{bare:?}");
        Self { folder, program, bare }
    }

    /// An error when it ends before it should, or not at all.
    fn run(&self, case: &Case) -> Result<Outcome, ChildError> {
        let run = Run::new(1)
            .unwrap()
            .with_shim()
            .unwrap()
            .with("WARPLENS_LEVEL", "stacks")
            .with("WARPLENS_KEEP_FD", "1")
            .with("WARPLENS_CUPTI", case.library.to_str().unwrap())
            .with("WARPLENS_SIM_FOREIGN", &case.character);
        let mut command = run.command(&self.program).unwrap();
        let mut child = Child::start(&mut command, run.folder(), "host").unwrap();
        child.line("ready", LIMIT)?;
        let held = wait::until(LIMIT, || ring::hold(child.pid())).unwrap();
        assert!(child.write("\n"));
        if let Asking::Restless(mut dice) = case.asking.clone() {
            while child.alive() && !child.stdout().contains("synchronized") {
                let levels = [Level::Dormant, Level::Watching, Level::Counting, Level::Stacks];
                held.ask(levels[dice.below(4)], 100).unwrap();
                std::thread::sleep(Duration::from_millis(20 + dice.below(150) as u64));
            }
        }
        child.line("synchronized", LIMIT)?;
        let pid = child.pid();
        let truth = || Truth::read(&run.truth().join(format!("{pid}.truth"))).unwrap();
        if matches!(case.expected, Exact | ExactWork) {
            // A process that exits gives CUPTI only as much time as the shim has patience.
            let settled = || (truth().joined().all(|work| work.settled.is_some())).then_some(());
            wait::until(LIMIT, settled);
        }
        assert!(child.write("\n"));
        let ended = child.wait(LIMIT)?;
        let truth = truth();
        let handed = handed::compare(&truth, &held.records().unwrap());
        Ok(Outcome { ended, view: held.view().unwrap(), handed })
    }

    /// What is wrong with a run, in words.
    fn complaint(&self, case: &Case) -> Option<String> {
        let outcome = match self.run(case) {
            Ok(outcome) => outcome,
            Err(error) => return Some(format!("{}: {error}; {:?}", case.character, case.asking)),
        };
        let Outcome { ended, view, handed } = &outcome;
        let lost = view.lost();
        let off = (view.off_reason().unwrap(), view.cupti_error());
        let on = off.0 == OffReason::None;
        // The program makes some 1 700 launches; a run that shows none would prove nothing.
        let much = handed.handed > 1_000 && handed.launches > 500;
        let fits = match case.expected {
            Exact => on && much && handed.exact() && lost == 0 && view.names_full() == 0,
            ExactWork => on && much && handed.missing + handed.invented + lost == 0,
            Counted => {
                let complete = handed.seen + lost >= handed.handed + handed.dropped;
                let dropped = view.cupti_dropped() == handed.dropped;
                on && lost > 0 && complete && dropped && handed.invented == 0
            }
            Honest => on && handed.honest(lost),
            Expected::Sound => handed.invented == 0,
            Off(reason, error) => off == (reason, error) && handed.invented == 0,
        };
        let unchanged = *ended == self.bare && view.panics() == 0;
        (!fits || !unchanged).then(|| {
            format!(
                "{}: expected {:?}, found {off:?}, lost {lost}, dropped {}, names full {}, panics {}, \
                 {handed:?}, {ended:?}; asking {:?}",
                case.character,
                case.expected,
                view.cupti_dropped(),
                view.names_full(),
                view.panics(),
                case.asking
            )
        })
    }

    /// Runs all cases, some at a time.
    fn check(&self, cases: Vec<Case>) {
        let count = cases.len();
        let left = Mutex::new(cases);
        let complaints = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..ABREAST {
                scope.spawn(|| {
                    loop {
                        let Some(case) = left.lock().unwrap().pop() else { break };
                        if let Some(complaint) = self.complaint(&case) {
                            complaints.lock().unwrap().push(complaint);
                        }
                    }
                });
            }
        });
        let complaints = complaints.into_inner().unwrap();
        assert!(
            complaints.is_empty(),
            "{} of {count}:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
    }

    /// A copy of the library that lacks a function: the loader does not find it by its name.
    fn without(&self, function: &str) -> PathBuf {
        let mut bytes = fs::read(artefacts::foreign_cupti().unwrap()).unwrap();
        let name = format!("\0{function}\0");
        let at: Vec<usize> = bytes
            .windows(name.len())
            .enumerate()
            .filter(|(_, window)| *window == name.as_bytes())
            .map(|(index, _)| index)
            .collect();
        assert!(!at.is_empty(), "no {function} in the library");
        for index in at {
            bytes[index + 1] = b'x';
        }
        let path = self.folder.path().join(format!("without-{function}.so"));
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn case(character: String, expected: Expected) -> Case {
    let library = artefacts::foreign_cupti().unwrap();
    Case { library, character, asking: Asking::Nobody, expected }
}

#[test]
fn every_habit_alone_leaves_the_program_alone_and_is_counted_right() {
    require!(Shim);
    let seed = dice::seed();
    let cases = HABITS.iter().enumerate().map(|(index, (habit, expected))| {
        case(format!("seed={},{habit}", seed.wrapping_add(index as u64)), *expected)
    });
    Bench::new().check(cases.collect());
}

#[test]
fn records_of_every_version_are_read() {
    require!(Shim);
    // The version is drawn from the seed, and so is how much longer the records are.
    let cases = (0..15_u64)
        .flat_map(|seed| [format!("seed={seed}"), format!("seed={seed},long-records,strangers")]);
    Bench::new().check(cases.map(|character| case(character, Exact)).collect());
}

#[test]
fn version_numbers_that_nobody_published_are_survived() {
    require!(Shim);
    let numbers = [0, 1, 17, 99, 12_999, 130_399, 130_400, 140_000, u32::MAX];
    let cases = numbers
        .into_iter()
        .flat_map(|number| (0..3).map(move |seed| format!("version={number},seed={seed}")));
    Bench::new().check(cases.map(|character| case(character, Exact)).collect());
}

#[test]
fn every_function_may_fail() {
    require!(Shim);
    let cases =
        FAILURES.iter().map(|(failure, expected)| case(format!("fail={failure}"), *expected));
    Bench::new().check(cases.collect());
}

#[test]
fn every_function_may_be_missing() {
    require!(Shim);
    let bench = Bench::new();
    let needed = NEEDED.iter().map(|name| (*name, Off(OffReason::CuptiIncomplete, 0)));
    let optional = OPTIONAL.iter().map(|name| (*name, Exact));
    let cases = needed.chain(optional).map(|(name, expected)| Case {
        library: bench.without(name),
        ..case(String::new(), expected)
    });
    let cases = cases.collect();
    bench.check(cases);
}

/// A mix of habits, and perhaps a function that fails, under somebody who asks for other levels.
fn mix(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let mut items = vec![format!("seed={seed}")];
    for _ in 0..=dice.below(7) {
        items.push(HABITS[1 + dice.below(HABITS.len() - 1)].0.to_owned());
    }
    if dice.below(3) == 0 {
        let (failure, _) = FAILURES[dice.below(FAILURES.len())];
        let function = failure.split(':').next().unwrap();
        // A record that is too short, and no step to tell it by, is beyond what can be noticed.
        items.retain(|item| function != "cuptiActivityGetNextRecord" || item != "short-records");
        let codes = [1, 7, 8, 15, 21, 35, 39, 999];
        items.push(format!("fail={function}:{}:{}", codes[dice.below(8)], 1 + dice.below(9)));
    }
    // Whose launch CUPTI did not tell of, nobody can know of.
    let secretive = items.iter().any(|item| item == "lost-enters");
    let off = items.iter().any(|item| item.starts_with("fail="));
    let expected = if secretive || off { Expected::Sound } else { Honest };
    let asking = if dice.below(2) == 0 { Asking::Nobody } else { Asking::Restless(dice) };
    Case { asking, ..case(items.join(","), expected) }
}

#[test]
fn no_launch_is_missed_while_levels_change() {
    require!(Shim);
    let seed = dice::seed();
    let habits = ["", "slow-switches", "slow-flush", "late-buffers", "launching-threads", "crowd"];
    let rounds = dice::rounds(3);
    let cases = (0..u64::from(rounds)).flat_map(|round| {
        habits.map(|habit| {
            let seed = seed.wrapping_add(round);
            let asking = Asking::Restless(Dice::new(seed));
            Case { asking, ..case(format!("seed={seed},{habit}"), Honest) }
        })
    });
    Bench::new().check(cases.collect());
}

#[test]
fn mixes_of_habits_are_survived() {
    require!(Shim);
    let seed = dice::seed();
    let rounds = dice::rounds(MIXES);
    println!("{rounds} mixes from seed {seed} on");
    Bench::new().check((0..rounds).map(|round| mix(seed.wrapping_add(round.into()))).collect());
}
