//! Question 6 with the worker: what a launch costs its thread, by level, in turns.

use std::time::Duration;

use rustix::process::Signal;
use wire::shim::Level;

use super::{median, spread};
use crate::gpu::ask::{Found, StepError};
use crate::gpu::place::{Burst, Place};
use crate::harness::ring;

/// One way to be observed.
#[derive(Clone, Copy, Debug)]
struct Mode {
    name: &'static str,
    shim: bool,
    /// Level that an agent asks for, and its stacks per second.
    armed: Option<(Level, &'static str)>,
}

const MODES: [Mode; 4] = [
    Mode { name: "without the shim", shim: false, armed: None },
    Mode { name: "dormant", shim: true, armed: None },
    Mode { name: "counting", shim: true, armed: Some((Level::Counting, "0")) },
    Mode { name: "with stacks", shim: true, armed: Some((Level::Stacks, "100")) },
];

/// ns per launch and kernels a second, the modes in turns.
pub(super) fn launches(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    // Stacks are taken by programs in the kernel.
    place.needs_root()?;
    let rounds = place.either(2, 9);
    let mut figures: Vec<Vec<Burst>> = vec![Vec::new(); MODES.len()];
    for _ in 0..rounds {
        for (mode, figures) in MODES.iter().zip(&mut figures) {
            figures.push(once(place, mode)?);
        }
    }
    let mut found = Found::default();
    for (mode, figures) in MODES.iter().zip(&figures) {
        let ns: Vec<f64> = figures.iter().map(|burst| burst.ns_per_launch).collect();
        let rate: Vec<f64> = figures.iter().map(|burst| burst.kernels_per_second).collect();
        let (Some(middle), Some(rate)) = (median(&ns), median(&rate)) else { continue };
        let (least, most) = spread(&ns);
        found = found.and(format!(
            "{}: {middle:.0} ns a launch (median of {} runs, {least:.0} to {most:.0}), {rate:.0} kernels a second.",
            mode.name,
            ns.len()
        ));
    }
    Ok(found)
}

fn once(place: &Place, mode: &Mode) -> Result<Burst, StepError> {
    let shim = place.tools.shim.display().to_string();
    let mut variables = Vec::new();
    if mode.shim {
        variables.push(("CUDA_INJECTION64_PATH", shim.as_str()));
        if mode.armed.is_none() {
            variables.push(("WARPLENS_LEVEL", "dormant"));
        }
    }
    let bursts = place.either("20", "400");
    let mut worker =
        place.worker(&["--launch-on-signal", "--seconds", "0", "--bursts", bursts], &variables)?;
    let mut agent = None;
    if let Some((level, stacks)) = mode.armed {
        let pid = worker.pid().to_string();
        let arguments =
            ["record", "--pid", &pid, "--cpu-hz", "0", "-d", "10m", "-o", "armed", "--stack-rate"];
        let mut child = place.start(place.warplens(&arguments).arg(stacks), "record")?;
        place.until("the shim is armed", || {
            let over = !child.alive();
            let armed = ring::look(worker.pid()).is_some_and(|view| view.level() >= level as u32);
            (armed || over).then_some(())
        })?;
        if !child.alive() {
            let stderr = child.stderr();
            let said = crate::gpu::place::last(&stderr);
            return Err(StepError::Failed(format!("{}: not armed: {said}", mode.name)));
        }
        agent = Some(child);
    }
    // What was begun at arming is to be over.
    place.pause(Duration::from_millis(200))?;
    worker.signal(Signal::USR1);
    let said = place.ended_well(&mut worker)?;
    if let Some(mut agent) = agent {
        // It ends by itself when the last process it observes has ended.
        place.end(&mut agent, "warplens record")?;
    }
    said.burst.ok_or_else(|| StepError::Failed("the worker told of no bursts".to_owned()))
}
