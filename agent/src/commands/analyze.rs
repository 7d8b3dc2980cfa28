//! `analyze`: recordings and foreign traces through the pipeline, to the screen or a folder.

mod inputs;

pub use inputs::InputsError;

use std::path::Path;

use analysis::classify::Classifier;

use super::findings::{Severity, findings};
use super::{CommandError, Exit, screen};
use crate::capture::Capture;
use crate::cli::AnalyzeArgs;
use crate::foreign::{self, Format, nsys};
use crate::output::{self, json, summary};
use crate::pipeline::{Pipeline, merge};
use crate::recording::Reader;
use crate::rules;

pub fn run(args: &AnalyzeArgs) -> Result<Exit, CommandError> {
    let files = inputs::expand(&args.files)?;
    let classifier = rules::from_files(&args.rules.rules)?;
    let mut captures = Vec::with_capacity(files.len());
    for file in &files {
        captures.push(read(file, &classifier)?);
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
pub fn read(path: &Path, classifier: &Classifier) -> Result<Capture, CommandError> {
    match foreign::detect(path)? {
        Format::Recording => {
            let mut reader = Reader::open(path)?;
            let mut pipeline = Pipeline::marked().classified_by(classifier.clone());
            while let Some(input) = reader.next_input()? {
                pipeline.feed(input);
            }
            Ok(pipeline.finish())
        }
        Format::Sqlite => {
            let mut pipeline = Pipeline::whole().classified_by(classifier.clone());
            nsys::read(path, &mut |input| pipeline.feed(input))?;
            Ok(pipeline.finish())
        }
    }
}

fn exit(worst: Option<Severity>, fail_on: Option<Severity>) -> Exit {
    match (worst, fail_on) {
        (Some(worst), Some(least)) if worst >= least => Exit::Findings,
        _ => Exit::Ok,
    }
}
