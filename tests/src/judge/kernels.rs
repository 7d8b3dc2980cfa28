//! The table of known kernels: the class a name truly has.

use std::collections::HashMap;
use std::path::Path;

use crate::judge::JudgeError;

/// What takes a device's time, in the order in which it claims an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Busy {
    Attention,
    Gemm,
    Other,
    Communication,
    Copy,
}

impl Busy {
    pub const ALL: [Self; 5] =
        [Self::Attention, Self::Gemm, Self::Other, Self::Communication, Self::Copy];

    /// The class of a kernel by its name in reports.
    pub fn of_class(text: &str) -> Option<Self> {
        match text {
            "attention" => Some(Self::Attention),
            "gemm" => Some(Self::Gemm),
            "other" => Some(Self::Other),
            "communication" => Some(Self::Communication),
            _ => None,
        }
    }

    /// The class's name in reports; copies report into `other`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Gemm => "gemm",
            Self::Other | Self::Copy => "other",
            Self::Communication => "communication",
        }
    }

    /// Position in [`Busy::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Class by kernel name.
#[derive(Clone, Debug, Default)]
pub struct KernelTable(HashMap<String, Busy>);

impl KernelTable {
    /// Reads `name<TAB>class<TAB>kind<TAB>mean ns` lines.
    ///
    /// # Errors
    /// When the file cannot be read or a line is something else.
    pub fn read(path: &Path) -> Result<Self, JudgeError> {
        let text = std::fs::read_to_string(path).map_err(|source| JudgeError::Read {
            what: "the kernel table",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|line| JudgeError::Parse {
            what: "the kernel table",
            path: path.to_owned(),
            message: format!("line {line} is not name, class, kind and ns"),
        })
    }

    /// The table of `text`, or the number of the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut table = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut fields = line.split('\t');
            let name = fields.next().unwrap_or_default();
            let class = fields.next().and_then(Busy::of_class).ok_or(index + 1)?;
            let rest: Vec<&str> = fields.collect();
            if rest.len() != 2 || rest[1].parse::<u64>().is_err() {
                return Err(index + 1);
            }
            table.insert(name.to_owned(), class);
        }
        Ok(Self(table))
    }

    /// The class of a known name.
    pub fn class(&self, name: &str) -> Option<Busy> {
        self.0.get(name).copied()
    }

    /// Adds a name the table does not have.
    pub fn insert(&mut self, name: &str, class: Busy) {
        self.0.entry(name.to_owned()).or_insert(class);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_named() {
        let good = "# note\nvoid f<int>(int)\tgemm\tdense\t100\n";
        let table = KernelTable::parse(good).unwrap();
        assert_eq!(table.class("void f<int>(int)"), Some(Busy::Gemm));
        assert_eq!(KernelTable::parse("k\tgem\tdense\t100\n").unwrap_err(), 1);
        assert_eq!(KernelTable::parse("a\tgemm\tdense\t1\nk\tgemm\tdense\n").unwrap_err(), 2);
    }
}
