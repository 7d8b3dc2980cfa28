//! Whether a tier can run here. A skip is printed, and is a failure where the tier is required.

use std::env;
use std::io::Write as _;
use std::process::Command;

use crate::harness::artefacts::{self, Missing};
use crate::harness::python;

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The simulated CUDA, Python and the Rust worker.
    Sim,
    /// And the shim and a C compiler.
    Shim,
    /// The shim, a C compiler and NVIDIA's own libraries.
    Real,
    /// The agent with eBPF, and root.
    Bpf,
    /// The agent, the shim and the simulator, several versions of Python, py-spy, and root.
    E2e,
    /// The agent, the shim, both libcuptis and the simulator, control groups, time namespaces, and root.
    Chaos,
    /// The same, and a real vLLM server on CPU.
    RealVllm,
    /// The agent's binary.
    Cli,
    /// The same, and Kubernetes' schemas.
    Deploy,
}

impl Tier {
    /// As `REQUIRE` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Shim => "shim",
            Self::Real => "real",
            Self::Bpf => "bpf",
            Self::E2e => "e2e",
            Self::Chaos => "chaos",
            Self::RealVllm => "real_vllm",
            Self::Cli => "cli",
            Self::Deploy => "deploy",
        }
    }

    /// Nothing, or what is missing.
    ///
    /// # Errors
    /// With the first thing this tier needs that is not there.
    pub fn available(self) -> Result<(), Missing> {
        match self {
            Self::Sim => {
                artefacts::simulator()?;
                artefacts::cuda_worker()?;
                tool("python3")
            }
            Self::Shim => {
                Self::Sim.available()?;
                artefacts::shim()?;
                tool("cc")
            }
            Self::Real => {
                let folder = artefacts::nvidia()?;
                artefacts::shim()?;
                tool("cc")?;
                artefacts::find_below(&folder, "libcuda.so.1").map(|_path| ()).ok_or_else(|| {
                    Missing(format!(
                        "no libcuda.so.1 below WARPLENS_NVIDIA_DIR={}",
                        folder.display()
                    ))
                })
            }
            Self::Bpf => {
                Self::Shim.available()?;
                artefacts::agent()?;
                root()
            }
            Self::E2e => {
                Self::Bpf.available()?;
                artefacts::py_spy()?;
                python::required().map(|_pythons| ())
            }
            Self::Chaos => {
                Self::Bpf.available()?;
                artefacts::foreign_cupti()?;
                tool("unshare")
            }
            Self::RealVllm => {
                artefacts::real_vllm()?;
                artefacts::agent()?;
                tool("curl")?;
                root()
            }
            Self::Cli => artefacts::agent().map(|_path| ()),
            Self::Deploy => {
                artefacts::agent()?;
                artefacts::kubernetes_python().map(|_path| ())
            }
        }
    }
}

/// True when `tier` can run. Else prints `SKIP test: reason`.
///
/// # Panics
/// When `REQUIRE` (a comma-separated list) names the tier and it cannot run.
#[expect(clippy::panic, reason = "a required tier that cannot run is a failed test")]
pub fn can_run(tier: Tier) -> bool {
    let Err(missing) = tier.available() else {
        return true;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let required = env::var("REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == tier.name()),
        "tier `{}` is required: {missing}",
        tier.name()
    );
    // Written past the test harness, which hides what passing tests print.
    let line = format!("SKIP {test}: {missing}\n");
    if let Err(error) = std::io::stderr().write_all(line.as_bytes()) {
        panic!("SKIP {test}: {missing}, and stderr is closed: {error}");
    }
    false
}

/// Leaves the test, aloud, when the tier cannot run here.
#[macro_export]
macro_rules! require {
    ($tier:ident) => {
        if !$crate::harness::require::can_run($crate::harness::require::Tier::$tier) {
            return;
        }
    };
}

fn tool(name: &str) -> Result<(), Missing> {
    match Command::new(name).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing(format!("`{name}` cannot be run: install it, `cargo xtask setup` does"))),
    }
}

fn root() -> Result<(), Missing> {
    let user = rustix::process::geteuid();
    if user.is_root() {
        Ok(())
    } else {
        Err(Missing(format!("needs root, this is user {}", user.as_raw())))
    }
}
