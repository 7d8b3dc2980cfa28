//! One file, whatever its format, as the inputs of a pipeline.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::CommandError;
use crate::foreign::nsys::Exported;
use crate::foreign::{self, Format, chrome, nsys};
use crate::pipeline::{Input, Pipeline, Start};
use crate::recording::Reader;

/// A recording or a foreign trace that is about to be read.
pub(in crate::commands) struct Source {
    path: PathBuf,
    format: Format,
    /// What an Nsight Systems report was exported to, as long as it is needed.
    exported: Option<Exported>,
}

impl Source {
    /// Tells the format by the file's first bytes; a report of Nsight Systems is exported first.
    pub(in crate::commands) fn open(path: &Path) -> Result<Self, CommandError> {
        let format = foreign::detect(path)?;
        let exported = match format {
            Format::NsysReport => Some(nsys::export(path)?),
            Format::Recording | Format::Chrome { .. } | Format::Sqlite => None,
        };
        Ok(Self { path: path.to_owned(), format, exported })
    }

    /// An empty pipeline of the kind that the format needs.
    pub(in crate::commands) fn pipeline(&self) -> Pipeline {
        match self.format {
            Format::Recording => Pipeline::marked(),
            Format::Chrome { .. } | Format::Sqlite | Format::NsysReport => Pipeline::whole(),
        }
    }

    /// Every input of the file, in order, with a bar on a terminal.
    pub(in crate::commands) fn feed(
        &self,
        take: &mut impl FnMut(Input),
    ) -> Result<(), CommandError> {
        match self.format {
            Format::Recording => {
                let mut reader = Reader::open(&self.path)?;
                while let Some(input) = reader.next_input()? {
                    take(input);
                }
                Ok(())
            }
            Format::Chrome { gzip } => {
                let bar = progress(&self.path);
                let ended = chrome::read(&self.path, gzip, &bar, take);
                bar.finish_and_clear();
                Ok(ended?)
            }
            Format::Sqlite => self.database(&self.path, take),
            Format::NsysReport => match &self.exported {
                Some(exported) => self.database(&exported.path(), take),
                None => Ok(()),
            },
        }
    }

    fn database(&self, path: &Path, take: &mut impl FnMut(Input)) -> Result<(), CommandError> {
        let bar = progress(path);
        let bytes = bar.length().unwrap_or(0);
        // Rows stand for bytes: what a row takes differs little within a table.
        let mut told = |done: u64, total: u64| {
            let part = u128::from(bytes) * u128::from(done) / u128::from(total.max(1));
            bar.set_position(u64::try_from(part).unwrap_or(bytes));
        };
        let source = self.path.display().to_string();
        let mut named = |input| match input {
            // The user named the report, not what it was exported to.
            Input::Start(start) => take(Input::Start(Start { source: source.clone(), ..start })),
            input => take(input),
        };
        let ended = nsys::read(path, &mut named, &mut told);
        bar.finish_and_clear();
        Ok(ended?)
    }
}

/// A bar of the file's bytes on a terminal, nothing elsewhere.
fn progress(path: &Path) -> ProgressBar {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let style = ProgressStyle::with_template("reading {msg} {wide_bar} {bytes} of {total_bytes}");
    ProgressBar::new(bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(path.display().to_string())
}
