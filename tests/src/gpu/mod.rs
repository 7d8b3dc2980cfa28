//! The questions that only a machine with an NVIDIA GPU can answer, asked one by one; `gpu-list` is the program.
//!
//! A step asks one question with one client: the Rust worker, or PyTorch. What it starts are children with a time
//! limit, and nothing but these is ended. With the simulated CUDA the same steps run for a short time and every answer
//! says so: that tries the asking, and answers nothing about a GPU.

pub mod answer;
pub mod ask;
pub mod machine;
pub mod place;
pub mod pytorch;
pub mod recording;
pub mod steps;
pub mod table;

/// Question numbers and texts, in order: a tab between them.
const QUESTIONS: &str = include_str!("../../gpu/questions.tsv");

/// Every question: its number and its text.
pub fn questions() -> impl Iterator<Item = (u32, &'static str)> {
    QUESTIONS.lines().filter_map(|line| {
        let (number, text) = line.split_once('\t')?;
        Some((number.parse().ok()?, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_numbered_and_every_one_is_asked() {
        let numbers: Vec<u32> = questions().map(|(number, _)| number).collect();
        let expected: Vec<u32> = (1..=u32::try_from(QUESTIONS.lines().count()).unwrap()).collect();
        assert_eq!(numbers, expected);
        for number in numbers {
            assert!(steps::STEPS.iter().any(|step| step.question == number), "{number}");
        }
    }
}
