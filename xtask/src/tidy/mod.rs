//! `cargo xtask tidy`: rules of the house that no compiler checks. Each rule is a file; each finding
//! names file, line and what to do.

mod documented;
mod imports;
mod leaks;
mod length;
mod licences;
mod limits;
mod source;
mod unsafety;
mod wire;
mod words;

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub file: PathBuf,
    /// From 1; `None`: the file as a whole.
    pub line: Option<usize>,
    pub what: String,
}

impl Finding {
    pub(crate) fn at(file: &Text, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.path.clone(), line: Some(line), what: what.into() }
    }

    pub(crate) fn of(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self { file: path.into(), line: None, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {}", self.what)
    }
}

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Relative to the root.
    pub path: PathBuf,
    pub content: String,
}

impl Text {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Its path with `/`, for comparing with prefixes.
    pub(crate) fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// What a rule reads.
#[derive(Clone, Copy)]
enum Rule {
    /// The files alone.
    Texts(fn(&[Text]) -> Vec<Finding>),
    /// What cargo knows of the packages, too.
    Packages(fn(&Workspace, &[Text]) -> Result<Vec<Finding>>),
}

const RULES: [(&str, Rule); 10] = [
    ("length", Rule::Texts(length::check)),
    ("imports", Rule::Packages(imports::check)),
    ("unsafe", Rule::Texts(unsafety::check)),
    ("words", Rule::Texts(words::check)),
    ("limits", Rule::Texts(limits::check)),
    ("wire", Rule::Texts(wire::check)),
    ("environment keys", Rule::Texts(documented::check_environment)),
    ("metric names", Rule::Texts(documented::check_metrics)),
    ("paths and hosts", Rule::Texts(leaks::check)),
    ("licences", Rule::Packages(licences::check)),
];

/// Applies every rule; an error when one finds something.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let texts = read(workspace)?;
    let mut findings = 0;
    for (name, rule) in RULES {
        let found = match rule {
            Rule::Texts(check) => check(&texts),
            Rule::Packages(check) => check(workspace, &texts)?,
        };
        for finding in &found {
            println!("tidy: {name}: {finding}");
        }
        findings += found.len();
    }
    if findings > 0 {
        bail!("tidy found {findings} things to mend");
    }
    println!("tidy: {} files keep {} rules", texts.len(), RULES.len());
    Ok(())
}

/// Every text file of the repository; what is not UTF-8 is no text.
fn read(workspace: &Workspace) -> Result<Vec<Text>> {
    let texts = workspace.files()?.into_iter().filter_map(|path| {
        let content = fs::read_to_string(workspace.root.join(&path)).ok()?;
        Some(Text { path, content })
    });
    Ok(texts.collect())
}
