//! `diff`: what changed between two recordings, traces or reports, and what of it is more than
//! their own unrest. The comparison is [`analysis::compare`]; here are its inputs and its words.

mod body;
mod figures;
mod table;
mod worse;

use std::path::Path;

use analysis::classify::Classifier;
use analysis::compare::{Comparison, Figures, Side, compare};

use super::findings::Finding;
use super::{CommandError, Exit, analyze, load, screen};
use crate::capture::Capture;
use crate::cli::DiffArgs;
use crate::output::json::{self, Document};
use crate::output::{self, OutputError, OutputFolder, summary};
use crate::pipeline::merge;
use crate::rules;

pub fn run(args: &DiffArgs) -> Result<Exit, CommandError> {
    let classifier = rules::from_files(&args.rules.rules)?;
    // An unwritable folder is told before anything is read.
    let folder = args.out.as_deref().map(OutputFolder::create).transpose()?;
    let (before, after) = (open(&args.before, &classifier)?, open(&args.after, &classifier)?);
    let drawn = match folder {
        Some(folder) => {
            let (before, after) = (before.stacks()?, after.stacks()?);
            output::write_difference(&folder, before, after)?;
            let sampled = !after.cpu.is_empty() || !before.cpu.is_empty();
            let kernels =
                |capture: &Capture| capture.report.devices.iter().any(|device| device.kernels > 0);
            let first = if sampled {
                output::CPU_DIFF_SVG
            } else if after.has_memory_sites() && !kernels(before) && !kernels(after) {
                output::MEMORY_DIFF_SVG
            } else {
                output::GPU_DIFF_SVG
            };
            Some(folder.commit()?.join(first))
        }
        None => None,
    };
    let difference = Difference::of(before, after);
    let last = summary::last_line(&difference.verdict(), &next(args, drawn.as_deref()));
    if args.json {
        let mut bytes =
            serde_json::to_vec_pretty(&body::Body::of(&difference)).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        screen::say(&last);
    } else {
        let text = format!("{}{last}\n", table::render(&difference, args.limit));
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(analyze::exit(difference.findings.first().map(|finding| finding.severity), args.fail_on))
}

/// One of the two.
struct Observation {
    name: String,
    document: Document,
    side: Side,
    /// `None` of a report, which holds no stacks.
    capture: Option<Capture>,
}

impl Observation {
    fn stacks(&self) -> Result<&Capture, CommandError> {
        self.capture.as_ref().ok_or_else(|| {
            CommandError::Usage(format!(
                "draw what changed: {} is a report, which holds no stacks: name a recording or a trace",
                self.name
            ))
        })
    }
}

struct Difference {
    before: Observation,
    after: Observation,
    comparison: Comparison,
    /// Gravest first.
    findings: Vec<Finding>,
}

impl Difference {
    fn of(before: Observation, after: Observation) -> Self {
        let comparison = compare(&before.side, &after.side);
        let findings = worse::findings(&before, &after, &comparison);
        Self { before, after, comparison, findings }
    }

    fn simulated(&self) -> bool {
        self.before.document.simulated || self.after.document.simulated
    }

    /// One line: the gravest finding, or that there is none and whether it could have been told.
    fn verdict(&self) -> String {
        let simulated = if self.simulated() { "SIMULATED: " } else { "" };
        let grave = |finding: &&Finding| finding.severity > super::findings::Severity::Info;
        let count = self.findings.iter().filter(grave).count();
        let text = match self.findings.first() {
            Some(finding) if count > 1 => {
                format!("{} ({} more got worse)", finding.text, count - 1)
            }
            Some(finding) => finding.text.clone(),
            None => "nothing changed by more than chance".to_owned(),
        };
        format!("{simulated}{text}")
    }
}

/// Reads `path` whole and, where it is more than sums, window by window.
fn open(path: &Path, classifier: &Classifier) -> Result<Observation, CommandError> {
    let name = path.display().to_string();
    if let Some(report) = load::report_of(path)? {
        let document = json::read(&report)?;
        let side = Side { whole: figures::of(&document), windows: Vec::new() };
        return Ok(Observation { name, document, side, capture: None });
    }
    let mut captures = Vec::new();
    let mut windows: Option<Vec<Figures>> = None;
    for file in analyze::expand(&[path.to_owned()])? {
        let source = analyze::Source::open(&file)?;
        let mut pipeline = source.pipeline(classifier);
        pipeline.cut_windows();
        source.feed(&mut |input| pipeline.feed(input))?;
        let (capture, cut) = pipeline.finish_windows();
        captures.push(capture);
        windows = Some(match windows {
            None => cut,
            Some(joined) => side_by_side(joined, &cut),
        });
    }
    let capture = merge(captures);
    let document = Document::of(&capture);
    let side = Side { whole: figures::of(&document), windows: windows.unwrap_or_default() };
    Ok(Observation { name, document, side, capture: Some(capture) })
}

/// Windows of ranks that ran at once: each rank's first with the others' first, and so on, as far
/// as all have some. Ranks wait for each other, so that taken one by one they would count as
/// evidence several times.
fn side_by_side(mut joined: Vec<Figures>, more: &[Figures]) -> Vec<Figures> {
    joined.truncate(more.len());
    for (window, other) in joined.iter_mut().zip(more) {
        window.join(other);
    }
    joined
}

fn next(args: &DiffArgs, drawn: Option<&Path>) -> String {
    match drawn {
        Some(picture) => format!("open {}", picture.display()),
        None => format!("warplens gaps {}", args.after.display()),
    }
}

#[cfg(test)]
mod tests;
