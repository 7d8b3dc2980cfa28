//! Whether a flamegraph gives each launch site the share of GPU time that it truly has.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::judge::JudgeError;
use crate::judge::captures::CaptureLabel;

/// Frames that stand for time without a sampled stack.
const UNSAMPLED: &str = "[stack not sampled]";

/// A launch site as the worker printed it at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct Site {
    /// Function that launches.
    pub site: String,
    /// Of the worker's GPU time, percent.
    pub share_percent: f64,
}

/// The worker's last line, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerOutput {
    pub sites: Vec<Site>,
    /// Where it captured graphs.
    #[serde(default)]
    pub capture_labels: Vec<CaptureLabel>,
}

/// One site's share in the flamegraph.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    pub site: String,
    pub truth_percent: f64,
    pub found_percent: f64,
}

/// Shares found in a folded stack list.
#[derive(Clone, Debug, Serialize)]
pub struct Shares {
    pub sites: Vec<Share>,
    /// Of the kernels' time, how much hangs under a stack that passes one of the sites, percent.
    pub under_sites_percent: f64,
    /// Of the kernels' time, how much hangs under any sampled stack, percent.
    pub sampled_percent: f64,
    /// Kernel time in the list, ns.
    pub total_ns: u64,
}

impl Shares {
    /// Greatest distance of a found share from the truth, points.
    pub fn worst(&self) -> f64 {
        self.sites
            .iter()
            .map(|share| (share.truth_percent - share.found_percent).abs())
            .fold(0.0, f64::max)
    }
}

/// Reads the last JSON line of a worker's output.
///
/// # Errors
/// When there is no such line.
pub fn worker_output(path: &Path) -> Result<WorkerOutput, JudgeError> {
    let text = std::fs::read_to_string(path).map_err(|source| JudgeError::Read {
        what: "the worker's output",
        path: path.to_owned(),
        source,
    })?;
    let line = text.lines().rfind(|line| line.contains("\"sites\"")).unwrap_or_default();
    serde_json::from_str(line).map_err(|error| JudgeError::Parse {
        what: "the worker's output",
        path: path.to_owned(),
        message: format!("no line with the launch sites: {error}"),
    })
}

/// Reads a folded stack list (`frame;frame;... value` lines) and finds the sites' shares of it.
///
/// # Errors
/// When the file cannot be read or a line has no value.
pub fn read(path: &Path, sites: &[Site]) -> Result<Shares, JudgeError> {
    let text = std::fs::read_to_string(path).map_err(|source| JudgeError::Read {
        what: "the folded stacks",
        path: path.to_owned(),
        source,
    })?;
    find(&text, sites).map_err(|line| JudgeError::Parse {
        what: "the folded stacks",
        path: path.to_owned(),
        message: format!("line {line} is not `frame;frame value`"),
    })
}

/// The shares, or the number of the line that is no folded stack.
///
/// Time that is no kernel's (idle, unobserved, copies) does not count. A line belongs to a site
/// when one of its frames names the site's function.
pub fn find(folded: &str, sites: &[Site]) -> Result<Shares, usize> {
    let mut found = vec![0_u64; sites.len()];
    let mut total = 0_u64;
    let mut unsampled = 0_u64;
    for (index, line) in folded.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (stack, value) = line.rsplit_once(' ').ok_or(index + 1)?;
        let value: u64 = value.parse().map_err(|_not_a_number| index + 1)?;
        let frames: Vec<&str> = stack.split(';').collect();
        if frames.iter().any(|frame| is_no_kernel(frame)) {
            continue;
        }
        total += value;
        if frames.contains(&UNSAMPLED) {
            unsampled += value;
        }
        let site =
            sites.iter().position(|site| frames.iter().any(|frame| names(frame, &site.site)));
        if let Some(site) = site {
            found[site] += value;
        }
    }
    let under: u64 = found.iter().sum();
    Ok(Shares {
        sites: sites
            .iter()
            .zip(&found)
            .map(|(site, &ns)| Share {
                site: site.site.clone(),
                truth_percent: site.share_percent,
                found_percent: percent(ns, total),
            })
            .collect(),
        under_sites_percent: percent(under, total),
        sampled_percent: percent(total - unsampled, total),
        total_ns: total,
    })
}

fn is_no_kernel(frame: &str) -> bool {
    frame != UNSAMPLED
        && ["[idle", "[unobserved", "[memcpy", "[memset"]
            .iter()
            .any(|start| frame.starts_with(start))
}

/// Whether a frame's last path segment is `function`: `cuda_worker::sites::Thread::sampler` or
/// `<Thread>::sampler`, but not `draft_sampler`.
pub(super) fn names(frame: &str, function: &str) -> bool {
    let bare = frame.split(['(', '[']).next().unwrap_or(frame).trim_end();
    bare.split("::").any(|segment| segment == function)
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / (whole as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_told_apart_and_idle_time_does_not_count() {
        let site = |name: &str, share_percent| Site { site: name.to_owned(), share_percent };
        let sites = [site("sampler", 50.0), site("draft_sampler", 25.0)];
        let folded = "GPU 0;main;w::Thread::sampler;w::launch;k<a, b> 50\n\
                      GPU 0;main;w::Thread::draft_sampler;k<a, b> 25\n\
                      GPU 0;[stack not sampled];k 25\n\
                      GPU 0;[idle: unknown] 1000\nGPU 0;main;w::copy;[memcpy HtoD] 7\n";
        let shares = find(folded, &sites).unwrap();
        assert_eq!(shares.total_ns, 100);
        assert!(shares.worst() < 1e-9, "{shares:?}");
        assert!((shares.under_sites_percent - 75.0).abs() < 1e-9);
        assert!((shares.sampled_percent - 75.0).abs() < 1e-9);
        assert_eq!(find("main;k\n", &sites).unwrap_err(), 1);
    }
}
