//! docs/hardware.md: the questions, and the answers that came from GPUs. No answer of the simulated CUDA gets there.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// The form of the answers.
const SCHEMA: &str = "warplens.gpu-answers/v1";

/// Question numbers and texts, in order: a tab between them.
const QUESTIONS: &str = include_str!("../../../tests/gpu/questions.tsv");

const BEGIN: &str = "<!-- answers: written by `cargo xtask gpu report`, do not edit -->";
const END: &str = "<!-- end of answers -->";

fn stored(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/gpu/answers.json")
}

fn page(workspace: &Workspace) -> PathBuf {
    workspace.root.join("docs/hardware.md")
}

/// Takes answers into the repository and writes the page.
pub(super) fn keep(workspace: &Workspace, answers: &Path) -> Result<()> {
    let text =
        fs::read_to_string(answers).with_context(|| format!("read {}", answers.display()))?;
    let document = parse(&text).with_context(|| answers.display().to_string())?;
    let path = page(workspace);
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = with_table(&page, &table(Some(&document)))?;
    crate::kept::write(&stored(workspace), &document)?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    println!(
        "{} and {} are written. Next: correct what the answers disprove, and what the page says above its table",
        workspace.short(&path),
        workspace.short(&stored(workspace))
    );
    Ok(())
}

/// Answers, if they are answers of a GPU.
fn parse(text: &str) -> Result<Value> {
    let document: Value = serde_json::from_str(text).context("no JSON document")?;
    ensure!(document["schema"] == SCHEMA, "these are no answers of the form {SCHEMA}");
    let answers = document["answers"].as_array().context("there are no answers in it")?;
    ensure!(!answers.is_empty(), "there are no answers in it");
    for answer in answers {
        match answer["simulated"].as_bool() {
            Some(false) => {}
            Some(true) => bail!(
                "question {} was asked on the simulated CUDA: nothing of that says anything about a GPU, and \
                 docs/hardware.md takes no such answer",
                answer["question"]
            ),
            None => bail!("question {} does not say whether it was simulated", answer["question"]),
        }
        for key in ["step", "outcome"] {
            ensure!(answer[key].is_string(), "question {} has no {key}", answer["question"]);
        }
    }
    Ok(document)
}

/// A row for each question; `open` where nothing answers it.
fn table(document: Option<&Value>) -> String {
    let mut text = "| # | question | answer |\n|---|---|---|\n".to_owned();
    for (number, question) in QUESTIONS.lines().filter_map(|line| line.split_once('\t')) {
        let answers: Vec<String> = document
            .and_then(|document| document["answers"].as_array())
            .into_iter()
            .flatten()
            .filter(|answer| number.parse() == Ok(answer["question"].as_u64().unwrap_or(0)))
            .map(|answer| cell(answer, document.map_or("", |document| word(&document["commit"]))))
            .collect();
        let answer = if answers.is_empty() { "open".to_owned() } else { answers.join("<br>") };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "| {number} | {question} | {answer} |");
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One answer: what was found, and where.
fn cell(answer: &Value, commit: &str) -> String {
    let sentences: Vec<&str> =
        answer["sentences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let begin = match word(&answer["outcome"]) {
        "answered" => String::new(),
        "cannot" => "not asked: ".to_owned(),
        other => format!("**{other}**: "),
    };
    let machine = &answer["machine"];
    let or_unknown =
        |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let place = format!(
        "{}, driver {}, CUDA {}, CUPTI {} ({}), kernel {}, {}, `{commit}`",
        or_unknown(word(&machine["gpu"])),
        or_unknown(word(&machine["driver"])),
        machine["cuda"],
        machine["cupti"],
        or_unknown(word(&machine["cupti_path"])),
        or_unknown(word(&machine["kernel"])),
        or_unknown(word(&machine["date"]))
    );
    let whole = format!("*{}*: {begin}{} ({place})", word(&answer["step"]), sentences.join(" "));
    // A table's cell is one line, and a bar ends it.
    whole.replace(['\n', '\r'], " ").replace('|', "\\|")
}

/// The page with another table between the two marks.
fn with_table(page: &str, table: &str) -> Result<String> {
    let (before, rest) =
        page.split_once(BEGIN).context("docs/hardware.md has no mark where answers begin")?;
    let (_, after) =
        rest.split_once(END).context("docs/hardware.md has no mark where answers end")?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(simulated: bool) -> Value {
        json!({"schema": SCHEMA, "commit": "1234567", "answers": [
            {"question": 1, "step": "worker", "outcome": "answered", "simulated": simulated, "seconds": 3,
             "sentences": ["7 of 7 kernels.", "a | b"], "machine": {"gpu": "G", "driver": "1.2", "cuda": 13000,
             "cupti": 26, "cupti_path": "/x/libcupti.so.12", "kernel": "6.1", "date": "2026-01-02"}},
            {"question": 1, "step": "pytorch", "outcome": "cannot", "simulated": simulated, "seconds": 1,
             "sentences": ["no PyTorch"], "machine": {}},
            {"question": 4, "step": "worker", "outcome": "failed", "simulated": simulated, "seconds": 1,
             "sentences": ["3 start before"], "machine": {}}]})
    }

    #[test]
    fn answers_of_the_simulated_cuda_are_refused() {
        assert!(parse(&answers(false).to_string()).is_ok());
        let error = parse(&answers(true).to_string()).unwrap_err().to_string();
        assert!(error.contains("simulated CUDA"), "{error}");
        let mut silent = answers(false);
        silent["answers"][2]["simulated"] = Value::Null;
        assert!(parse(&silent.to_string()).is_err());
        assert!(parse("{}").is_err());
    }

    #[test]
    fn a_row_has_every_answer_to_its_question_and_where_it_was_seen() {
        let table = table(Some(&answers(false)));
        let row = |number: u32| {
            table
                .lines()
                .find(|line| line.starts_with(&format!("| {number} |")))
                .unwrap()
                .to_owned()
        };
        for part in [
            "*worker*: 7 of 7 kernels. a \\| b (G, driver 1.2, CUDA 13000, CUPTI 26 (/x/libcupti.so.12), kernel 6.1, 2026-01-02, `1234567`)",
            "<br>*pytorch*: not asked: no PyTorch (unknown,",
        ] {
            assert!(row(1).contains(part), "no `{part}` in {}", row(1));
        }
        assert!(row(4).contains("*worker*: **failed**: 3 start before"), "{}", row(4));
        assert!(row(5).ends_with("| open |"), "{}", row(5));
    }

    #[test]
    fn the_page_shows_what_is_kept_and_nothing_else() {
        let workspace = Workspace::find().unwrap();
        let kept = fs::read_to_string(stored(&workspace)).ok();
        let document = kept.map(|text| parse(&text).unwrap());
        let page = fs::read_to_string(page(&workspace)).unwrap();
        assert_eq!(with_table(&page, &table(document.as_ref())).unwrap(), page);
        let says_nothing = page.contains("**Nothing yet.**");
        assert_eq!(says_nothing, document.is_none(), "the statement above the table");
    }
}
