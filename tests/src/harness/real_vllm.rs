//! A real vLLM server on CPU: started, loaded and stopped by the script that `WARPLENS_REAL_VLLM` names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::artefacts::{self, Missing};
use crate::harness::child::{Child, command};
use crate::harness::server::StartError;

/// Without compiled Python the first start of a machine takes 100 s, and two workers share two processors.
const START_LIMIT: Duration = Duration::from_mins(10);
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// A running server; it is stopped when dropped.
#[derive(Debug)]
pub struct RealVllm {
    script: PathBuf,
    port: u16,
    folder: PathBuf,
    /// The server itself, which names all others its descendants.
    pub pid: u32,
}

impl RealVllm {
    /// The script.
    ///
    /// # Errors
    /// When nothing names it.
    pub fn script() -> Result<PathBuf, Missing> {
        artefacts::real_vllm()
    }

    /// Starts a server with these options and environment variables, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(
        arguments: &[&str],
        variables: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Self, StartError> {
        // Two sessions on one machine must not meet.
        let port = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
        let mut server = Self { script: Self::script()?, port, folder: folder.to_owned(), pid: 0 };
        let mut start = server.command("start");
        start.args(arguments).envs(variables.iter().copied());
        let ended = Child::run(&mut start, folder, "start", START_LIMIT)?;
        let pid =
            ended.stdout.rsplit("pid ").next().map(str::trim).and_then(|pid| pid.parse().ok());
        match pid.filter(|_pid| ended.code == 0) {
            Some(pid) => server.pid = pid,
            None => return Err(StartError::NotServing { said: format!("{ended:?}") }),
        }
        Ok(server)
    }

    /// Requests from `concurrency` clients at a time, without end; they end when the child is dropped.
    ///
    /// # Errors
    /// When the load cannot be started.
    pub fn load(&self, concurrency: u32, tokens: u32) -> Result<Child, StartError> {
        let mut load = self.command("load");
        load.args(["1000000", &concurrency.to_string(), &tokens.to_string()]);
        Ok(Child::start(&mut load, &self.folder, "load")?)
    }

    /// As the server's own metrics name it.
    ///
    /// # Errors
    /// When they cannot be had.
    pub fn metric(&self, name: &str) -> Result<f64, StartError> {
        let mut curl = command("curl");
        curl.args(["-sf", "-m", "10", &format!("http://127.0.0.1:{}/metrics", self.port)]);
        let ended = Child::run(&mut curl, &self.folder, "metrics", STOP_LIMIT)?;
        Ok(ended
            .stdout
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn command(&self, what: &str) -> Command {
        let mut command = command(&self.script);
        command.arg(what).env("PORT", self.port.to_string());
        command
    }
}

impl Drop for RealVllm {
    fn drop(&mut self) {
        // What is left is told by the next start, which finds the port taken.
        let _ended = Child::run(&mut self.command("stop"), &self.folder, "stop", STOP_LIMIT);
    }
}
