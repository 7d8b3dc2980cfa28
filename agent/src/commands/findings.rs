//! What a report says about its own trustworthiness, graded for `--fail-on` and the verdict.

use analysis::classify::Kind;
use analysis::report::{DeviceReport, KernelTotal, Report};

use crate::capture::Capture;
use crate::output::words;

/// Grades, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub text: String,
}

/// Unobserved share from which the split is doubtful, and from which it says little, per cent.
const UNOBSERVED_WARNING: f64 = 5.0;
const UNOBSERVED_CRITICAL: f64 = 50.0;

/// Share of kernel time in kernels no rule knows from which class `other` misleads, per cent.
const UNCLASSIFIED_WARNING: f64 = 5.0;

/// Everything found, gravest first.
pub fn findings(capture: &Capture) -> Vec<Finding> {
    let report = &capture.report;
    let mut found: Vec<Finding> =
        report.devices.iter().flat_map(|device| of_device(report, device)).collect();
    if report.devices.iter().all(|device| device.kernels == 0 && device.copies == 0) {
        found.push(Finding {
            severity: Severity::Critical,
            text: "no GPU work was observed".to_owned(),
        });
    }
    found.extend(
        report
            .defects
            .iter()
            .map(|defect| Finding { severity: Severity::Info, text: defect.to_string() }),
    );
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn of_device(report: &Report, device: &DeviceReport) -> Vec<Finding> {
    let mut found = Vec::new();
    let gpu = words::gpu_title(&device.info);
    let window = words::window_ns(device);
    if device.records.lost > 0 {
        found.push(Finding {
            severity: Severity::Warning,
            text: format!("{gpu}: {} records were lost", device.records.lost),
        });
    }
    let unobserved = words::percent(device.exclusive.unobserved, window);
    let severity = match unobserved {
        share if share >= UNOBSERVED_CRITICAL => Some(Severity::Critical),
        share if share >= UNOBSERVED_WARNING => Some(Severity::Warning),
        _ => None,
    };
    if let Some(severity) = severity {
        found.push(Finding {
            severity,
            text: format!("{gpu}: {unobserved:.1} % of the window is unobserved"),
        });
    }
    let share = words::percent(device.records.unclassified_ns, words::kernels_ns(device));
    if share >= UNCLASSIFIED_WARNING {
        // Kernels come longest first; what no rule knows is of this kind.
        let unknown = |total: &&KernelTotal| total.kind == Kind::Other;
        let longest = device.totals.iter().find(unknown);
        let name = longest.map_or("", |total| words::kernel_name(report, total.name));
        found.push(Finding {
            severity: Severity::Warning,
            text: format!(
                "{gpu}: {share:.1} % of kernel time is in kernels no rule knows, most of it in `{}`",
                words::shorten(name, 60)
            ),
        });
    }
    found
}
