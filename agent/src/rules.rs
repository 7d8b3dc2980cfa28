//! The user's classification rules: from files and settings to a [`Classifier`].
//!
//! Decides nothing about kernels: `analysis::classify` reads and applies the rules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use analysis::classify::{Classifier, RuleError};
use thiserror::Error;

/// Why rules cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    #[error("read rules {}: check that the file exists, may be read and is text", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// `FILE:LINE:COLUMN: problem: advice`.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// One text of rules and what to call it where a rule's place is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleText {
    pub name: String,
    pub text: String,
}

impl RuleText {
    /// The rules of a file.
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RulesError::Read { path: path.to_owned(), source })?;
        Ok(Self { name: path.display().to_string(), text })
    }
}

/// The rules of `texts`, in their order, before the built-in ones.
pub fn classifier(texts: &[RuleText]) -> Result<Classifier, RulesError> {
    let texts = texts.iter().map(|RuleText { name, text }| (name.as_str(), text.as_str()));
    Ok(Classifier::with_rules(texts)?)
}

/// The rules of these files, in their order, before the built-in ones.
pub fn from_files(paths: &[PathBuf]) -> Result<Classifier, RulesError> {
    let texts: Result<Vec<_>, _> = paths.iter().map(|path| RuleText::read(path)).collect();
    classifier(&texts?)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{RuleText, classifier, from_files};

    fn text(name: &str, text: &str) -> RuleText {
        RuleText { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_users_rules_come_first_and_in_their_order() {
        let ours = text("ours", "gemm moe function word acme\n");
        let more = text("more", "attention generic function word acme|nccl\n");
        let found = classifier(&[ours, more]).unwrap();
        let kind = |name: &str| found.classify(name).map(|matched| matched.kind.as_str());
        assert_eq!(kind("acme_kernel"), Some("moe"));
        assert_eq!(kind("ncclDevKernel_AllReduce"), Some("generic"));
        assert_eq!(kind("_gemma_rmsnorm_kernel"), Some("norm_act"));
    }

    #[test]
    fn a_wrong_rule_and_a_missing_file_say_where() {
        let error = classifier(&[text("my.rules", "\ngemm dense fun has x\n")]).unwrap_err();
        assert!(error.to_string().starts_with("my.rules:2:12: unknown field `fun`: use one of "));
        let error = from_files(&[PathBuf::from("/nowhere/my.rules")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read rules /nowhere/my.rules: check that the file exists, may be read and is text"
        );
    }
}
