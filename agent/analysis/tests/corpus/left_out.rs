//! What is left of the agreement when part of the corpus is left out.
//!
//! Rules learn nothing, but whoever wrote them had seen the corpus. So for each part in turn, every
//! alternative that decides names of that part and of no other is taken out of the rules, and the
//! part is classified with what remains. Two things stay: an alternative that decides no name of
//! the corpus, as it does not owe itself to the part, and one that the shared facts on kernel names
//! hold, as it is documented and not read off the part.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "tests print and panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use analysis::classify::{Classifier, Demand, Hints, Parsed, Rule};

use crate::rows::{Row, class_of, rows, short};

/// A rule's line, a condition of it, and which of its alternatives was found.
type Token = (usize, &'static str, String);

/// Least share of classes that agree with an origin left out, in thousandths of its names: a
/// little under what is reached. Whole families have one origin (GGUF's `mul_mat_` and `moe_q` are
/// in one wheel only), and nothing else can know them.
const ORIGIN_FLOORS: [(&str, usize); 8] = [
    ("vllm-0.33.0 wheel", 915),
    ("torch-2.14.0 wheel", 990),
    ("seen in a published trace", 990),
    ("sgl_kernel-0.3.21 wheel", 820),
    ("nvidia-cublas wheel", 950),
    ("nvidia-nccl wheel", 1000),
    ("flashinfer wheel", 960),
    ("trap: seen in a published trace", 1000),
];
/// Same over all families, each left out in turn.
const FAMILY_FLOOR: usize = 960;

/// The facts on kernel names: conventions, families and traps, in lower case; empty where it is not there.
#[expect(clippy::disallowed_methods, reason = "the test reads the facts, not the library")]
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/facts/vllm.md");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let section = text.split("\n## 2.").nth(1).unwrap_or_default();
    section.split("\n## 3.").next().unwrap_or_default().to_lowercase()
}

fn tokens(classifier: &Classifier, row: &Row) -> Vec<Token> {
    let Some(explanation) = classifier.explain(&row.name, &Hints::default()) else {
        return Vec::new();
    };
    let line = explanation.rule.line;
    let found = explanation.found.iter();
    found.map(|found| (line, found.field, found.alternative.to_owned())).collect()
}

/// The rules without `gone`; a rule one of whose conditions lost all it had goes too.
fn without(rules: &[Rule], gone: &BTreeSet<Token>) -> Classifier {
    let left = rules.iter().filter_map(|rule| {
        let mut rule = rule.clone();
        let line = rule.line;
        for condition in rule.conditions.iter_mut().filter(|condition| !condition.negated) {
            let field = condition.field.as_str();
            if let Demand::Text { alternatives, .. } = &mut condition.demand {
                alternatives.retain(|text| !gone.contains(&(line, field, text.clone())));
                if alternatives.is_empty() {
                    return None;
                }
            }
        }
        Some(rule)
    });
    Classifier::of(left.collect()).unwrap()
}

/// For each part: names, and how many classes agree when it is left out.
fn leave_out(rows: &[Row], part_of: impl Fn(&Row) -> String) -> BTreeMap<String, (usize, usize)> {
    let classifier = Classifier::default();
    let documented = documented();
    let mut support: BTreeMap<Token, BTreeSet<String>> = BTreeMap::new();
    let mut parts: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let part = part_of(row);
        for token in tokens(&classifier, row) {
            support.entry(token).or_default().insert(part.clone());
        }
        parts.entry(part).or_default().push(row);
    }
    let mut result = BTreeMap::new();
    for (part, members) in parts {
        let own = support.iter().filter(|(_, by)| by.len() == 1 && by.contains(&part));
        let own = own.filter(|((.., text), _)| !documented.contains(text.as_str()));
        let gone: BTreeSet<Token> = own.map(|(token, _)| token.clone()).collect();
        let left =
            if gone.is_empty() { classifier.clone() } else { without(classifier.rules(), &gone) };
        let wrong = members.iter().filter(|row| class_of(&left, &row.name) != row.class);
        let mut count = 0;
        for row in wrong {
            println!("without {part}: {} is lost: {}", row.label, short(&row.name));
            count += 1;
        }
        result.insert(part, (members.len(), members.len() - count));
    }
    result
}

#[test]
fn each_origin_left_out() {
    let Some(rows) = rows("each_origin_left_out") else { return };
    let found = leave_out(&rows, |row| row.origin.clone());
    for (origin, (names, right)) in &found {
        println!("{origin}: {right} of {names} classes agree with it left out");
    }
    for (origin, floor) in ORIGIN_FLOORS {
        let (names, right) = found[origin];
        assert!(right * 1000 >= names * floor, "{origin}: {right} of {names}");
    }
    assert_eq!(found.len(), ORIGIN_FLOORS.len(), "an origin has no floor");
}

/// A family is all names of one function: instances, dialects, mangled or not.
#[test]
fn each_family_left_out() {
    let Some(rows) = rows("each_family_left_out") else { return };
    let found = leave_out(&rows, |row| {
        format!("{} {}", row.label, Parsed::new(&row.name).path.to_lowercase())
    });
    let names: usize = found.values().map(|(names, _)| names).sum();
    let right: usize = found.values().map(|(_, right)| right).sum();
    println!(
        "{} families: {right} of {names} classes agree with the own one left out",
        found.len()
    );
    assert!(right * 1000 >= names * FAMILY_FLOOR, "{right} of {names}");
}
