//! Whether a profile of a Python program gives each function the time that the program itself measured.
//!
//! Reads folded stacks (`frame;frame;... value`, root first) in which a Python frame is
//! `module.qualname (file.py:LINE)`. A stack belongs to the innermost of its frames that the program
//! measured, as the program's own account goes to the function entered last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Functions below this share of the time are not judged: a few samples more or less are chance.
pub const JUDGED_PERCENT: f64 = 5.0;

/// What a program knows of one of its functions.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// `module.qualname`, before 3.11 `module.name`.
    pub frame: String,
    pub first_line: u32,
    pub last_line: u32,
    /// CPU time, without that of other functions measured.
    pub cpu_ns: u64,
    /// Time off the CPU, likewise.
    pub off_ns: u64,
    /// Of it, how long the thread could have run and waited for a CPU: after a sleep, which a profile
    /// counts with the sleep, or because it had to make room for others, which is no sleep.
    #[serde(default)]
    pub waiting_ns: u64,
}

/// A program's last line.
#[derive(Clone, Debug, Deserialize)]
pub struct ProgramTruth {
    pub truth: BTreeMap<String, Function>,
    /// Version of its interpreter.
    pub python: String,
    pub wall_ns: u64,
    /// CPU time of the whole process while it worked.
    #[serde(default)]
    pub cpu_ns: u64,
    /// Why each function waited, where it did.
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
}

/// A Python frame's text taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonFrame<'t> {
    /// `module.qualname`.
    pub function: &'t str,
    pub file: &'t str,
    pub line: u32,
}

impl<'t> PythonFrame<'t> {
    /// `None` of any other frame.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (function, place) = text.strip_suffix(')')?.split_once(" (")?;
        let (file, line) = place.rsplit_once(':')?;
        Some(Self { function, file, line: line.parse().ok()? })
    }
}

/// A folded list of stacks.
#[derive(Clone, Debug, Default)]
pub struct Folded<'t> {
    /// Frames root first, and value.
    pub stacks: Vec<(Vec<&'t str>, u64)>,
}

impl<'t> Folded<'t> {
    /// # Errors
    /// With the number of a line that is no stack.
    pub fn parse(text: &'t str) -> Result<Self, usize> {
        let mut stacks = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let (stack, value) = line.rsplit_once(' ').ok_or(index + 1)?;
            let value = value.parse().map_err(|_not_a_number| index + 1)?;
            stacks.push((stack.split(';').collect(), value));
        }
        Ok(Self { stacks })
    }

    pub fn total(&self) -> u64 {
        self.stacks.iter().map(|(_, value)| value).sum()
    }

    /// Value of the stacks one of whose frames is `wanted`, percent of all.
    pub fn percent_with(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let with: u64 = self
            .stacks
            .iter()
            .filter(|(frames, _)| frames.iter().any(|frame| wanted(frame)))
            .map(|(_, value)| value)
            .sum();
        percent(with, self.total())
    }

    /// Value by function of the program; that of no function under `None`.
    fn by_function<'p>(&self, program: &'p ProgramTruth) -> BTreeMap<Option<&'p str>, u64> {
        let mut found = BTreeMap::new();
        for (frames, value) in &self.stacks {
            *found.entry(innermost(frames, program).map(|(name, _)| name)).or_default() += value;
        }
        found
    }
}

/// The program's function that a stack belongs to, and its frame.
fn innermost<'p, 't>(
    frames: &[&'t str],
    program: &'p ProgramTruth,
) -> Option<(&'p str, PythonFrame<'t>)> {
    frames.iter().rev().filter_map(|text| PythonFrame::parse(text)).find_map(|frame| {
        let function = program.truth.iter().find(|(_, function)| function.frame == frame.function);
        function.map(|(name, _)| (name.as_str(), frame))
    })
}

/// One function, as it was and as the profile says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionRow {
    pub function: String,
    pub truth: f64,
    pub found: f64,
}

impl FunctionRow {
    pub fn distance(&self) -> f64 {
        (self.truth - self.found).abs()
    }
}

/// Shares of CPU time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuVerdict {
    /// In measured functions.
    pub samples: u64,
    /// Percent of the CPU time of all measured functions.
    pub rows: Vec<FunctionRow>,
    /// What belongs to no function, percent of the process's CPU time. It is not judged: what the program
    /// spends on measuring itself counts here in its account, and with its functions in a profile.
    pub none: FunctionRow,
    /// Frames of measured functions whose line is not one of that function.
    pub misplaced: Vec<String>,
}

impl CpuVerdict {
    /// Greatest distance from the truth among the functions that are judged, points.
    pub fn worst(&self) -> f64 {
        let judged = self.rows.iter().filter(|row| row.truth >= JUDGED_PERCENT);
        judged.map(FunctionRow::distance).fold(0.0, f64::max)
    }

    /// Functions that are judged.
    pub fn judged(&self) -> usize {
        self.rows.iter().filter(|row| row.truth >= JUDGED_PERCENT).count()
    }
}

/// Judges samples on the CPU (`cpu.folded`).
pub fn cpu(folded: &Folded<'_>, program: &ProgramTruth) -> CpuVerdict {
    let found = folded.by_function(program);
    let of = |name: Option<&str>| found.get(&name).copied().unwrap_or(0);
    let measured: u64 = program.truth.values().map(|function| function.cpu_ns).sum();
    let sampled: u64 = program.truth.keys().map(|name| of(Some(name))).sum();
    let rows = program.truth.iter().map(|(name, function)| FunctionRow {
        function: name.clone(),
        truth: percent(function.cpu_ns, measured),
        found: percent(of(Some(name)), sampled),
    });
    let none = FunctionRow {
        function: "(none of them)".to_owned(),
        truth: percent(program.cpu_ns.saturating_sub(measured), program.cpu_ns),
        found: percent(of(None), folded.total()),
    };
    CpuVerdict {
        samples: sampled,
        rows: rows.collect(),
        none,
        misplaced: misplaced(folded, program),
    }
}

fn misplaced(folded: &Folded<'_>, program: &ProgramTruth) -> Vec<String> {
    let mut wrong: Vec<String> = folded
        .stacks
        .iter()
        .filter_map(|(frames, _)| innermost(frames, program))
        .filter(|(name, frame)| {
            let function = &program.truth[*name];
            !(function.first_line..=function.last_line).contains(&frame.line)
        })
        .map(|(_, frame)| format!("{frame:?}"))
        .collect();
    wrong.sort();
    wrong.dedup();
    wrong
}

/// One function's time off the CPU, ns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OffRow {
    pub function: String,
    /// It slept at least so long, and was off the CPU at most so long.
    pub least: f64,
    pub most: f64,
    pub found: f64,
}

impl OffRow {
    /// How far outside of what is possible, percent of it.
    pub fn distance_percent(&self) -> f64 {
        let outside = (self.least - self.found).max(self.found - self.most).max(0.0);
        100.0 * outside / self.most.max(1.0)
    }
}

/// Time off the CPU of the functions that have at least [`JUDGED_PERCENT`] of it, and of the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OffVerdict {
    pub judged: Vec<OffRow>,
    pub others: Vec<OffRow>,
    pub misplaced: Vec<String>,
}

impl OffVerdict {
    /// Greatest distance from what is possible among the functions that are judged, percent.
    pub fn worst_percent(&self) -> f64 {
        self.judged.iter().map(OffRow::distance_percent).fold(0.0, f64::max)
    }
}

/// Judges time off the CPU (`offcpu.folded`).
pub fn off_cpu(folded: &Folded<'_>, program: &ProgramTruth) -> OffVerdict {
    let found = folded.by_function(program);
    let total: u64 = program.truth.values().map(|function| function.off_ns).sum();
    let rows = program.truth.iter().map(|(name, function)| OffRow {
        function: name.clone(),
        least: float(function.off_ns.saturating_sub(function.waiting_ns)),
        most: float(function.off_ns),
        found: float(found.get(&Some(name.as_str())).copied().unwrap_or(0)),
    });
    let (judged, others) = rows.partition(|row| 100.0 * row.most >= JUDGED_PERCENT * float(total));
    OffVerdict { judged, others, misplaced: misplaced(folded, program) }
}

#[expect(clippy::cast_precision_loss, reason = "times of seconds in ns, below 2^52")]
fn float(value: u64) -> f64 {
    value as f64
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * float(part) / float(whole).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> ProgramTruth {
        serde_json::from_str(
            r#"{"python": "3.12.1", "wall_ns": 1000, "cpu_ns": 1000, "truth": {
                "spin": {"frame": "shares.spin", "first_line": 3, "last_line": 9, "cpu_ns": 500, "off_ns": 0},
                "visit": {"frame": "shares.Tree.visit", "first_line": 20, "last_line": 30, "cpu_ns": 300, "off_ns": 90},
                "nap": {"frame": "shares.nap", "first_line": 40, "last_line": 41, "cpu_ns": 0, "off_ns": 910, "waiting_ns": 10}}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_frame_is_taken_apart_whatever_its_name() {
        let frame = PythonFrame::parse("a.f.<locals>.<lambda> (b (2).py:12)").unwrap();
        assert_eq!(
            frame,
            PythonFrame { function: "a.f.<locals>.<lambda>", file: "b (2).py", line: 12 }
        );
        for other in ["std::f(int)", "f (a.py)", "[cut]", "read [k]", ""] {
            assert_eq!(PythonFrame::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_stack_belongs_to_the_innermost_function_that_was_measured() {
        let text = "p;shares.spin (shares.py:5);json.dumps (json.py:1);malloc 60\n\
                    p;shares.spin (shares.py:5);shares.Tree.visit (shares.py:22);shares.Tree.visit (shares.py:30) 25\n\
                    p;shares.other (shares.py:99) 15\n";
        let folded = Folded::parse(text).unwrap();
        let verdict = cpu(&folded, &program());
        assert_eq!(verdict.samples, 85);
        let found: Vec<(&str, f64, f64)> =
            verdict.rows.iter().map(|row| (row.function.as_str(), row.truth, row.found)).collect();
        assert_eq!(
            found,
            [("nap", 0.0, 0.0), ("spin", 62.5, 6000.0 / 85.0), ("visit", 37.5, 2500.0 / 85.0)]
        );
        assert_eq!((verdict.none.truth, verdict.none.found), (20.0, 15.0));
        // `nap` is too small to be judged.
        assert_eq!(verdict.judged(), 2);
        assert!((verdict.worst() - (37.5 - 2500.0 / 85.0)).abs() < 1e-9);
        assert!(verdict.misplaced.is_empty());
        assert!((folded.percent_with(|frame| frame == "malloc") - 60.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_outside_its_function_is_told() {
        let folded = Folded::parse("p;shares.spin (shares.py:10) 1\n").unwrap();
        assert_eq!(cpu(&folded, &program()).misplaced.len(), 1);
    }

    #[test]
    fn waits_are_judged_against_their_own_size() {
        // Of 910 it waited 10 for a CPU, which a profile may count or not.
        for (found, distance) in [(1001, 10.0), (905, 0.0), (900, 0.0), (809, 10.0)] {
            let text = format!(
                "p;shares.nap (shares.py:41) {found}\np;shares.Tree.visit (shares.py:22) 90\n"
            );
            let verdict = off_cpu(&Folded::parse(&text).unwrap(), &program());
            assert_eq!((verdict.judged.len(), verdict.others.len()), (2, 1));
            assert!((verdict.worst_percent() - distance).abs() < 1e-9, "{verdict:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_stack_is_named() {
        assert_eq!(Folded::parse("a;b 1\na;b\n").unwrap_err(), 2);
    }
}
