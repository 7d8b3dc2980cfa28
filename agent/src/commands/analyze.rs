//! `analyze`: recordings and foreign traces through the pipeline, to the screen or a folder.

mod inputs;
mod source;

pub use inputs::InputsError;
pub(super) use inputs::expand;
pub(super) use source::Source;

use std::path::Path;
use std::time::Duration;

use analysis::classify::Classifier;

use super::findings::{Severity, findings};
use super::{CommandError, Exit, screen};
use crate::capture::Capture;
use crate::cli::AnalyzeArgs;
use crate::output::perfetto::{Drawing, Extent, TraceFile};
use crate::output::{self, OutputFolder, json, summary};
use crate::pipeline::merge;
use crate::rules;

pub fn run(args: &AnalyzeArgs) -> Result<Exit, CommandError> {
    let files = expand(&args.files)?;
    let classifier = rules::from_files(&args.rules.rules)?;
    // An unwritable folder is told before anything is read.
    let folder = args.out.as_deref().map(OutputFolder::create).transpose()?;
    let extent = Extent {
        from: args.trace_from.map_or(0, nanoseconds),
        length: args.trace_length.map(nanoseconds),
        ..Extent::default()
    };
    let mut captures = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let trace = match &folder {
            Some(folder) => {
                let path = folder.path(&output::trace_name(number, files.len()));
                Some(TraceFile::create(&path, extent)?)
            }
            None => None,
        };
        captures.push(read(file, &classifier, trace)?);
    }
    let mut capture = merge(captures);
    capture.names = args.names.style();
    if let (Some(folder), Some(before)) = (&folder, &args.diff) {
        let mut before = whole(before, &classifier)?;
        before.names = capture.names;
        output::write_difference(folder, &before, &capture)?;
    }
    let found = findings(&capture);
    let worst = found.first().map(|finding| finding.severity);
    let written = match folder {
        Some(folder) => {
            output::write_all(&folder, &capture)?;
            Some(folder.commit()?)
        }
        None => None,
    };
    let verdict = summary::verdict(&capture, &found);
    let next = match (&written, args.files.first()) {
        (Some(folder), _) => {
            format!("open {}", folder.join(output::first_picture(&capture)).display())
        }
        (None, Some(file)) => format!("warplens analyze {} -o warplens-out", file.display()),
        (None, None) => "warplens analyze --help".to_owned(),
    };
    if args.json {
        let bytes = json::render(&capture).map_err(output::OutputError::Json)?;
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        screen::say(&summary::last_line(&verdict, &next));
    } else {
        let mut text = summary::render(&capture, &found);
        text.push_str(&summary::last_line(&verdict, &next));
        text.push('\n');
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(exit(worst, args.fail_on))
}

/// Everything that `path` holds, as one capture.
fn whole(path: &Path, classifier: &Classifier) -> Result<Capture, CommandError> {
    let files = expand(&[path.to_owned()])?;
    let captures: Result<Vec<Capture>, CommandError> =
        files.iter().map(|file| read(file, classifier, None)).collect();
    Ok(merge(captures?))
}

/// One file, whatever its format, as a finished capture, and drawn where a trace is wanted.
pub fn read(
    path: &Path,
    classifier: &Classifier,
    trace: Option<TraceFile>,
) -> Result<Capture, CommandError> {
    let source = Source::open(path)?;
    let mut drawing = Drawing::new(source.pipeline(classifier), trace);
    source.feed(&mut |input| drawing.feed(input))?;
    Ok(drawing.finish()?)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a command ends with whose gravest finding is `worst`.
pub(super) fn exit(worst: Option<Severity>, fail_on: Option<Severity>) -> Exit {
    match (worst, fail_on) {
        (Some(worst), Some(least)) if worst >= least => Exit::Findings,
        _ => Exit::Ok,
    }
}
