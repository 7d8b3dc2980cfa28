//! Answers for the screen.

use std::fmt::Write as _;

use super::answer::{Answer, Answers, Outcome};

/// One answer: number, step, outcome, and its sentences below each other.
pub fn row(answer: &Answer) -> String {
    let outcome = match answer.outcome {
        Outcome::Answered => "answered",
        Outcome::Cannot => "cannot",
        Outcome::Failed => "FAILED",
    };
    let simulated = if answer.simulated { " SIMULATED" } else { "" };
    let mut text = format!(
        "{:>2} {:<10} {outcome}{simulated} ({} s)\n",
        answer.question, answer.step, answer.seconds
    );
    for sentence in &answer.sentences {
        text.push_str("     ");
        text.push_str(sentence);
        text.push('\n');
    }
    text
}

/// All of them, and a line of verdict.
pub fn table(answers: &Answers) -> String {
    let mut text: String = answers.answers.iter().map(row).collect();
    let count = |outcome| answers.answers.iter().filter(|answer| answer.outcome == outcome).count();
    let simulated = answers.answers.iter().any(|answer| answer.simulated);
    if simulated {
        text.push_str("SIMULATED, nothing of this was seen on a GPU: ");
    }
    let [answered, cannot, failed] =
        [Outcome::Answered, Outcome::Cannot, Outcome::Failed].map(count);
    // Writing to a String cannot fail.
    let _infallible =
        writeln!(text, "{answered} answered, {cannot} cannot be asked here, {failed} failed");
    text
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    #[test]
    fn the_table_says_what_failed_and_what_was_simulated() {
        let mut answers = Answers::none("c");
        answers.put(answer(1, "worker", "7 of 7 kernels"));
        assert!(!table(&answers).contains("SIMULATED"));
        let failed =
            Answer { outcome: Outcome::Failed, simulated: true, ..answer(4, "worker", "x") };
        answers.put(failed);
        let text = table(&answers);
        for part in [
            " 1 worker     answered (1 s)\n     7 of 7 kernels\n",
            " 4 worker     FAILED SIMULATED",
            "1 answered, 0 cannot be asked here, 1 failed",
        ] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
    }
}
