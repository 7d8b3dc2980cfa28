//! Finds which conditions hold of a name, all at once.
//!
//! All alternatives that look at one text are searched in one pass (Aho-Corasick), so the time is
//! linear in the name's length whatever the rules say, and no name can make it slow.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

use super::hints::{Hints, extent};
use super::name::{Parsed, words};
use super::syntax::{Condition, Demand, Field, Rule, Test};

/// One searched text of a name: a field, as it is or cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Text {
    Function,
    FunctionWords,
    Path,
    PathWords,
    Name,
    NameWords,
}

impl Text {
    const ALL: [Self; 6] = [
        Self::Function,
        Self::FunctionWords,
        Self::Path,
        Self::PathWords,
        Self::Name,
        Self::NameWords,
    ];

    const fn of(field: Field, test: Test) -> Option<Self> {
        match (field, test) {
            (Field::Function, Test::Word) => Some(Self::FunctionWords),
            (Field::Function, _) => Some(Self::Function),
            (Field::Path, Test::Word) => Some(Self::PathWords),
            (Field::Path, _) => Some(Self::Path),
            (Field::Name, Test::Word) => Some(Self::NameWords),
            (Field::Name, _) => Some(Self::Name),
            _ => None,
        }
    }
}

/// Where a found pattern counts.
#[derive(Clone, Copy, Debug)]
struct Use {
    condition: usize,
    alternative: usize,
    test: Test,
}

#[derive(Clone, Debug)]
struct Search {
    text: Text,
    automaton: AhoCorasick,
    /// By pattern.
    uses: Vec<Vec<Use>>,
}

/// A compiled list of rules.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    searches: Vec<Search>,
    /// Conditions of each rule, as numbers into what [`Matcher::decide`] marks.
    rules: Vec<std::ops::Range<usize>>,
    conditions: Vec<Condition>,
}

/// The alternative that made each condition hold, if one did.
type Marks = Vec<Option<usize>>;

impl Matcher {
    /// Knows nothing.
    pub(super) const EMPTY: Self =
        Self { searches: Vec::new(), rules: Vec::new(), conditions: Vec::new() };

    pub(super) fn new(rules: &[Rule]) -> Result<Self, BuildError> {
        let mut conditions = Vec::new();
        let mut ranges = Vec::with_capacity(rules.len());
        for rule in rules {
            let first = conditions.len();
            conditions.extend(rule.conditions.iter().cloned());
            ranges.push(first..conditions.len());
        }
        let mut searches = Vec::new();
        for text in Text::ALL {
            let mut patterns: Vec<String> = Vec::new();
            let mut uses: Vec<Vec<Use>> = Vec::new();
            let mut known: HashMap<String, usize> = HashMap::new();
            for (number, condition) in conditions.iter().enumerate() {
                let Demand::Text { test, alternatives } = &condition.demand else {
                    continue;
                };
                if Text::of(condition.field, *test) != Some(text) {
                    continue;
                }
                for (alternative, literal) in alternatives.iter().enumerate() {
                    let pattern = match test {
                        Test::Word => words(literal),
                        _ => literal.clone(),
                    };
                    let index = *known.entry(pattern.clone()).or_insert_with(|| {
                        patterns.push(pattern);
                        uses.push(Vec::new());
                        patterns.len() - 1
                    });
                    uses[index].push(Use { condition: number, alternative, test: *test });
                }
            }
            if !patterns.is_empty() {
                let automaton = AhoCorasick::builder()
                    .ascii_case_insensitive(true)
                    .kind(Some(AhoCorasickKind::DFA))
                    .build(&patterns)?;
                searches.push(Search { text, automaton, uses });
            }
        }
        Ok(Self { searches, rules: ranges, conditions })
    }

    /// The first rule all of whose conditions hold, and by which alternative each does.
    pub(super) fn decide(&self, parsed: &Parsed<'_>, hints: &Hints<'_>) -> Option<(usize, Marks)> {
        let mut marks: Marks = vec![None; self.conditions.len()];
        let mut scratch = String::new();
        for search in &self.searches {
            let text = match search.text {
                Text::Function => parsed.function(),
                Text::Path => &parsed.path,
                Text::Name => &parsed.name,
                Text::FunctionWords => cut(parsed.function(), &mut scratch),
                Text::PathWords => cut(&parsed.path, &mut scratch),
                Text::NameWords => cut(&parsed.name, &mut scratch),
            };
            for found in search.automaton.find_overlapping_iter(text) {
                for used in search.uses.get(found.pattern().as_usize()).into_iter().flatten() {
                    let holds = match used.test {
                        Test::Is => found.start() == 0 && found.end() == text.len(),
                        Test::Starts => found.start() == 0,
                        Test::Ends => found.end() == text.len(),
                        Test::Has | Test::Word => true,
                    };
                    if holds {
                        marks[used.condition].get_or_insert(used.alternative);
                    }
                }
            }
        }
        let number = self
            .rules
            .iter()
            .position(|range| range.clone().all(|number| self.holds(number, &mut marks, hints)))?;
        let of_rule = self.rules[number].clone().map(|number| marks[number]).collect();
        Some((number, of_rule))
    }

    fn holds(&self, number: usize, marks: &mut Marks, hints: &Hints<'_>) -> bool {
        let condition = &self.conditions[number];
        let found = match (&condition.demand, condition.field) {
            (Demand::Text { .. }, Field::Function | Field::Path | Field::Name) => {
                marks[number].is_some()
            }
            (Demand::Text { test, alternatives }, field) => {
                let module = hints.module.as_slice();
                let texts = if field == Field::Frame { hints.frames } else { module };
                if texts.is_empty() {
                    return false;
                }
                marks[number] = hinted(texts, *test, alternatives);
                marks[number].is_some()
            }
            (Demand::AtLeast(limit), field) => match number_of(field, hints) {
                Some(value) => value >= *limit,
                None => return false,
            },
            (Demand::AtMost(limit), field) => match number_of(field, hints) {
                Some(value) => value <= *limit,
                None => return false,
            },
        };
        found != condition.negated
    }
}

fn cut<'a>(text: &str, scratch: &'a mut String) -> &'a str {
    *scratch = words(text);
    scratch
}

fn number_of(field: Field, hints: &Hints<'_>) -> Option<u64> {
    match field {
        Field::Block => extent(hints.block),
        Field::Grid => extent(hints.grid),
        Field::Shared => hints.dynamic_shared.map(u64::from),
        _ => None,
    }
}

/// The alternative that any of `texts` meets.
fn hinted(texts: &[&str], test: Test, alternatives: &[String]) -> Option<usize> {
    let lower: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
    alternatives.iter().position(|alternative| {
        let alternative = alternative.as_str();
        match test {
            Test::Is => lower.iter().any(|text| text == alternative),
            Test::Starts => lower.iter().any(|text| text.starts_with(alternative)),
            Test::Ends => lower.iter().any(|text| text.ends_with(alternative)),
            Test::Has => lower.iter().any(|text| text.contains(alternative)),
            Test::Word => {
                let word = words(alternative);
                texts.iter().any(|text| words(text).contains(&word))
            }
        }
    })
}
