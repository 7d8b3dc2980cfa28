//! The last lines of a log, without what must not leave the machine.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use serde::{Deserialize, Serialize};

use super::source::LogSource;
use crate::bundle::{Known, Redactor};

/// Read of one log, bytes.
const BYTES_MAX: u64 = 64 << 10;

/// Longest line kept, characters.
const LINE_MAX: usize = 1000;

/// What requests were about is nobody's business: vLLM writes it behind this word with `--enable-log-requests`.
const PROMPT: &str = "prompt";

/// What a log said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLines {
    /// `standard error`, `standard output`, or the folder of a container's log.
    pub from: String,
    /// Latest last.
    pub lines: Vec<String>,
    /// Why there are none, where it is known.
    pub problem: Option<String>,
}

/// Reads logs by the rules of a bundle.
#[derive(Debug)]
pub struct Redacting {
    redactor: Redactor,
    lines: usize,
}

impl Redacting {
    /// `None` where the rules cannot be made: then nothing is read.
    pub fn of_this_machine(lines: usize) -> Option<Self> {
        let redactor = Redactor::new(Known::of_this_machine(), false).ok()?;
        Some(Self { redactor, lines })
    }

    /// The last lines of a log.
    pub fn read(&mut self, source: &LogSource) -> LastLines {
        let from = self.redactor.path(&source.name);
        match source.open().and_then(|file| end_of(&file)) {
            Ok(text) => LastLines { from, lines: self.lines(&text), problem: None },
            Err(error) => LastLines { from, lines: Vec::new(), problem: Some(error.to_string()) },
        }
    }

    fn lines(&mut self, text: &str) -> Vec<String> {
        // As a whole: a key may have several lines.
        let text = self.redactor.text(text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let first = lines.len().saturating_sub(self.lines);
        lines.get(first..).unwrap_or_default().iter().map(|line| shown(line)).collect()
    }
}

/// A line as a dump has it.
fn shown(line: &str) -> String {
    let line = match line.to_ascii_lowercase().find(PROMPT) {
        Some(at) => format!("{} [left out]", line.get(..at + PROMPT.len()).unwrap_or_default()),
        None => line.to_owned(),
    };
    // Colours, and what else would act on a terminal.
    line.chars().filter(|character| !character.is_control()).take(LINE_MAX).collect()
}

/// The end of a file, from the beginning of a line on: half a secret is not known for one.
fn end_of(mut file: &File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    let begin = length.saturating_sub(BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let whole = match bytes.iter().position(|&byte| byte == b'\n') {
        _ if begin == 0 => bytes.as_slice(),
        Some(end) => bytes.get(end + 1..).unwrap_or_default(),
        None => &[],
    };
    Ok(String::from_utf8_lossy(whole).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::logs::LogSettings;

    fn settings() -> LogSettings {
        LogSettings { folder: PathBuf::from("/nowhere"), lines: 3 }
    }

    fn sleeper(out: impl Into<Stdio>, err: impl Into<Stdio>) -> Child {
        Command::new("sleep").arg("60").stdout(out).stderr(err).spawn().unwrap()
    }

    fn sources(child: &mut Child) -> Vec<LogSource> {
        let found = LogSource::find(child.id(), None, &settings());
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }

    fn read(source: &LogSource) -> LastLines {
        Redacting::of_this_machine(3).unwrap().read(source)
    }

    #[test]
    fn the_last_lines_of_a_process_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = "one\ntwo\nthree\n\x1b[31mtoken=hf_abcdefghijklmnop0123\x1b[0m\n\nlast, from 10.1.2.3\n";
        fs::write(&path, text).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let found = sources(&mut sleeper(file.try_clone().unwrap(), file));
        assert_eq!(found.len(), 1, "one file is one log");
        // Whatever becomes of its name.
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        let last = read(&found[0]);
        assert_eq!((last.from.as_str(), last.problem), ("standard error", None));
        assert_eq!(last.lines.len(), 3, "{:?}", last.lines);
        assert_eq!(last.lines[0], "three");
        let all = last.lines.join("\n");
        assert!(!all.contains("hf_abc") && !all.contains("10.1.2.3"), "{all}");
        assert!(all.contains("token=") && !all.contains('\x1b'), "{all}");
    }

    #[test]
    fn two_files_are_two_logs_and_pipes_none() {
        let [out, err] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let found = sources(&mut sleeper(out, err));
        let names: Vec<&str> = found.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["standard error", "standard output"]);
        assert!(sources(&mut sleeper(Stdio::piped(), Stdio::null())).is_empty());
        assert!(LogSource::find(u32::MAX, None, &settings()).is_empty());
    }

    #[test]
    fn what_people_asked_is_left_out() {
        let mut redacting = Redacting::of_this_machine(3).unwrap();
        let line = "INFO Received request cmpl-1: prompt: 'my illness', params: x";
        assert_eq!(redacting.lines(line), ["INFO Received request cmpl-1: prompt [left out]"]);
        let line = "Prompt_token_ids=[1, 2]";
        assert_eq!(redacting.lines(line), ["Prompt [left out]"]);
    }

    #[test]
    fn a_line_that_begins_outside_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(usize::try_from(BYTES_MAX).unwrap());
        fs::write(file.path(), format!("{long}secret\nwhole\n")).unwrap();
        assert_eq!(end_of(&File::open(file.path()).unwrap()).unwrap(), "whole\n");
        fs::write(file.path(), format!("{long}{long}")).unwrap();
        assert_eq!(end_of(&File::open(file.path()).unwrap()).unwrap(), "");
        assert_eq!(shown(&"é".repeat(2 * LINE_MAX)).chars().count(), LINE_MAX);
    }
}
