//! Asks step after step, and keeps each answer before the next question.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::answer::{Answer, Answers, FileError, Machine, Outcome};

/// What a step found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub sentences: Vec<String>,
}

impl Found {
    /// The same with one more fact.
    #[must_use]
    pub fn and(mut self, sentence: impl Into<String>) -> Self {
        self.sentences.push(sentence.into());
        self
    }
}

/// Why a step has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It cannot be asked here.
    #[error("{0}")]
    Cannot(String),
    /// It was asked, and what came is not what Warplens says of itself, or nothing came.
    #[error("{0}")]
    Failed(String),
    /// Somebody asked for the end: there is no answer.
    #[error("interrupted")]
    Interrupted,
}

/// A step of the list. `W`: what it needs to ask.
#[derive(Debug)]
pub struct Step<W> {
    pub question: u32,
    pub name: &'static str,
    /// All of it, children included. Reached: the step has failed.
    pub limit: Duration,
    pub ask: fn(&W) -> Result<Found, StepError>,
}

/// What is the same for every answer of a run.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub simulated: bool,
    pub machine: Machine,
}

/// Asks each step. `begin` is told the step's limit and gives what it needs; `keep` gets all answers after each.
/// `now`: seconds of some clock. False once somebody asked for the end.
///
/// # Errors
/// When the answers cannot be kept: then asking on would be in vain.
pub fn ask<W>(
    steps: &[&Step<W>],
    stamp: &Stamp,
    answers: &mut Answers,
    mut begin: impl FnMut(&Step<W>) -> W,
    mut keep: impl FnMut(&Answers, &Answer) -> Result<(), FileError>,
    mut now: impl FnMut() -> f64,
) -> Result<bool, FileError> {
    for step in steps {
        let started = now();
        let with = begin(step);
        // A step that panics is a step that failed; what it started ends as it unwinds.
        let asked = catch_unwind(AssertUnwindSafe(|| (step.ask)(&with)))
            .unwrap_or_else(|_| Err(StepError::Failed("the step itself panicked".to_owned())));
        let (outcome, found) = match asked {
            Ok(found) => (Outcome::Answered, found),
            Err(StepError::Interrupted) => return Ok(false),
            Err(StepError::Cannot(why)) => (Outcome::Cannot, Found::default().and(why)),
            Err(StepError::Failed(what)) => (Outcome::Failed, Found::default().and(what)),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a step, which are few and not negative"
        )]
        let seconds = (now() - started).ceil() as u64;
        let answer = Answer {
            question: step.question,
            step: step.name.to_owned(),
            outcome,
            sentences: found.sentences,
            simulated: stamp.simulated,
            machine: stamp.machine.clone(),
            seconds,
        };
        answers.put(answer.clone());
        keep(answers, &answer)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn step(question: u32, ask: fn(&()) -> Result<Found, StepError>) -> Step<()> {
        Step { question, name: "t", limit: Duration::from_secs(1), ask }
    }

    fn run(steps: &[Step<()>], path: &Path) -> (Answers, bool) {
        let mut answers = Answers::none("c");
        let stamp = Stamp { simulated: true, machine: Machine::default() };
        let steps: Vec<&Step<()>> = steps.iter().collect();
        let keep = |answers: &Answers, _: &Answer| answers.write(path);
        let whole = ask(&steps, &stamp, &mut answers, |_| (), keep, || 0.0).unwrap();
        (Answers::read(path).unwrap().unwrap_or(answers), whole)
    }

    #[test]
    fn every_way_to_end_is_told_and_labelled() {
        let folder = tempfile::tempdir().unwrap();
        let steps = [
            step(1, |()| Ok(Found::default().and("seven"))),
            step(2, |()| Err(StepError::Cannot("no root".to_owned()))),
            step(3, |()| Err(StepError::Failed("the worker did not end within 1 s".to_owned()))),
            step(4, |()| panic!("a step's own fault")),
        ];
        let (answers, whole) = run(&steps, &folder.path().join("answers.json"));
        let outcomes: Vec<Outcome> = answers.answers.iter().map(|answer| answer.outcome).collect();
        assert!(whole && answers.failed());
        assert_eq!(
            outcomes,
            [Outcome::Answered, Outcome::Cannot, Outcome::Failed, Outcome::Failed]
        );
        assert!(answers.answers.iter().all(|answer| answer.simulated));
    }

    #[test]
    fn an_interruption_keeps_what_was_answered() {
        let folder = tempfile::tempdir().unwrap();
        let steps = [
            step(1, |()| Ok(Found::default().and("seven"))),
            step(2, |()| Err(StepError::Interrupted)),
            step(3, |()| Ok(Found::default().and("not asked"))),
        ];
        let (answers, whole) = run(&steps, &folder.path().join("answers.json"));
        assert!(!whole);
        assert_eq!(answers.answers.len(), 1);
        assert_eq!(answers.answers[0].sentences, ["seven"]);
    }
}
