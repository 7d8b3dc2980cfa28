//! Each test of a run by name and outcome, read from what libtest prints with `--test-threads 1 --show-output`.

use serde::{Deserialize, Serialize};

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum Outcome {
    Passed,
    /// It said so itself.
    Skipped {
        reason: String,
    },
    Failed {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Test {
    pub name: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// In the order in which they ran. A test whose end was not told has failed.
pub(crate) fn parse(text: &str) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    // Of which test the lines are, once their output is shown.
    let mut shown: Option<usize> = None;
    let mut panicked = false;
    for line in text.lines() {
        if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            shown = tests.iter().position(|test| test.name == name);
            panicked = false;
        } else if let Some(test) = shown.and_then(|index| tests.get_mut(index)) {
            detail(test, line, &mut panicked);
        } else if let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            let outcome = ended(result.trim()).unwrap_or_else(unfinished);
            tests.push(Test { name: name.to_owned(), outcome });
        } else if let (Some(test), Some(outcome)) = (tests.last_mut(), ended(line.trim())) {
            // Something a child printed stood between the name and the result.
            if test.outcome == unfinished() {
                test.outcome = outcome;
            }
        }
    }
    tests
}

fn ended(result: &str) -> Option<Outcome> {
    match result {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed { why: String::new() }),
        "ignored" => Some(Outcome::Skipped { reason: "ignored".to_owned() }),
        _ => None,
    }
}

fn unfinished() -> Outcome {
    Outcome::Failed { why: "did not come to an end".to_owned() }
}

/// A line of what a test printed: why it was skipped, or what it panicked with.
fn detail(test: &mut Test, line: &str, panicked: &mut bool) {
    match &mut test.outcome {
        Outcome::Passed => {
            if let Some(reason) = line.trim_start().strip_prefix("SKIP ") {
                test.outcome = Outcome::Skipped { reason: reason.to_owned() };
            }
        }
        Outcome::Failed { why } if why.is_empty() && *panicked => line.trim().clone_into(why),
        Outcome::Failed { .. } | Outcome::Skipped { .. } => {}
    }
    *panicked = line.starts_with("thread '") && line.contains("panicked at ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_has_its_outcome_and_its_words() {
        let text = "\nrunning 5 tests\n\
            test a::passes ... ok\n\
            test a::skips ... ok\n\
            test b::fails ... FAILED\n\
            test b::talks ... said by a child\n\
            ok\n\
            test b::hangs ... \n\
            \nsuccesses:\n\n\
            ---- a::skips stdout ----\nSKIP bpf: kernel 5.10 is older than 5.15\n\
            ---- a::passes stdout ----\nsaid FAILED\n\nsuccesses:\n    a::passes\n\nfailures:\n\n\
            ---- b::fails stdout ----\n\nthread 'b::fails' (7) panicked at b.rs:3:5:\nno sample\nnote: x\n\n\
            failures:\n    b::fails\n\ntest result: FAILED. 3 passed; 1 failed\n";
        let tests = parse(text);
        let outcome = |name: &str| {
            tests.iter().find(|test| test.name == name).map(|test| test.outcome.clone()).unwrap()
        };
        assert_eq!(tests.len(), 5);
        assert_eq!(outcome("a::passes"), Outcome::Passed);
        assert_eq!(
            outcome("a::skips"),
            Outcome::Skipped { reason: "bpf: kernel 5.10 is older than 5.15".to_owned() }
        );
        assert_eq!(outcome("b::fails"), Outcome::Failed { why: "no sample".to_owned() });
        assert_eq!(outcome("b::talks"), Outcome::Passed);
        assert_eq!(outcome("b::hangs"), unfinished());
    }
}
