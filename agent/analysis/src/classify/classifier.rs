//! The ordered rules, compiled: the first one that matches decides.
//!
//! Built-in rules stand in `rules.txt`. Rules of the user come before them, in the order given.

use std::sync::{Arc, LazyLock};

use super::hints::Hints;
use super::matcher::Matcher;
use super::name::Parsed;
use super::syntax::{self, Demand, Rule, RuleError};
use super::{Class, Kind};

/// The built-in rules.
pub const BUILT_IN: &str = include_str!("rules.txt");
/// What the built-in file is called where a rule's place is told.
pub const BUILT_IN_NAME: &str = "rules.txt";

/// What a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Which of [`Classifier::rules`].
    pub rule: usize,
    pub class: Class,
    pub kind: Kind,
}

/// Why a rule decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    pub rule: &'a Rule,
    /// Each condition that text met: field, test, and the alternative that was found.
    pub found: Vec<Found<'a>>,
}

/// One condition that text met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub field: &'static str,
    pub test: &'static str,
    pub alternative: &'a str,
}

/// The rules, compiled once and shared by clones.
#[derive(Clone, Debug)]
pub struct Classifier {
    compiled: Arc<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    matcher: Matcher,
}

static DEFAULT: LazyLock<Option<Classifier>> =
    LazyLock::new(|| Classifier::only(BUILT_IN_NAME, BUILT_IN).ok());

impl Default for Classifier {
    /// The built-in rules; a test holds the file to being readable.
    fn default() -> Self {
        match &*DEFAULT {
            Some(classifier) => classifier.clone(),
            None => Self { compiled: Arc::new(Compiled::EMPTY) },
        }
    }
}

impl Compiled {
    const EMPTY: Self = Self { rules: Vec::new(), matcher: Matcher::EMPTY };
}

impl Classifier {
    /// The rules of `sources`, each a file's name and its text, before the built-in ones.
    pub fn with_rules<'s>(
        sources: impl IntoIterator<Item = (&'s str, &'s str)>,
    ) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        let mut last = BUILT_IN_NAME;
        for (source, text) in sources {
            rules.extend(syntax::read(source, text)?);
            last = source;
        }
        if rules.is_empty() {
            return Ok(Self::default());
        }
        rules.extend(syntax::read(BUILT_IN_NAME, BUILT_IN)?);
        Self::of(rules).map_err(|error| RuleError { source: last.to_owned(), ..error })
    }

    /// The rules of one text and no others.
    pub fn only(source: &str, text: &str) -> Result<Self, RuleError> {
        Self::of(syntax::read(source, text)?)
            .map_err(|error| RuleError { source: source.to_owned(), ..error })
    }

    /// These rules, in this order.
    pub fn of(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let matcher = Matcher::new(&rules).map_err(|error| RuleError {
            source: BUILT_IN_NAME.to_owned(),
            line: 1,
            column: 1,
            problem: format!("the rules cannot be compiled: {error}"),
            advice: "use fewer or shorter alternatives".to_owned(),
        })?;
        Ok(Self { compiled: Arc::new(Compiled { rules, matcher }) })
    }

    /// Every rule, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.compiled.rules
    }

    /// What `name` is, or `None` when no rule knows it (then: class and kind `other`).
    pub fn classify(&self, name: &str) -> Option<Matched> {
        self.classify_with(name, &Hints::default())
    }

    /// As [`Classifier::classify`], with what else is known of the kernel. Only rules that ask for
    /// a hint, which are those of generic names, can decide otherwise than without.
    pub fn classify_with(&self, name: &str, hints: &Hints<'_>) -> Option<Matched> {
        let (rule, _) = self.compiled.matcher.decide(&Parsed::new(name), hints)?;
        let kind = self.compiled.rules.get(rule)?.kind;
        Some(Matched { rule, class: kind.class(), kind })
    }

    /// The rule that decides `name`, and what of the name it found.
    pub fn explain(&self, name: &str, hints: &Hints<'_>) -> Option<Explanation<'_>> {
        let (rule, marks) = self.compiled.matcher.decide(&Parsed::new(name), hints)?;
        let rule = self.compiled.rules.get(rule)?;
        let met = rule.conditions.iter().zip(marks).filter(|(condition, _)| !condition.negated);
        let found = met.filter_map(|(condition, mark)| {
            let Demand::Text { test, alternatives } = &condition.demand else {
                return None;
            };
            let alternative = alternatives.get(mark?)?;
            Some(Found { field: condition.field.as_str(), test: test.as_str(), alternative })
        });
        Some(Explanation { rule, found: found.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, BUILT_IN_NAME, Classifier};
    use crate::classify::Hints;

    #[test]
    fn the_built_in_file_reads() {
        assert_eq!(Classifier::only(BUILT_IN_NAME, BUILT_IN).map(|_| ()), Ok(()));
        assert!(Classifier::default().rules().len() > 50);
    }

    #[test]
    fn every_example_is_decided_by_the_rule_it_stands_under() {
        let classifier = Classifier::default();
        let mut wrong = Vec::new();
        for rule in classifier.rules() {
            for example in &rule.examples {
                let found = classifier.explain(example, &Hints::default());
                let line = found.map(|explanation| explanation.rule.line);
                if line != Some(rule.line) {
                    wrong.push(format!("rules.txt:{}: {example}: decided by {line:?}", rule.line));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn every_rule_stands_in_a_family() {
        let lonely = |rule: &&super::Rule| rule.family.is_empty();
        assert_eq!(Classifier::default().rules().iter().filter(lonely).count(), 0);
    }
}
