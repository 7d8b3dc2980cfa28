//! Starts the programs to profile on the simulated CUDA: the vLLM-like server and the Rust worker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;

use crate::harness::artefacts::{self, Missing};
use crate::harness::child::{Child, ChildError, Ended, command};
use crate::harness::process;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("prepare the run's folder")]
    Folder(#[source] std::io::Error),
    #[error("understand what the server printed: {line}")]
    Answer { line: String, source: serde_json::Error },
    #[error("the server does not serve: {said}")]
    NotServing { said: String },
}

/// A run's folder and the environment every process in it gets.
#[derive(Debug)]
pub struct Run {
    folder: tempfile::TempDir,
    devices: u32,
    shim: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

impl Run {
    /// A run on `devices` simulated GPUs, without the shim.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new(devices: u32) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().map_err(StartError::Folder)?;
        std::fs::create_dir(folder.path().join("truth")).map_err(StartError::Folder)?;
        Ok(Self { folder, devices, shim: None, variables: Vec::new() })
    }

    /// The same with the shim injected.
    ///
    /// # Errors
    /// When the shim is not built.
    pub fn with_shim(mut self) -> Result<Self, StartError> {
        self.shim = Some(artefacts::shim()?);
        Ok(self)
    }

    /// One more environment variable.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.variables.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the simulator writes what really happened.
    pub fn truth(&self) -> PathBuf {
        self.folder.path().join("truth")
    }

    /// A command with the run's environment.
    ///
    /// # Errors
    /// When the simulator is not built.
    pub fn command(&self, program: &Path) -> Result<Command, StartError> {
        let mut command = command(program);
        command
            .env("LD_LIBRARY_PATH", artefacts::simulator()?)
            .env("WARPLENS_SIM_DEVICES", self.devices.to_string())
            .env("WARPLENS_SIM_TRUTH", self.truth())
            .current_dir(self.folder.path());
        if let Some(shim) = &self.shim {
            command.env("CUDA_INJECTION64_PATH", shim);
        }
        for (key, value) in &self.variables {
            command.env(key, value);
        }
        Ok(command)
    }

    /// Starts the vLLM-like server and waits until it serves.
    ///
    /// # Errors
    /// When something is not built or the server does not come up.
    pub fn serve(&self, arguments: &[&str]) -> Result<Server, StartError> {
        let mut command = self.command(Path::new("python3"))?;
        command
            .arg(artefacts::program("sim_vllm.py"))
            .args(["--gpus", &self.devices.to_string()])
            .args(arguments);
        let mut child = Child::start(&mut command, self.folder(), "server")?;
        let line = child.line("\"serving\"", Duration::from_mins(2))?;
        let serving: Serving = serde_json::from_str(&line)
            .map_err(|source| StartError::Answer { line: line.clone(), source })?;
        Ok(Server { child, engine: serving.pid, workers: serving.workers })
    }

    /// Starts the Rust worker and waits until it launches.
    ///
    /// # Errors
    /// When something is not built or the worker does not come up.
    pub fn work(&self, arguments: &[&str]) -> Result<Child, StartError> {
        let mut command = self.command(&artefacts::cuda_worker()?)?;
        command.args(arguments);
        let mut child = Child::start(&mut command, self.folder(), "worker")?;
        child.line("\"ready\"", Duration::from_secs(30))?;
        Ok(child)
    }
}

/// A running vLLM-like server.
#[derive(Debug)]
pub struct Server {
    pub child: Child,
    pub engine: u32,
    pub workers: Vec<Worker>,
}

#[derive(Debug, Deserialize)]
struct Serving {
    pid: u32,
    workers: Vec<Worker>,
}

/// A worker as the engine knows it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Worker {
    pub pid: u32,
    pub gpu: u32,
}

/// What a worker printed at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerEnd {
    pub process: String,
    pub pid: u32,
    pub gpu: u32,
    pub seconds: f64,
    pub launches_ok: u64,
    pub launches_captured: u64,
    pub launches_failed: u64,
    pub graph_launches: u64,
    pub graph_launches_failed: u64,
    pub graph_kernels: u64,
    pub copies_ok: u64,
    pub cpu_percent: f64,
}

impl Server {
    /// PID of the frontend, which is what a user names.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Every process of the server.
    pub fn tree(&self) -> Vec<u32> {
        process::tree(self.pid())
    }

    /// Asks the server to end and waits for it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<Ended, StartError> {
        self.child.signal(Signal::TERM);
        Ok(self.child.wait(Duration::from_secs(30))?)
    }
}

/// The workers' last lines in what a server printed.
pub fn worker_ends(stdout: &str) -> Vec<WorkerEnd> {
    stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
