//! The CUDA driver, asked through cudarc in a process of its own: loading a driver runs foreign
//! code, which may hang, crash or load our own shim, and none of that may happen to `doctor`.

use std::io::Read;
use std::panic;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cudarc::driver::result;
use serde::{Deserialize, Serialize};
use wire::shim::SIMULATOR_SYMBOL;

use super::Check;
use crate::commands::{CommandError, Exit, screen};
use crate::{elf, proc};

/// A cold driver takes a second or two on a machine with eight GPUs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest answer read.
const ANSWER_MAX: u64 = 1 << 20;

pub(super) struct Driver {
    pub(super) checks: Vec<Check>,
    pub(super) simulated: bool,
}

/// What the probing process says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    /// Where the driver library is mapped from.
    library: Option<String>,
    simulated: bool,
    devices: Vec<Device>,
    error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Device {
    name: String,
    uuid: String,
}

/// Asks in another process and judges the answer.
pub(super) fn check() -> Driver {
    let answer = match ask() {
        Ok(answer) => answer,
        Err(why) => {
            let advice = "check the NVIDIA driver with `nvidia-smi`";
            return Driver {
                checks: vec![Check::missing("CUDA driver", why, advice)],
                simulated: false,
            };
        }
    };
    let place = answer.library.clone().unwrap_or_else(|| "place unknown".to_owned());
    let simulated = if answer.simulated { "SIMULATED driver, " } else { "" };
    let mut checks = vec![match &answer.error {
        None => Check::ok(
            "CUDA driver",
            format!("{simulated}{place}, {} device(s)", answer.devices.len()),
        ),
        Some(error) => Check::missing(
            "CUDA driver",
            format!("{simulated}{error}"),
            "install the NVIDIA driver, or give the container access to it (`--gpus all`)",
        ),
    }];
    checks.extend(
        answer
            .devices
            .iter()
            .map(|device| Check::ok("GPU", format!("{} {}", device.name, device.uuid))),
    );
    Driver { checks, simulated: answer.simulated }
}

fn ask() -> Result<Answer, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut child = Command::new(program)
        .arg("probe-cuda")
        // Otherwise the driver would load the shim into the probe.
        .env_remove("CUDA_INJECTION64_PATH")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start the probe: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                let ended = child.kill().and_then(|()| child.wait());
                let outcome =
                    ended.map_or_else(|error| error.to_string(), |_| "stopped".to_owned());
                return Err(format!(
                    "the driver did not answer in {} s ({outcome})",
                    PATIENCE.as_secs()
                ));
            }
            Err(error) => return Err(format!("cannot wait for the probe: {error}")),
        }
    };
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // What came before an error is judged below.
        drop(stdout.take(ANSWER_MAX).read_to_end(&mut answer));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| format!("the driver ended the probe ({status}; {error})"))
}

/// `probe-cuda`: asks the driver and prints the answer as JSON.
pub fn probe() -> Result<Exit, CommandError> {
    // cudarc panics where the library or a symbol is missing. The message goes into the answer.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let devices = panic::catch_unwind(devices);
    panic::set_hook(hook);
    let mut answer = Answer::default();
    match devices {
        Ok(Ok(devices)) => answer.devices = devices,
        Ok(Err(error)) => answer.error = Some(format!("the driver refuses: {error}")),
        Err(panic) => answer.error = Some(panic_text(panic.as_ref())),
    }
    let pid = std::process::id();
    let mapped = proc::maps(pid).unwrap_or_default();
    if let Some(library) = mapped
        .iter()
        .find(|mapping| mapping.executable && mapping.file_name().starts_with("libcuda.so"))
    {
        answer.library = Some(library.path.clone());
        answer.simulated = elf::defines(&library.map_files(pid), SIMULATOR_SYMBOL)
            .or_else(|_| elf::defines(library.path.as_ref(), SIMULATOR_SYMBOL))
            .unwrap_or(false);
    }
    let bytes = serde_json::to_vec(&answer).map_err(crate::output::OutputError::Json)?;
    screen::out(&bytes).map_err(CommandError::Stdout)?;
    Ok(Exit::Ok)
}

fn devices() -> Result<Vec<Device>, cudarc::driver::DriverError> {
    result::init()?;
    (0..result::device::get_count()?)
        .map(|ordinal| {
            let device = result::device::get(ordinal)?;
            let uuid = result::device::get_uuid(device)?;
            let hex: Vec<String> = uuid.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Device { name: result::device::get_name(device)?, uuid: hex.concat() })
        })
        .collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the driver cannot be loaded");
    if text.contains("Unable to dynamically load") {
        "libcuda.so.1 is not on the loader's path".to_owned()
    } else {
        crate::output::words::shorten(text, 200)
    }
}
