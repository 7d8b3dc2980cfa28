//! What was seen in a kernel: read from the folder that the steps filled, and kept as a file per kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::libtest::{self, Outcome, Test};
use super::steps;

const SCHEMA: &str = "warplens.kernels/v1";

/// Checks of `doctor` that depend on the kernel, by name.
const CHECKS: [&str; 8] = [
    "kernel",
    "kernel types (BTF)",
    "stacks of launches",
    "CPU samples",
    "Python stacks",
    "process starts and ends",
    "thread states",
    "independent launch count",
];
/// What `doctor` says of a feature that lacks nothing.
const WHOLE: &str = "available";

/// A kernel, and how it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// As it was asked for, such as `6.1`.
    pub asked: String,
    /// `None`: the kernel of the machine around.
    pub package: Option<String>,
    /// `tcg`, `kvm`, or `direct`.
    pub how: String,
    pub commit: String,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub schema: String,
    #[serde(flatten)]
    pub place: Place,
    /// As the kernel names itself.
    pub release: String,
    /// What `doctor` says of the kernel's features that is not simply that they are there.
    pub lost: Vec<Lost>,
    pub tests: Vec<Test>,
    /// Nanoseconds of a hit, by the name of the figure without `probe/`.
    pub probes: BTreeMap<String, Figure>,
    /// Steps that did not do what they should.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub feature: String,
    pub why: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Seen {
    /// Tests that passed, failed, were skipped.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let count =
            |of: fn(&Outcome) -> bool| self.tests.iter().filter(|test| of(&test.outcome)).count();
        [
            count(|outcome| matches!(outcome, Outcome::Passed)),
            count(|outcome| matches!(outcome, Outcome::Failed { .. })),
            count(|outcome| matches!(outcome, Outcome::Skipped { .. })),
        ]
    }

    /// Nothing failed, and every step ran.
    pub(crate) fn is_good(&self) -> bool {
        self.counts()[1] == 0 && self.problems.is_empty()
    }
}

/// Reads what the steps left in `folder`.
pub(crate) fn read(folder: &Path, place: Place) -> Result<Seen> {
    let text = |step: &str| fs::read_to_string(folder.join(step)).unwrap_or_default();
    let release = text(steps::KERNEL).trim().to_owned();
    if release.is_empty() {
        bail!("nothing was run in the kernel: {} is empty", folder.display());
    }
    let mut problems = Vec::new();
    for (step, may_fail) in [
        (steps::DOCTOR, false),
        (steps::PROBES, false),
        // Failed tests are told one by one.
        (steps::KERNEL_TESTS, true),
        (steps::INTEGRATION_TESTS, true),
    ] {
        let status = text(&format!("{step}.status"));
        let said = text(&format!("{step}.errors"));
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        match status.trim() {
            "0" => {}
            "101" if may_fail => {}
            "" => problems.push(format!("{step}: was not run")),
            "124" | "137" => problems.push(format!("{step}: took too long and was ended")),
            code => problems.push(format!("{step}: exit code {code}: {last}")),
        }
    }
    let mut tests = libtest::parse(&text(steps::KERNEL_TESTS));
    tests.extend(libtest::parse(&text(steps::INTEGRATION_TESTS)));
    if tests.is_empty() {
        problems.push("no test ran".to_owned());
    }
    let lost = parse_doctor(&text(steps::DOCTOR)).unwrap_or_else(|error| {
        problems.push(format!("{}: {error:#}", steps::DOCTOR));
        Vec::new()
    });
    Ok(Seen {
        schema: SCHEMA.to_owned(),
        place,
        release,
        lost,
        tests,
        probes: parse_probes(&text(steps::PROBES)),
        problems,
    })
}

fn parse_doctor(text: &str) -> Result<Vec<Lost>> {
    let document: Value = serde_json::from_str(text).context("read what doctor said")?;
    let checks = document["checks"].as_array().context("doctor named no checks")?;
    let mut lost = Vec::new();
    for name in CHECKS {
        let check = checks
            .iter()
            .find(|check| check["name"] == name)
            .with_context(|| format!("doctor has no check `{name}`"))?;
        let found = check["found"].as_str().unwrap_or_default();
        // A feature that is there but for something says so.
        let reduced = check["state"] == "ok" && found.starts_with(&format!("{WHOLE}; "));
        if check["state"] == "missing" || reduced {
            lost.push(Lost { feature: name.to_owned(), why: found.to_owned() });
        }
    }
    Ok(lost)
}

fn parse_probes(text: &str) -> BTreeMap<String, Figure> {
    let mut figures: BTreeMap<String, Figure> = BTreeMap::new();
    for line in text.lines() {
        let Ok(said) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(name), Some(value)) = (said["bench"].as_str(), said["value"].as_f64()) else {
            continue;
        };
        let Some(name) = name.strip_prefix("probe/") else { continue };
        if let Some(of) = name.strip_suffix("-lowest") {
            figures.entry(of.to_owned()).or_default().lowest = value;
        } else if let Some(of) = name.strip_suffix("-highest") {
            figures.entry(of.to_owned()).or_default().highest = value;
        } else {
            figures.entry(name.to_owned()).or_default().median = value;
        }
    }
    figures
}

/// The files of a folder, one per kernel that was asked for.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub(crate) fn save(&self, seen: &Seen) -> Result<()> {
        let path = self.folder.join(format!("{}.json", seen.place.asked));
        let text = serde_json::to_string_pretty(seen).context("write down what was seen")?;
        fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))
    }

    /// All that is kept, by the kernels' numbers, the machine's own last.
    pub(crate) fn all(&self) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        let entries = fs::read_dir(&self.folder)
            .with_context(|| format!("list {}", self.folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", self.folder.display()))?.path();
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let seen: Seen = serde_json::from_str(&text).with_context(|| {
                format!("{} is not what this version writes: remove it", path.display())
            })?;
            all.push(seen);
        }
        all.sort_by_key(|seen| (seen.place.package.is_none(), numbers(&seen.release)));
        Ok(all)
    }
}

fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doctor_says_is_lost_and_reduced() {
        let check = |name: &str, state: &str, found: &str| serde_json::json!({"name": name, "state": state, "found": found});
        let mut checks: Vec<Value> =
            CHECKS.iter().map(|name| check(name, "ok", "available")).collect();
        checks[0] = check("kernel", "ok", "6.1");
        checks[4] = check("Python stacks", "missing", "kernel 5.15 is older than 5.17");
        checks[5] = check("process starts and ends", "ok", "available; but for this");
        checks.push(check("CUDA driver", "missing", "not of the kernel"));
        let text = serde_json::json!({ "checks": checks }).to_string();
        let lost = parse_doctor(&text).unwrap();
        let said: Vec<(&str, &str)> =
            lost.iter().map(|lost| (lost.feature.as_str(), lost.why.as_str())).collect();
        assert_eq!(
            said,
            [
                ("Python stacks", "kernel 5.15 is older than 5.17"),
                ("process starts and ends", "available; but for this")
            ]
        );
        parse_doctor("{\"checks\": []}").unwrap_err();
        parse_doctor("").unwrap_err();
    }

    #[test]
    fn figures_are_gathered_by_probe() {
        let line = |name: &str, value: f64| {
            format!("{{\"bench\":\"{name}\",\"value\":{value},\"unit\":\"ns\"}}\n")
        };
        let text = [
            line("probe/nop1", 3.5),
            line("probe/nop1-lowest", 2.5),
            line("probe/nop1-highest", 9.5),
        ];
        let figures = parse_probes(&text.concat());
        let expected = Figure { median: 3.5, lowest: 2.5, highest: 9.5 };
        assert_eq!(figures, BTreeMap::from([("nop1".to_owned(), expected)]));
    }

    #[test]
    fn a_kernel_in_which_nothing_ran_is_an_error_and_a_step_that_did_not_end_is_told() {
        let folder = std::env::temp_dir().join(format!("warplens-kernels-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place =
            Place { asked: "6.1".into(), package: None, how: "tcg".into(), commit: "0".into() };
        read(&folder, place.clone()).unwrap_err();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("kernel", "6.1.0\n");
        write("doctor.status", "0");
        write("probes.status", "1");
        write("probes.errors", "no memory\n");
        write("kernel-tests.status", "124");
        write("kernel-tests", "test a ... ok\ntest b ... \n");
        write("integration-tests.status", "101");
        let seen = read(&folder, place).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(seen.counts(), [1, 1, 0]);
        assert_eq!(seen.problems.len(), 3, "{:?}", seen.problems);
        assert!(seen.problems[0].contains("exit code 1: no memory"));
        assert!(seen.problems[1].contains("took too long"));
        assert!(seen.problems[2].starts_with("doctor: "));
    }

    #[test]
    fn kernels_are_in_the_order_of_their_numbers() {
        assert!(numbers("6.1.0-56-amd64") < numbers("6.12.90+deb13.1-amd64"));
    }
}
