//! A `warplens agent` under test: what it is told, and what it answers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::agent::warplens;
use crate::harness::child::Child;
use crate::harness::server::StartError;
use crate::harness::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// The status line's code and the body.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Values of a metric's series whose labels hold all of `labels`; not a number where one is none.
pub fn values(text: &str, metric: &str, labels: &[&str]) -> impl Iterator<Item = f64> {
    text.lines()
        .filter(move |line| {
            line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'))
                && labels.iter().all(|label| line.contains(label))
        })
        .map(|line| line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN))
}

/// Their sum.
pub fn sum(text: &str, metric: &str, labels: &[&str]) -> f64 {
    values(text, metric, labels).sum()
}

/// A daemon that does not wait before it raises a level, and remembers crashes in `folder` alone. `more` follows in the
/// section on levels.
pub fn configuration(folder: &Path, more: &str) -> String {
    let state = folder.join("breaker.json").display().to_string();
    format!(
        "listen = \"127.0.0.1:0\"\nscan_seconds = 1\n[levels]\ndwell_seconds = 0\ncanary_seconds = 0\nstate = {state:?}\n{more}"
    )
}

/// Starts a daemon with this configuration and its socket in `folder`; it and its address.
///
/// # Errors
/// When it is not built, cannot be started or does not serve in time.
pub fn start(
    folder: &Path,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<(Child, String), StartError> {
    let config = folder.join("warplens.toml");
    fs::write(&config, text).map_err(StartError::Folder)?;
    let mut command = warplens(&["agent", "--config"])?;
    command.arg(&config).env("WARPLENS_SOCKET", folder.join("agent.sock"));
    command.envs(variables.iter().copied());
    started(&mut command, folder, "agent")
}

/// Starts a daemon; it and its address, once it says so.
///
/// # Errors
/// When it cannot be started or does not serve in time.
pub fn started(
    command: &mut Command,
    folder: &Path,
    name: &str,
) -> Result<(Child, String), StartError> {
    let agent = Child::start(command, folder, name)?;
    let address = wait::until(LIMIT, || {
        let said = agent.stderr();
        let (_, rest) = said.split_once("http://")?;
        Some(rest.split_once("/metrics")?.0.to_owned())
    });
    let said = agent.stderr();
    address.map(|address| (agent, address)).ok_or(StartError::NotServing { said })
}
