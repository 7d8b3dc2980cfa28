//! What became of each step, kept in one file that is whole at every instant.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name and version of the file's form.
pub const SCHEMA: &str = "warplens.gpu-answers/v1";

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was asked, and the sentences answer it.
    Answered,
    /// It cannot be asked here; the first sentence says why.
    Cannot,
    /// Something did not do what Warplens says of it, or did not end; the first sentence says what.
    Failed,
}

/// Where it was asked. Empty: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The GPU's name.
    pub gpu: String,
    /// The driver's version.
    pub driver: String,
    /// What `cuDriverGetVersion` answers, 1000 x major + 10 x minor; 0: not known.
    pub cuda: u32,
    /// What `cuptiGetVersion` answers; 0: not known.
    pub cupti: u32,
    /// The libcupti that a worker had loaded.
    pub cupti_path: String,
    pub kernel: String,
    /// The day, UTC.
    pub date: String,
}

/// A step's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub question: u32,
    /// Which step of the question, such as `worker`.
    pub step: String,
    pub outcome: Outcome,
    /// One fact each, with numbers and units.
    pub sentences: Vec<String>,
    /// The CUDA was the simulated one: this says nothing about a GPU.
    pub simulated: bool,
    pub machine: Machine,
    /// How long the step took, s, rounded up.
    pub seconds: u64,
}

/// Every answer so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub schema: String,
    /// The code that was asked, as the bundle's list names it.
    pub commit: String,
    pub answers: Vec<Answer>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path} holds no answers of the form {SCHEMA}: {source}")]
    Form { path: String, source: serde_json::Error },
    #[error("{path} has the form {found}, not {SCHEMA}")]
    Schema { path: String, found: String },
}

impl Answers {
    /// None yet.
    pub fn none(commit: &str) -> Self {
        Self { schema: SCHEMA.to_owned(), commit: commit.to_owned(), answers: Vec::new() }
    }

    /// What is in the file; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let named = || path.display().to_string();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Io { path: named(), source }),
        };
        let answers: Self = serde_json::from_slice(&bytes)
            .map_err(|source| FileError::Form { path: named(), source })?;
        if answers.schema == SCHEMA {
            Ok(Some(answers))
        } else {
            Err(FileError::Schema { path: named(), found: answers.schema })
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let failed = |source| FileError::Io { path: path.display().to_string(), source };
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| FileError::Form { path: path.display().to_string(), source })?;
        text.push('\n');
        let partial = path.with_extension("partial");
        fs::write(&partial, text).map_err(failed)?;
        fs::rename(&partial, path).map_err(failed)
    }

    /// Keeps an answer, in the place of an earlier one to the same step; in the order of questions.
    pub fn put(&mut self, answer: Answer) {
        self.answers.retain(|old| (old.question, &old.step) != (answer.question, &answer.step));
        self.answers.push(answer);
        self.answers.sort_by_key(|answer| answer.question);
    }

    /// Whether some step failed.
    pub fn failed(&self) -> bool {
        self.answers.iter().any(|answer| answer.outcome == Outcome::Failed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gpu) fn answer(question: u32, step: &str, sentence: &str) -> Answer {
        Answer {
            question,
            step: step.to_owned(),
            outcome: Outcome::Answered,
            sentences: vec![sentence.to_owned()],
            simulated: false,
            machine: Machine::default(),
            seconds: 1,
        }
    }

    #[test]
    fn a_step_asked_again_replaces_its_answer_and_no_other() {
        let mut answers = Answers::none("c");
        for (question, step, sentence) in
            [(5, "worker", "a"), (1, "worker", "b"), (1, "pytorch", "c"), (1, "worker", "d")]
        {
            answers.put(answer(question, step, sentence));
        }
        let kept: Vec<&str> =
            answers.answers.iter().map(|answer| answer.sentences[0].as_str()).collect();
        assert_eq!(kept, ["c", "d", "a"]);
    }

    #[test]
    fn what_is_written_reads_back_and_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.json");
        assert_eq!(Answers::read(&path).unwrap(), None);
        let mut answers = Answers::none("c");
        answers.put(answer(1, "worker", "a"));
        answers.write(&path).unwrap();
        assert_eq!(Answers::read(&path).unwrap(), Some(answers));
        fs::write(&path, "{\"schema\":\"x/v9\",\"commit\":\"c\",\"answers\":[]}").unwrap();
        assert!(matches!(Answers::read(&path), Err(FileError::Schema { .. })));
        fs::write(&path, "[]").unwrap();
        assert!(matches!(Answers::read(&path), Err(FileError::Form { .. })));
    }
}
