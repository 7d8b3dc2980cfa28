//! `analyze`: recordings and foreign traces through the pipeline, to the screen or a folder.

mod inputs;

pub use inputs::InputsError;

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::findings::{Severity, findings};
use super::{CommandError, Exit, screen};
use crate::capture::Capture;
use crate::cli::AnalyzeArgs;
use crate::foreign::{self, Format, chrome, nsys};
use crate::output::{self, json, summary};
use crate::pipeline::{Pipeline, merge};
use crate::recording::Reader;

pub fn run(args: &AnalyzeArgs) -> Result<Exit, CommandError> {
    let files = inputs::expand(&args.files)?;
    let mut captures = Vec::with_capacity(files.len());
    for file in &files {
        captures.push(read(file)?);
    }
    let capture = merge(captures);
    let found = findings(&capture);
    let worst = found.first().map(|finding| finding.severity);
    let written = match &args.out {
        Some(folder) => Some(output::write_folder(folder, &capture)?),
        None => None,
    };
    let verdict = summary::verdict(&capture, &found);
    let next = match (&written, args.files.first()) {
        (Some(folder), _) => format!("open {}", folder.join(output::GPU_SVG).display()),
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

/// One file, whatever its format, as a finished capture.
pub fn read(path: &Path) -> Result<Capture, CommandError> {
    match foreign::detect(path)? {
        Format::Recording => {
            let mut reader = Reader::open(path)?;
            let mut pipeline = Pipeline::marked();
            while let Some(input) = reader.next_input()? {
                pipeline.feed(input);
            }
            Ok(pipeline.finish())
        }
        Format::Chrome { gzip } => {
            let mut pipeline = Pipeline::whole();
            let bar = progress(path);
            let ended = chrome::read(path, gzip, &bar, &mut |input| pipeline.feed(input));
            bar.finish_and_clear();
            ended?;
            Ok(pipeline.finish())
        }
        Format::Sqlite => {
            let mut pipeline = Pipeline::whole();
            let bar = progress(path);
            let bytes = bar.length().unwrap_or(0);
            // Rows stand for bytes: what a row takes differs little within a table.
            let mut told = |done: u64, total: u64| {
                let part = u128::from(bytes) * u128::from(done) / u128::from(total.max(1));
                bar.set_position(u64::try_from(part).unwrap_or(bytes));
            };
            let ended = nsys::read(path, &mut |input| pipeline.feed(input), &mut told);
            bar.finish_and_clear();
            ended?;
            Ok(pipeline.finish())
        }
        Format::NsysReport => {
            let exported = nsys::export(path)?;
            let mut capture = read(&exported.path())?;
            capture.info.source = path.display().to_string();
            Ok(capture)
        }
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

fn exit(worst: Option<Severity>, fail_on: Option<Severity>) -> Exit {
    match (worst, fail_on) {
        (Some(worst), Some(least)) if worst >= least => Exit::Findings,
        _ => Exit::Ok,
    }
}
