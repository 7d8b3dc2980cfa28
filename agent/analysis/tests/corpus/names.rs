//! Rules know families: no alternative is a whole kernel name, and no rule is for one kernel.

use std::collections::{BTreeMap, BTreeSet};

use analysis::classify::{Classifier, Demand, Hints, Parsed, Test, words};

use crate::rows::rows;

/// Names so generic that they stand for a family themselves: wrappers, and what the CUDA runtime
/// calls its own copies.
const GENERIC: [&str; 7] =
    ["kernel", "kernel2", "device_kernel", "fwd_kernel", "memcpy", "memset", "gemm_kernel"];

/// A whole name may be a family's word, as `get_group_gemm_starts` is in
/// `__mxfp4_get_group_gemm_starts`: then some other function has it too.
#[test]
fn no_alternative_is_one_kernels_whole_name() {
    let Some(rows) = rows("no_alternative_is_one_kernels_whole_name") else { return };
    let classifier = Classifier::default();
    let examples = classifier.rules().iter().flat_map(|rule| rule.examples.iter());
    let names: Vec<&str> = rows.iter().map(|row| &row.name).chain(examples).map(|s| &**s).collect();
    let mut functions: BTreeSet<String> = BTreeSet::new();
    let mut whole: BTreeSet<String> = BTreeSet::new();
    for name in names {
        let parsed = Parsed::new(name);
        functions.insert(words(parsed.function()));
        whole.insert(name.to_lowercase().trim_matches('_').to_owned());
        whole.insert(parsed.path.to_lowercase().trim_matches('_').to_owned());
    }
    let mut wrong = Vec::new();
    for rule in classifier.rules() {
        for condition in rule.conditions.iter().filter(|condition| !condition.negated) {
            let Demand::Text { alternatives, .. } = &condition.demand else { continue };
            for alternative in alternatives {
                let bare = alternative.trim_matches('_');
                let word = words(alternative);
                let having = functions.iter().filter(|function| function.contains(&word)).count();
                if whole.contains(bare) && having < 2 && !GENERIC.contains(&bare) {
                    wrong.push(format!("rules.txt:{}: {alternative}", rule.line));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_generic_names_are_compared_whole() {
    let mut wrong = Vec::new();
    for rule in Classifier::default().rules() {
        for condition in &rule.conditions {
            let Demand::Text { test: Test::Is, alternatives } = &condition.demand else { continue };
            let mut specific =
                alternatives.iter().filter(|text| !GENERIC.contains(&text.trim_matches('_')));
            wrong.extend(specific.next().map(|text| format!("rules.txt:{}: {text}", rule.line)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_rule_is_for_more_than_one_kernel() {
    let Some(rows) = rows("a_rule_is_for_more_than_one_kernel") else { return };
    let classifier = Classifier::default();
    let mut decides: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        if let Some(explanation) = classifier.explain(&row.name, &Hints::default()) {
            let function = Parsed::new(&row.name).function().to_lowercase();
            decides.entry(explanation.rule.line).or_default().insert(function);
        }
    }
    let mut wrong = Vec::new();
    for rule in classifier.rules() {
        let mut functions = decides.remove(&rule.line).unwrap_or_default();
        let examples = rule.examples.iter();
        functions.extend(examples.map(|name| Parsed::new(name).function().to_lowercase()));
        // What a wrapper carries stands in its arguments, so its function is always the same.
        let wrapper = rule.text.contains("device_kernel") || rule.text.contains(" name ");
        if functions.len() < 2 && !wrapper {
            wrong.push(format!("rules.txt:{}: {functions:?}: {}", rule.line, rule.text));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
