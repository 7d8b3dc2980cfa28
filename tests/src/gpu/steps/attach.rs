//! Question 8 with the worker: entered while it runs, counted, left, again and again.

use serde_json::Value;

use super::{Counted, counted, median, spread};
use crate::gpu::ask::{Found, StepError};
use crate::gpu::place::{Place, last};
use crate::harness::process;

/// A process is given the shim once; from then on `attach` finds it there. So many processes, so many times each.
const SIMULATED: (u32, u32) = (1, 2);
const REAL: (u32, u32) = (10, 10);

/// Late attach, counting, detach.
pub(super) fn cycles(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    place.needs_root()?;
    let (processes, times) = place.either(SIMULATED, REAL);
    let (mut stops, mut kernels, mut grown) = (Vec::new(), 0, 0);
    for _ in 0..processes {
        let mut worker = place.worker(
            &["--seconds", "0", "--rate", "2000", "--graphs", "20", "--wait-every", "2000"],
            &[],
        )?;
        let pid = worker.pid();
        let own = || process::status_kib(pid, "RssAnon").unwrap_or(0);
        let mut first = None;
        for time in 0..times {
            let row = entered(place, "attach", pid)?;
            if row["attached"] != true {
                return Err(StepError::Failed(format!("not attached: {}", row["reason"])));
            }
            if let Some(ns) = row["stopped_ns"].as_f64() {
                stops.push(ns / 1e6);
            }
            // Once for each process: an observation takes a second, an entry does not.
            if time == 0 {
                kernels += observed(place, pid)?;
            }
            let row = entered(place, "detach", pid)?;
            if row["detached"] != true {
                return Err(StepError::Failed(format!("not detached: {row}")));
            }
            first.get_or_insert_with(own);
        }
        grown = grown.max(own().saturating_sub(first.unwrap_or(0)));
        place.finish(&mut worker)?;
    }
    let (least, most) = spread(&stops);
    let Some(middle) = median(&stops) else {
        return Err(StepError::Failed("nothing was entered".to_owned()));
    };
    Ok(Found::default()
        .and(format!(
            "Attached and detached {} times in {processes} running workers; {} times the shim was brought in, which stopped a thread for {middle:.1} ms (median, {least:.1} to {most:.1}).",
            processes * times,
            stops.len()
        ))
        .and(format!(
            "After the first entry {kernels} kernels were recorded, 0 lost, 0 without timestamps; each worker ended as without us; none grew by more than {grown} KiB of its own from its first detach to its last."
        )))
}

fn entered(place: &Place, command: &str, pid: u32) -> Result<Value, StepError> {
    let mut command = place.warplens(&[command, "--json", "--pid", &pid.to_string()]);
    let mut child = place.start(&mut command, "enter")?;
    let ended = place.end(&mut child, "enter")?;
    serde_json::from_str::<Value>(&ended.stdout)
        .map(|document| document["processes"][0].clone())
        .map_err(|_no_json| StepError::Failed(last(&ended.stderr).to_owned()))
}

fn observed(place: &Place, pid: u32) -> Result<u64, StepError> {
    let pid = pid.to_string();
    let arguments = ["record", "--pid", &pid, "--stack-rate", "0", "--cpu-hz", "0", "-o", "out"];
    let mut command = place.warplens(&arguments);
    place.run(command.args(["-d", place.either("1s", "5s")]), "record")?;
    let counted = counted(&place.report("out")?);
    let Counted { kernels, lost, invalid } = counted;
    if kernels > 0 && lost + invalid == 0 {
        return Ok(kernels);
    }
    Err(StepError::Failed(format!("entered late, and then: {counted:?}")))
}
