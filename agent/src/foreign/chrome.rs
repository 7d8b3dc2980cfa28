//! Chrome trace events as PyTorch's Kineto writes them, `.json` or `.json.gz`, of any size.
//!
//! Read are kernels, copies and sets; the launches and waits of CUDA's (or HIP's) runtime and
//! driver; operators with their shapes, annotations and modules. The text streams by (`document`,
//! `scan`); events become rows in order of time ([`crate::foreign::order`]).

mod category;
mod convert;
mod document;
mod meta;
mod number;
mod once;
mod record;
mod scan;
mod source;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use analysis::event::DeviceInfo;
use analysis::ids::DeviceKey;
use indicatif::ProgressBar;

use super::order::{Order, SpillError};
use crate::pipeline::{Input, Start};
use convert::{Converter, Counts, PROCESS};
use document::End;
use once::Once;
pub use source::GZIP_MAGIC;

#[derive(Debug, thiserror::Error)]
pub enum ChromeError {
    #[error("open {path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: byte {at}: {what}: nothing could be read; export the trace again")]
    Damaged {
        path: PathBuf,
        at: u64,
        what: String,
        #[source]
        source: Option<io::Error>,
    },
    #[error(
        "{path}: JSON without `traceEvents`: not a trace; `prof.export_chrome_trace(...)` of torch.profiler writes one"
    )]
    NoEvents { path: PathBuf },
    #[error("sort the events of {path}")]
    Spill {
        path: PathBuf,
        #[source]
        source: SpillError,
    },
}

/// Reads the trace at `path` and feeds it to `sink` in order of time. `progress` counts the bytes of
/// the file on the way.
pub fn read(
    path: &Path,
    gzip: bool,
    progress: &ProgressBar,
    sink: &mut impl FnMut(Input),
) -> Result<(), ChromeError> {
    let spill = |source| ChromeError::Spill { path: path.to_owned(), source };
    let source = File::open(path)
        .and_then(|file| source::Source::open(file, gzip, progress.clone()))
        .map_err(|source| ChromeError::Open { path: path.to_owned(), source })?;
    let mut converter = Converter::new(Order::default());
    let end = document::read(source, &mut converter).map_err(spill)?;
    let Converter { order, meta, counts, devices, first, .. } = converter;
    let ended = ended(path, end, counts)?;
    sink(Input::Start(Start {
        command: "analyze".to_owned(),
        source: path.display().to_string(),
        started_unix: meta.unix(first),
        cpu_hz: 0,
        memory_step_ns: 0,
    }));
    sink(Input::Process { process: PROCESS, info: meta.process() });
    for &ordinal in &devices {
        let device = DeviceKey(ordinal);
        let info = DeviceInfo { index: ordinal, uuid: None, simulated: false };
        sink(Input::Device { device, info });
        sink(Input::Ordinal { process: PROCESS, ordinal, device });
    }
    let mut once = Once::default();
    order
        .feed(&mut |input| match &input {
            Input::Foreign(event) if !once.admits(event) => {}
            _ => sink(input),
        })
        .map_err(spill)?;
    let notes = ended.into_iter().chain(notes(&counts, meta.several()));
    notes.for_each(|note| sink(Input::Note(note)));
    Ok(())
}

/// What to say of how the text ended; an error where nothing came of it.
fn ended(path: &Path, end: End, counts: Counts) -> Result<Option<String>, ChromeError> {
    let (at, what, source) = match end {
        End::Whole => return Ok(None),
        End::NoEvents => return Err(ChromeError::NoEvents { path: path.to_owned() }),
        End::Cut { at, error: None } => (at, "the trace ends before its end".to_owned(), None),
        End::Cut { at, error: Some(error) } => {
            (at, "the data cannot be read further".to_owned(), Some(error))
        }
        End::Damaged { at, byte } => {
            (at, format!("`{}` where JSON has something else", byte.escape_ascii()), None)
        }
    };
    if counts.events == 0 {
        return Err(ChromeError::Damaged { path: path.to_owned(), at, what, source });
    }
    let cause = source.map(|error| format!(" ({error})")).unwrap_or_default();
    let Counts { events, .. } = counts;
    Ok(Some(format!(
        "{what} at byte {at} of its text{cause}: the {events} events before it are read, what \
         follows is missing; export the trace again"
    )))
}

fn notes(counts: &Counts, several: bool) -> impl Iterator<Item = String> {
    let Counts { events: _, works, untimed, strange, homeless } = *counts;
    let told = [
        (untimed, "calls and ranges without usable times are left out"),
        (strange, "elements of `traceEvents` are no events, or longer than 8 MiB: left out"),
        (homeless, "kernels, copies or sets name no device: left out"),
    ];
    let nothing = (works == 0).then(|| {
        "the trace has no kernel, copy or set: record it with ProfilerActivity.CUDA".to_owned()
    });
    let several = several.then(|| {
        "calls of several processes stand in the trace: they are taken for one process".to_owned()
    });
    told.into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} {text}"))
        .chain(nothing)
        .chain(several)
}

#[cfg(test)]
mod tests;
