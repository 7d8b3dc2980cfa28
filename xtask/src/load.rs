//! The demo's load: a simulated vLLM on simulated GPUs, with the shim injected as it would be under
//! the real driver, and the ground truth written beside it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::artefacts::{self, Artefacts};
use crate::child::{self, Running};
use crate::setup::is_root;
use crate::workspace::{Workspace, clean_environment};

/// What to simulate.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub gpus: u32,
    /// Kernels per second, all GPUs together.
    pub rate: u32,
    pub seed: u32,
    /// Longest the load serves by itself; it is normally stopped before.
    pub limit: Duration,
    /// Where each process writes its ground truth.
    pub truth: PathBuf,
}

/// A load that serves.
#[derive(Debug)]
pub(crate) struct Load {
    running: Running,
    lines: Receiver<String>,
    pub workers: Vec<u32>,
}

/// Python starts, graphs are captured: seconds on an idle machine, more on a busy one.
const START_LIMIT: Duration = Duration::from_mins(3);

/// Of a thousand records: late ones, and how late at most.
const LATE: &str = "5,150";
/// Of a thousand records: without timestamps.
const ZERO: &str = "2";

impl Load {
    /// Starts it and waits until it serves.
    pub(crate) fn start(workspace: &Workspace, artefacts: &Artefacts, plan: &Plan) -> Result<Self> {
        if plan.truth.exists() {
            fs::remove_dir_all(&plan.truth)
                .with_context(|| format!("clear {}", plan.truth.display()))?;
        }
        fs::create_dir_all(&plan.truth)
            .with_context(|| format!("create {}", plan.truth.display()))?;
        let mut command = command(&workspace.root, artefacts, plan);
        let mut running = Running::start(command.stdout(Stdio::piped()), "the simulated vLLM")?;
        let pipe = running.take_stdout().context("the simulated vLLM has no pipe")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut load = Self { running, lines, workers: Vec::new() };
        let serving = load.wait_for("serving", START_LIMIT)?;
        let workers = serving["workers"].as_array().into_iter().flatten();
        load.workers = workers
            .filter_map(|worker| worker["pid"].as_u64())
            .filter_map(|pid| pid.try_into().ok())
            .collect();
        Ok(load)
    }

    /// Process id of the frontend, as a user would name it to `warplens record`.
    pub(crate) fn frontend(&self) -> u32 {
        self.running.id()
    }

    /// An error once it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.running.ended()? {
            None => Ok(()),
            Some(status) => bail!("the simulated vLLM ended by itself ({status})"),
        }
    }

    /// Ends the whole tree; what each process said it did.
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.running.stop();
        self.lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .filter(|said| said["event"] == "end")
            .collect()
    }

    fn wait_for(&mut self, event: &str, limit: Duration) -> Result<Value> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if child::interrupted() {
                bail!("interrupted");
            }
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => match serde_json::from_str::<Value>(&line) {
                    Ok(said) if said["event"] == event => return Ok(said),
                    Ok(said) if said["event"] == "refused" => {
                        bail!("the simulated vLLM refused: {line}")
                    }
                    Ok(_) => {}
                    // Whatever it says that is no event is for the reader.
                    Err(_) => println!("{line}"),
                },
                Err(RecvTimeoutError::Timeout) => self.check_alive()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.running.wait(Duration::from_secs(5))?;
                    bail!("the simulated vLLM ended before it served ({status})");
                }
            }
        }
        bail!("the simulated vLLM did not serve within {} s", limit.as_secs())
    }
}

fn command(root: &Path, artefacts: &Artefacts, plan: &Plan) -> Command {
    let mut command = Command::new("python3");
    clean_environment(&mut command);
    command
        .arg(artefacts::simulated_vllm(root))
        .args(["--gpus", &plan.gpus.to_string()])
        .args(["--rate", &plan.rate.to_string()])
        .args(["--seed", &plan.seed.to_string()])
        .args(["--seconds", &plan.limit.as_secs().to_string()])
        .env("CUDA_INJECTION64_PATH", &artefacts.shim)
        .env("LD_LIBRARY_PATH", artefacts.simulated_libraries())
        .env("WARPLENS_SIM_DEVICES", plan.gpus.to_string())
        .env("WARPLENS_SIM_SEED", plan.seed.to_string())
        .env("WARPLENS_SIM_TRUTH", &plan.truth)
        .env("WARPLENS_SIM_LATE", LATE)
        .env("WARPLENS_SIM_ZERO", ZERO);
    if !is_root() {
        // Without root the agent may not open /proc/PID/map_files, but the descriptor of a process
        // of its own user.
        command.env("WARPLENS_KEEP_FD", "1");
    }
    command
}

/// A seed nobody chose.
pub(crate) fn fresh_seed() -> Result<u32> {
    let mut bytes = [0; 4];
    let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes).context("read /dev/urandom")?;
    Ok(u32::from_le_bytes(bytes))
}
