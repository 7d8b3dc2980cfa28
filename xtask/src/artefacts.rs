//! Where built things lie, and the environment that tells the tests so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::py_spy;
use crate::workspace::Workspace;

/// The integration crate, which holds the judge.
pub(crate) const TESTS_PACKAGE: &str = "warplens-tests";
/// The Rust worker on the CUDA driver API.
pub(crate) const WORKER_PACKAGE: &str = "cuda-worker";
/// Launches as fast as it can.
pub(crate) const LOOP_PACKAGE: &str = "launch-loop";

/// Files that exist.
#[derive(Clone, Debug)]
pub(crate) struct Artefacts {
    pub agent: PathBuf,
    pub shim: PathBuf,
    /// Holds a folder per variant of the simulated CUDA.
    pub simulator: PathBuf,
    pub judge: PathBuf,
}

impl Artefacts {
    /// All of them, or what is missing.
    pub(crate) fn locate(workspace: &Workspace) -> Result<Self> {
        let found = Self {
            agent: agent(workspace),
            shim: shim(workspace),
            simulator: simulator(workspace),
            judge: release(workspace).join("sim-judge"),
        };
        for path in [
            &found.agent,
            &found.shim,
            &found.simulator.join("default/libcuda.so.1"),
            &foreign_cupti(workspace),
            &found.judge,
        ] {
            if !path.is_file() {
                bail!("{} was not built", path.display());
            }
        }
        Ok(found)
    }

    /// Tells a test or a bench where the artefacts are.
    pub(crate) fn describe_to(&self, command: &mut Command, workspace: &Workspace) {
        command
            .env("WARPLENS_BIN", &self.agent)
            .env("WARPLENS_SHIM", &self.shim)
            .env("WARPLENS_SIM_DIR", self.simulated_libraries())
            .env("WARPLENS_FOREIGN_CUPTI", foreign_cupti(workspace))
            .env("WARPLENS_CUDA_WORKER", release(workspace).join(WORKER_PACKAGE))
            .env(py_spy::PROGRAM, py_spy::program(workspace))
            .env("WARPLENS_PYTHONS", workspace.target.join("pythons"));
    }

    /// The simulated libraries a worker loads.
    pub(crate) fn simulated_libraries(&self) -> PathBuf {
        self.simulator.join("default")
    }
}

/// One piece of a soak.
pub(crate) fn soak_piece(workspace: &Workspace) -> PathBuf {
    program(workspace, "soak-piece")
}

/// A program of this name, built for release.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    release(workspace).join(name)
}

fn release(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release")
}

pub(crate) fn agent(workspace: &Workspace) -> PathBuf {
    release(workspace).join("warplens")
}

pub(crate) fn shim(workspace: &Workspace) -> PathBuf {
    release(workspace).join("libwarplens_cuda.so")
}

pub(crate) fn simulator(workspace: &Workspace) -> PathBuf {
    workspace.target.join("sim")
}

/// The second implementation of libcupti. It has no soname, so it is not among the simulated libraries.
pub(crate) fn foreign_cupti(workspace: &Workspace) -> PathBuf {
    release(workspace).join("libforeign_cupti.so")
}

/// A file that stands for the simulated vLLM.
pub(crate) fn simulated_vllm(root: &Path) -> PathBuf {
    root.join("tests/programs/sim_vllm.py")
}
