//! The timeline as pieces, for whoever asked for them.

use crate::ids::Ns;
use crate::session::Session;
use crate::slice::{Slice, WorkSlice};
use crate::spans::Span;

impl Session {
    /// Tells what became final of a device's timeline.
    pub(crate) fn tell(&mut self, index: usize) {
        let (Some(slices), Some(&device)) = (&mut self.slices, self.device_keys.get(index)) else {
            return;
        };
        let known = &mut self.devices[index];
        let process = |worker: u16| {
            let process = known.workers.get(usize::from(worker))?.process;
            self.processes.get(process)
        };
        let over = known.pending.iter().filter(|work| work.end <= known.done && work.counted);
        slices.extend(over.filter_map(|work| {
            let stream = known.streams.get(work.stream as usize)?;
            let cell = known.cells.get(work.cell)?;
            let process = process(work.worker)?;
            Some(Slice::Work(WorkSlice {
                device,
                process: process.key,
                context: stream.context,
                stream: stream.id,
                name: cell.name,
                kind: cell.kind,
                graph: cell.source.graph,
                capture: process.graphs.site(cell.source.origin),
                correlation: work.correlation,
                start: Ns(work.start),
                end: Ns(work.end),
            }))
        }));
        for (worker, stepper) in (0..).zip(&mut known.steppers) {
            let steps = std::mem::take(&mut stepper.over);
            let process = known.workers.get(worker).and_then(|w| self.processes.get(w.process));
            let Some(process) = process.map(|process| process.key) else {
                continue;
            };
            slices.extend(steps.into_iter().map(|step| Slice::Step {
                process,
                start: Ns(step.start),
                end: Ns(step.end),
                phase: step.phase,
                batch: step.batch,
            }));
        }
        let span = |span: Span| (Ns(span.from), Ns(span.to));
        slices.extend(known.idle.told.drain(..).map(|(part, cause)| {
            let (start, end) = span(part);
            Slice::Idle { device, start, end, cause }
        }));
        slices.extend(known.empty.unobserved.drain(..).map(|(part, reason)| {
            let (start, end) = span(part);
            Slice::Unobserved { device, start, end, reason }
        }));
    }
}
