//! Reads a profile as `go tool pprof` does: stacks with the file each frame lies in, which folded text
//! does not tell.

use std::io::Read as _;
use std::path::Path;

use prost::Message;

use crate::judge::JudgeError;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// A frame with the file it lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub name: String,
    /// File name of the mapped object; empty of Python and of what is no code.
    pub module: String,
    /// Source file; empty where not known.
    pub file: String,
    /// Line in it; 0 where not known.
    pub line: u32,
}

/// One stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Leaf first.
    pub frames: Vec<Frame>,
    /// The first of its values.
    pub value: u64,
    /// The label of this name.
    pub process: String,
}

/// The stacks of a profile.
///
/// # Errors
/// When the file cannot be read or is no profile.
pub fn read(path: &Path) -> Result<Vec<Stack>, JudgeError> {
    let parse =
        |message: String| JudgeError::Parse { what: "the profile", path: path.to_owned(), message };
    let file = std::fs::File::open(path).map_err(|source| JudgeError::Read {
        what: "the profile",
        path: path.to_owned(),
        source,
    })?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .map_err(|error| parse(error.to_string()))?;
    let profile = Profile::decode(&bytes[..]).map_err(|error| parse(error.to_string()))?;
    Ok(stacks(&profile))
}

fn stacks(profile: &Profile) -> Vec<Stack> {
    let text = |at: i64| -> &str {
        let at = usize::try_from(at).ok();
        at.and_then(|at| profile.string_table.get(at)).map_or("", String::as_str)
    };
    let frame = |id: &u64| -> Frame {
        let Some(location) = profile.location.iter().find(|location| location.id == *id) else {
            return Frame::default();
        };
        let line = location.line.first();
        let function = line.and_then(|line| {
            profile.function.iter().find(|function| function.id == line.function_id)
        });
        let mapping = profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id);
        Frame {
            name: function.map_or("", |function| text(function.name)).to_owned(),
            module: mapping.map_or("", |mapping| text(mapping.filename)).to_owned(),
            file: function.map_or("", |function| text(function.filename)).to_owned(),
            line: line.and_then(|line| line.line.try_into().ok()).unwrap_or(0),
        }
    };
    let stack = |sample: &Sample| Stack {
        frames: sample.location_id.iter().map(frame).collect(),
        value: sample.value.first().and_then(|&value| value.try_into().ok()).unwrap_or(0),
        process: sample
            .label
            .iter()
            .find(|label| text(label.key) == "process")
            .map_or("", |label| text(label.text))
            .to_owned(),
    };
    profile.sample.iter().map(stack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_its_process_and_the_files_of_its_frames() {
        let profile = Profile {
            string_table: ["", "leaf", "_C.abi3.so", "process", "worker", "root", "/a/b.py"]
                .map(str::to_owned)
                .to_vec(),
            mapping: vec![Mapping { id: 1, filename: 2 }],
            function: vec![
                Function { id: 1, name: 1, filename: 0 },
                Function { id: 2, name: 5, filename: 6 },
            ],
            location: vec![
                Location { id: 1, mapping_id: 1, line: vec![Line { function_id: 1, line: 0 }] },
                Location { id: 2, mapping_id: 0, line: vec![Line { function_id: 2, line: 7 }] },
            ],
            sample: vec![Sample {
                location_id: vec![1, 2],
                value: vec![3, 30],
                label: vec![Label { key: 3, text: 4 }],
            }],
        };
        let decoded = Profile::decode(&profile.encode_to_vec()[..]).unwrap();
        let frame = |name: &str, module: &str, file: &str, line| Frame {
            name: name.into(),
            module: module.into(),
            file: file.into(),
            line,
        };
        let expected = Stack {
            frames: vec![frame("leaf", "_C.abi3.so", "", 0), frame("root", "", "/a/b.py", 7)],
            value: 3,
            process: "worker".into(),
        };
        assert_eq!(stacks(&decoded), [expected]);
    }
}
