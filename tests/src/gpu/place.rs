//! What a step asks with: the programs of the bundle, a folder of its own, and children that end with the step.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::ask::StepError;
use crate::harness::child::{Child, Ended};
use crate::soak::INTERRUPTED;

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(5);

/// The programs, and how to ask with them.
#[derive(Clone, Debug)]
pub struct Tools {
    pub warplens: PathBuf,
    pub shim: PathBuf,
    pub worker: PathBuf,
    /// Programs for PyTorch.
    pub programs: PathBuf,
    /// The Python that has PyTorch, if any has.
    pub python: String,
    /// The simulated CUDA's libraries, asked in place of a GPU.
    pub simulated: Option<PathBuf>,
    /// The libcupti for workers without a runtime of their own.
    pub cupti: Option<PathBuf>,
    /// Kernels of the long run of question 5.
    pub kernels: u64,
    /// Where answers and recordings are kept.
    pub out: PathBuf,
    pub cuda: Cuda,
}

/// Whether a worker could open a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuda {
    Usable,
    /// No, and nothing else names a GPU either.
    NoGpu(String),
    /// No, although there is a GPU.
    Broken(String),
}

/// A step's own: tools, a folder, an end.
#[derive(Debug)]
pub struct Place {
    pub tools: Tools,
    folder: PathBuf,
    begun: Instant,
    limit: Duration,
}

/// What the worker says at its end that it did, independent of everything that looked on.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    pub simulated: bool,
    pub launches_ok: u64,
    pub launches_captured: u64,
    pub graph_launches: u64,
    pub graph_kernels: u64,
    pub seconds: f64,
    pub burst: Option<Burst>,
    pub as_expected: bool,
}

/// What its bursts took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Burst {
    pub ns_per_launch: f64,
    pub kernels_per_second: f64,
}

impl Said {
    /// Kernels that ran, replayed ones included.
    pub fn kernels(&self) -> u64 {
        self.launches_ok + self.graph_kernels
    }

    /// Launch calls that succeeded, captured ones and graphs included.
    pub fn calls(&self) -> u64 {
        self.launches_ok + self.launches_captured + self.graph_launches
    }
}

impl Place {
    /// A place of this name below the output folder, empty.
    pub fn new(tools: &Tools, name: &str, limit: Duration) -> Self {
        let folder = tools.out.join("scratch").join(name);
        // What cannot be made is told by the first child that needs it.
        let _gone = fs::remove_dir_all(&folder);
        let _made = fs::create_dir_all(&folder);
        Self { tools: tools.clone(), folder, begun: Instant::now(), limit }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The one where the CUDA is simulated, which only tries the asking; the other on a GPU.
    pub fn either<T>(&self, simulated: T, real: T) -> T {
        if self.tools.simulated.is_some() { simulated } else { real }
    }

    /// A command with the user's environment, but for what would change what is asked.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let ours = |key: &str| key.starts_with("WARPLENS_") || key == "CUDA_INJECTION64_PATH";
        for (key, _) in std::env::vars_os() {
            if key.to_str().is_some_and(ours) {
                command.env_remove(key);
            }
        }
        command.env("WARPLENS_SHIM", &self.tools.shim).current_dir(&self.folder);
        if let Some(libraries) = &self.tools.simulated {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        if let Some(cupti) = &self.tools.cupti {
            command.env("WARPLENS_CUPTI", cupti);
        }
        command
    }

    /// `warplens` with these arguments.
    pub fn warplens(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.tools.warplens);
        command.args(arguments);
        command
    }

    /// Starts a child; its output goes to files of this name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: &mut Command, name: &str) -> Result<Child, StepError> {
        Child::start(command, &self.folder, name)
            .map_err(|error| StepError::Failed(format!("{name}: {error}")))
    }

    /// Starts the worker and waits until CUDA is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn worker(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Child, StepError> {
        let mut command = self.command(&self.tools.worker);
        command.args(arguments).envs(variables.iter().copied());
        let mut child = self.start(&mut command, "worker")?;
        self.until("the worker opens the device", || {
            let over = !child.alive();
            child.stdout().contains("\"ready\"").then_some(true).or(over.then_some(false))
        })?
        .then_some(())
        .ok_or_else(|| StepError::Failed(format!("the worker ended: {}", last(&child.stderr()))))?;
        Ok(child)
    }

    /// Waits for something; fails when the step's time is up.
    ///
    /// # Errors
    /// When time is up, or somebody asked for the end.
    pub fn until<T>(
        &self,
        what: &str,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, StepError> {
        loop {
            if let Some(found) = condition() {
                return Ok(found);
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Err(StepError::Interrupted);
            }
            if self.begun.elapsed() >= self.limit {
                let seconds = self.limit.as_secs_f64();
                return Err(StepError::Failed(format!("not within {seconds} s: {what}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a length of time.
    ///
    /// # Errors
    /// As [`Place::until`].
    pub fn pause(&self, length: Duration) -> Result<(), StepError> {
        let begin = Instant::now();
        self.until("a pause", || (begin.elapsed() >= length).then_some(()))
    }

    /// Waits for a child's end.
    ///
    /// # Errors
    /// When it does not end in the step's time: then it is ended with everything it started.
    pub fn end(&self, child: &mut Child, what: &str) -> Result<Ended, StepError> {
        self.until(&format!("{what} ends"), || (!child.alive()).then_some(()))?;
        child.wait(Duration::ZERO).map_err(|error| StepError::Failed(error.to_string()))
    }

    /// Runs a command to its end; any status but 0 is a failure.
    ///
    /// # Errors
    /// When it fails or takes too long.
    pub fn run(&self, command: &mut Command, name: &str) -> Result<Ended, StepError> {
        let mut child = self.start(command, name)?;
        child.close_input();
        let ended = self.end(&mut child, name)?;
        if ended.code == 0 {
            return Ok(ended);
        }
        Err(StepError::Failed(format!("{name} ended with {}: {}", ended.code, last(&ended.stderr))))
    }

    /// Runs the worker from its first launch on under `warplens run`; what it said, and the report.
    ///
    /// # Errors
    /// When something fails or takes too long.
    pub fn observed(&self, more: &[&str], worker: &[&str]) -> Result<(Said, Value), StepError> {
        let mut command = self.warplens(&["run", "--cpu-hz", "0", "-o", "out"]);
        command.args(more).arg("--").arg(&self.tools.worker).args(worker);
        let ended = self.run(&mut command, "run")?;
        Ok((said(&ended.stdout)?, self.report("out")?))
    }

    /// Tells the worker to end; what it said.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn finish(&self, worker: &mut Child) -> Result<Said, StepError> {
        worker.signal(Signal::TERM);
        self.ended_well(worker)
    }

    /// Waits for the worker's own end; what it said.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn ended_well(&self, worker: &mut Child) -> Result<Said, StepError> {
        let ended = self.end(worker, "the worker")?;
        let said = said(&ended.stdout)?;
        if ended.code == 0 && said.as_expected {
            return Ok(said);
        }
        Err(StepError::Failed(format!(
            "the worker ended with {}: {}",
            ended.code,
            last(&ended.stderr)
        )))
    }

    /// The report in a folder that a command wrote.
    ///
    /// # Errors
    /// When there is none.
    pub fn report(&self, folder: &str) -> Result<Value, StepError> {
        let path = self.folder.join(folder).join("report.json");
        let wrong = |what: String| StepError::Failed(format!("{}: {what}", path.display()));
        let bytes = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
    }

    /// Nothing, where CUDA can be used.
    ///
    /// # Errors
    /// `Cannot` without a GPU, `Failed` with one that the worker could not open; with the reason.
    pub fn needs_gpu(&self) -> Result<(), StepError> {
        match &self.tools.cuda {
            Cuda::Usable => Ok(()),
            Cuda::NoGpu(why) => Err(StepError::Cannot(why.clone())),
            Cuda::Broken(why) => Err(StepError::Failed(why.clone())),
        }
    }

    /// Nothing, where this is root.
    ///
    /// # Errors
    /// `Cannot`.
    pub fn needs_root(&self) -> Result<(), StepError> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(StepError::Cannot("loading programs into the kernel needs root".to_owned()))
    }
}

/// The last line, which is where programs say what went wrong.
pub fn last(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said")
}

fn said(stdout: &str) -> Result<Said, StepError> {
    stdout
        .lines()
        .find(|line| line.contains("\"event\":\"end\""))
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| StepError::Failed("the worker did not say what it did".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(out: &Path, limit_ms: u64) -> Place {
        let tools = Tools {
            warplens: "/bin/true".into(),
            shim: "/bin/true".into(),
            worker: "/bin/true".into(),
            programs: out.to_owned(),
            python: "python3".to_owned(),
            simulated: None,
            cupti: None,
            kernels: 0,
            out: out.to_owned(),
            cuda: Cuda::NoGpu("no GPU".to_owned()),
        };
        Place::new(&tools, "t", Duration::from_millis(limit_ms))
    }

    #[test]
    fn a_child_that_does_not_end_fails_its_step_and_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), 300);
        let error = place.run(Command::new("sleep").arg("1000"), "sleeper").unwrap_err();
        assert!(
            matches!(&error, StepError::Failed(what) if what == "not within 0.3 s: sleeper ends"),
            "{error}"
        );
        let own = std::process::id();
        let left = crate::harness::process::children(own).into_iter().any(|child| {
            crate::harness::process::command_line(child).is_some_and(|line| line == "sleep 1000")
        });
        assert!(!left, "the child lives");
    }

    #[test]
    fn a_child_that_fails_says_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), 10_000);
        let mut command = Command::new("sh");
        command.args(["-c", "echo a >&2; echo 'no such thing' >&2; exit 3"]);
        let error = place.run(&mut command, "teller").unwrap_err();
        assert_eq!(error.to_string(), "teller ended with 3: no such thing");
    }

    #[test]
    fn a_gpu_that_cannot_be_opened_is_a_failure_and_none_is_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mut place = place(folder.path(), 10);
        assert!(matches!(place.needs_gpu(), Err(StepError::Cannot(why)) if why == "no GPU"));
        place.tools.cuda = Cuda::Broken("refused".to_owned());
        assert!(matches!(place.needs_gpu(), Err(StepError::Failed(why)) if why == "refused"));
    }
}
