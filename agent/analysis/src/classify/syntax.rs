//! Reads rule files: from text to [`Rule`]s, or to what is wrong with the first line that is.
//!
//! The syntax is told at the top of `rules.txt`. A file of a user is read by the same code as the
//! built-in one, so nothing can be said in one and not in the other. Decides nothing about names.

use std::fmt;
use std::sync::Arc;

use super::{Class, Kind};

/// Longest rule file taken, bytes: thirty times the built-in one. Only bounds memory.
pub(super) const RULES_BYTES_MAX: usize = 1 << 20;

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The last part of the path.
    Function,
    /// The qualified name without return type, template and call arguments.
    Path,
    /// All that can be read, arguments included.
    Name,
    /// File name of the module the kernel was loaded from.
    Module,
    /// Any one frame of the launch stack.
    Frame,
    /// Threads in a block.
    Block,
    /// Blocks in the grid.
    Grid,
    /// Bytes of dynamic shared memory.
    Shared,
}

impl Field {
    const ALL: [(&str, Self); 8] = [
        ("function", Self::Function),
        ("path", Self::Path),
        ("name", Self::Name),
        ("module", Self::Module),
        ("frame", Self::Frame),
        ("block", Self::Block),
        ("grid", Self::Grid),
        ("shared", Self::Shared),
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Path => "path",
            Self::Name => "name",
            Self::Module => "module",
            Self::Frame => "frame",
            Self::Block => "block",
            Self::Grid => "grid",
            Self::Shared => "shared",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Block | Self::Grid | Self::Shared)
    }
}

/// How a text is compared with an alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Is,
    Starts,
    Ends,
    Has,
    /// Whole words, where `camelCase` and `snake_case` both end words.
    Word,
}

impl Test {
    const ALL: [(&str, Self); 5] = [
        ("is", Self::Is),
        ("starts", Self::Starts),
        ("ends", Self::Ends),
        ("has", Self::Has),
        ("word", Self::Word),
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::Starts => "starts",
            Self::Ends => "ends",
            Self::Has => "has",
            Self::Word => "word",
        }
    }
}

/// What must hold of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    Text { test: Test, alternatives: Vec<String> },
    AtLeast(u64),
    AtMost(u64),
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub negated: bool,
    pub field: Field,
    pub demand: Demand,
}

/// One line of a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose file it stands in.
    pub source: Arc<str>,
    pub line: usize,
    /// The heading it stands under.
    pub family: Arc<str>,
    /// As written, spaces narrowed.
    pub text: String,
    pub kind: Kind,
    pub conditions: Vec<Condition>,
    /// Names the file says this rule decides.
    pub examples: Vec<String>,
}

/// What is wrong with a rule file: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    pub source: String,
    pub line: usize,
    /// Characters from the start of the line, from 1.
    pub column: usize,
    pub problem: String,
    pub advice: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, column, problem, advice } = self;
        write!(f, "{source}:{line}:{column}: {problem}: {advice}")
    }
}

impl std::error::Error for RuleError {}

/// Every rule of `text`, in order.
pub fn read(source: &str, text: &str) -> Result<Vec<Rule>, RuleError> {
    let source: Arc<str> = source.into();
    let fail = |line: usize, Problem { column, what: problem, advice }: Problem| RuleError {
        source: source.as_ref().to_owned(),
        line,
        column,
        problem,
        advice,
    };
    if text.len() > RULES_BYTES_MAX {
        let problem = Problem::new(
            1,
            format!("{} bytes of rules", text.len()),
            format!("use at most {RULES_BYTES_MAX}"),
        );
        return Err(fail(1, problem));
    }
    let mut family: Arc<str> = "".into();
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(heading) = trimmed.strip_prefix("==") {
            family = heading.trim().trim_end_matches('=').trim_end().into();
        } else if let Some(example) = trimmed.strip_prefix("e.g.") {
            let Some(rule) = rules.last_mut() else {
                let problem = Problem::new(
                    1,
                    "an example before the first rule".to_owned(),
                    "put it below the rule that decides it".to_owned(),
                );
                return Err(fail(number, problem));
            };
            rule.examples.push(example.trim().to_owned());
        } else {
            let (kind, conditions) = rule(line).map_err(|problem| fail(number, problem))?;
            rules.push(Rule {
                source: Arc::clone(&source),
                line: number,
                family: Arc::clone(&family),
                text: trimmed.split_whitespace().collect::<Vec<_>>().join(" "),
                kind,
                conditions,
                examples: Vec::new(),
            });
        }
    }
    Ok(rules)
}

struct Problem {
    column: usize,
    what: String,
    advice: String,
}

impl Problem {
    const fn new(column: usize, what: String, advice: String) -> Self {
        Self { column, what, advice }
    }
}

/// The words of a line with their columns; past the last one: nothing, at the end.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> (&'a str, usize) {
        let rest = self.line.get(self.at..).unwrap_or("");
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = self.line.get(start..).unwrap_or("");
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        self.at = start + length;
        let column = self.line.get(..start).unwrap_or("").chars().count() + 1;
        (&rest[..length], column)
    }
}

fn rule(line: &str) -> Result<(Kind, Vec<Condition>), Problem> {
    let mut words = Words { line, at: 0 };
    let (word, column) = words.next();
    let class = Class::parse(word).ok_or_else(|| {
        let known = Class::ALL.map(Class::as_str).join(", ");
        Problem::new(column, format!("unknown class `{word}`"), format!("use one of {known}"))
    })?;
    let (word, column) = words.next();
    // These two are what CUPTI's own records of copies and sets are.
    let usable = |kind: &Kind| !matches!(kind, Kind::Memcpy | Kind::Memset);
    let kind = Kind::parse(class, word).filter(usable).ok_or_else(|| {
        let known = Kind::ALL.iter().filter(|kind| kind.class() == class && usable(kind));
        let known: Vec<&str> = known.map(|kind| kind.as_str()).collect();
        Problem::new(
            column,
            format!("`{word}` is no kind of {class} kernels"),
            format!("use one of {}", known.join(", ")),
        )
    })?;
    let mut conditions = Vec::new();
    loop {
        let (word, column) = words.next();
        if word.is_empty() && !conditions.is_empty() {
            return Ok((kind, conditions));
        }
        conditions.push(condition(word, column, &mut words)?);
    }
}

fn condition(word: &str, column: usize, words: &mut Words<'_>) -> Result<Condition, Problem> {
    let negated = word == "not";
    let (word, column) = if negated { words.next() } else { (word, column) };
    let Some(&(_, field)) = Field::ALL.iter().find(|(text, _)| *text == word) else {
        let known = Field::ALL.map(|(text, _)| text).join(", ");
        let problem = match word {
            "" => "no condition".to_owned(),
            word => format!("unknown field `{word}`"),
        };
        return Err(Problem::new(column, problem, format!("use one of {known}")));
    };
    let (test, test_column) = words.next();
    let (value, value_column) = words.next();
    let demand = if field.is_number() {
        number(test, test_column, value, value_column)?
    } else {
        text(test, test_column, value, value_column)?
    };
    Ok(Condition { negated, field, demand })
}

fn number(test: &str, column: usize, value: &str, at: usize) -> Result<Demand, Problem> {
    let demand: fn(u64) -> Demand = match test {
        "atleast" => Demand::AtLeast,
        "atmost" => Demand::AtMost,
        _ => {
            return Err(Problem::new(
                column,
                format!("unknown test `{test}` of a number"),
                "use atleast or atmost".to_owned(),
            ));
        }
    };
    value.parse().map(demand).map_err(|error| {
        Problem::new(at, format!("`{value}`: {error}"), "use a whole number".to_owned())
    })
}

fn text(test: &str, column: usize, value: &str, at: usize) -> Result<Demand, Problem> {
    let Some(&(_, test)) = Test::ALL.iter().find(|(text, _)| *text == test) else {
        let known = Test::ALL.map(|(text, _)| text).join(", ");
        return Err(Problem::new(
            column,
            format!("unknown test `{test}`"),
            format!("use one of {known}"),
        ));
    };
    let mut column = at;
    let mut alternatives = Vec::new();
    for alternative in value.split('|') {
        let advice = if alternative.is_empty() {
            Some(("an alternative is empty", "write it, or take the `|` away"))
        } else if alternative.chars().any(char::is_uppercase) {
            Some(("an alternative has upper case", "write it in lower case; case does not count"))
        } else if test == Test::Word && alternative.contains(|c: char| !is_word(c) && c != '_') {
            Some(("a word has other than letters, digits and `_`", "use the test `has`"))
        } else {
            None
        };
        if let Some((problem, advice)) = advice {
            return Err(Problem::new(column, problem.to_owned(), advice.to_owned()));
        }
        alternatives.push(alternative.to_owned());
        column += alternative.chars().count() + 1;
    }
    Ok(Demand::Text { test, alternatives })
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::{Condition, Demand, Field, Test, read};

    #[test]
    fn a_wrong_line_says_where_why_and_what_to_do() {
        let fields = "use one of function, path, name, module, frame, block, grid, shared";
        let cases = [
            (
                "idle dense name has x",
                "1:1: unknown class `idle`: use one of attention, gemm, communication, other",
            ),
            (
                "gemm mla name has x",
                "1:6: `mla` is no kind of gemm kernels: use one of dense, moe, gemv",
            ),
            ("gemm dense", &format!("1:11: no condition: {fields}")),
            ("gemm dense  nam has x", &format!("1:13: unknown field `nam`: {fields}")),
            (
                "gemm dense name like x",
                "1:17: unknown test `like`: use one of is, starts, ends, has, word",
            ),
            (
                "gemm dense name has a||b",
                "1:23: an alternative is empty: write it, or take the `|` away",
            ),
            (
                "gemm dense name has a|B",
                "1:23: an alternative has upper case: write it in lower case; case does not count",
            ),
            (
                "gemm dense path word a::b",
                "1:22: a word has other than letters, digits and `_`: use the test `has`",
            ),
            (
                "gemm dense name has",
                "1:20: an alternative is empty: write it, or take the `|` away",
            ),
            (
                "gemm dense block has 1",
                "1:18: unknown test `has` of a number: use atleast or atmost",
            ),
            (
                "gemm dense block atleast many",
                "1:26: `many`: invalid digit found in string: use a whole number",
            ),
            ("\n# x\n  gemm dense not name has a x", &format!("3:29: unknown field `x`: {fields}")),
            (
                "e.g. x",
                "1:1: an example before the first rule: put it below the rule that decides it",
            ),
        ];
        for (text, expected) in cases {
            let found = read("my.rules", text).unwrap_err().to_string();
            assert_eq!(found, format!("my.rules:{expected}"), "{text}");
        }
        let long = " ".repeat(super::RULES_BYTES_MAX + 1);
        assert!(read("x", &long).unwrap_err().to_string().contains("use at most"));
    }

    #[test]
    fn copies_kinds_are_for_copy_records() {
        let found = read("x", "other memset name has a").unwrap_err().to_string();
        assert!(found.starts_with("x:1:7: `memset` is no kind of other kernels"), "{found}");
    }

    #[test]
    fn a_rule_knows_where_it_stands() {
        let text = "# comment\n== Family: shapes ==\n\ngemm moe  function has a|b  not block atmost 3\n e.g. xa\n";
        let rules = read("f", text).unwrap();
        assert_eq!(rules.len(), 1);
        let rule = &rules[0];
        assert_eq!((rule.line, &*rule.family, &*rule.source), (4, "Family: shapes", "f"));
        assert_eq!(rule.text, "gemm moe function has a|b not block atmost 3");
        assert_eq!(rule.examples, ["xa"]);
        let alternatives = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            rule.conditions,
            [
                Condition {
                    negated: false,
                    field: Field::Function,
                    demand: Demand::Text { test: Test::Has, alternatives },
                },
                Condition { negated: true, field: Field::Block, demand: Demand::AtMost(3) },
            ]
        );
    }
}
