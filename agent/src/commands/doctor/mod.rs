//! `doctor`: what this machine and these privileges allow, and what to do about the rest.
//! Changes nothing: loads no kernel program, attaches to nobody.

mod cuda;
mod faults;
mod host;
mod libraries;
mod workers;

use std::fmt::Write;

use analysis::level::quirk::Feature;
use serde::Serialize;

use super::{CommandError, Exit, screen};
use crate::bpf::probe::Off;
use crate::cli::DoctorArgs;
use crate::daemon::{Config, Node};

pub use cuda::probe as probe_cuda;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    /// Costs a feature, not the agent.
    Missing,
    /// Nothing to judge.
    Info,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What to do, where something is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    pub(crate) fn info(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Info, found: found.into(), advice: None }
    }

    pub(crate) fn missing(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { name, state: State::Missing, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Everything that was found.
#[derive(Serialize)]
pub(super) struct Document {
    schema: &'static str,
    version: &'static str,
    simulated: bool,
    checks: Vec<Check>,
}

/// Every check, made anew. `off`, `shim`: what a configuration switches off.
pub(super) fn document(off: &Off, shim: Vec<Feature>) -> Document {
    let mut checks = host::checks(off);
    let driver = cuda::check();
    let simulated = driver.simulated;
    checks.extend(driver.checks);
    checks.extend(libraries::checks());
    checks.extend(workers::checks());
    checks.extend(faults::checks(shim));
    let version = env!("CARGO_PKG_VERSION");
    Document { schema: "warplens.doctor/v1", version, simulated, checks }
}

pub fn run(args: &DoctorArgs) -> Result<Exit, CommandError> {
    let config = args.config.as_deref().map(|path| Config::load(Some(path))).transpose()?;
    let config = config.unwrap_or_default();
    let document = document(&config.probes.resolve(&Node::read()), config.shim.features());
    let Document { schema: _, version: _, simulated, checks } = &document;
    let missing = checks.iter().filter(|check| check.state == State::Missing).count();
    let mark = if *simulated { "SIMULATED: " } else { "" };
    let verdict = match missing {
        0 => format!("{mark}everything is there. Next: `warplens record --all -d 30s`"),
        1 => {
            format!("{mark}1 thing is missing, see above. Next: `warplens doctor` after the advice")
        }
        more => format!(
            "{mark}{more} things are missing, see above. Next: `warplens doctor` after the advice"
        ),
    };
    if args.json {
        let mut bytes =
            serde_json::to_vec_pretty(&document).map_err(crate::output::OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        screen::say(&verdict);
    } else {
        let mut text = render(checks);
        text.push_str(&verdict);
        text.push('\n');
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(Exit::Ok)
}

fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let mark = match check.state {
            State::Ok => "ok     ",
            State::Missing => "MISSING",
            State::Info => "       ",
        };
        let advice = check
            .advice
            .as_ref()
            .map(|advice| format!("\n{:1$}to do: {advice}", "", width + 11))
            .unwrap_or_default();
        // Writing to a String does not fail.
        if writeln!(text, "{mark}  {:<width$}  {}{advice}", check.name, check.found).is_err() {
            break;
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_line_up_and_missing_ones_say_what_to_do() {
        let checks = [
            Check::ok("kernel", "6.18"),
            Check::missing("CUDA driver", "libcuda.so.1 is not there", "install the NVIDIA driver"),
            Check::info("lockdown", "integrity"),
        ];
        assert_eq!(
            render(&checks),
            "ok       kernel       6.18\n\
             MISSING  CUDA driver  libcuda.so.1 is not there\n\
             \x20                     to do: install the NVIDIA driver\n\
             \x20        lockdown     integrity\n\n"
        );
    }
}
