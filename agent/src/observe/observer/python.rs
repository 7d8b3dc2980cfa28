//! The interpreters of observed processes: found, handed to the kernel programs, looked for again.

use super::{ObserveError, Observer, chain};
use crate::bpf::Bpf;
use crate::observe::target::{Interest, Python};

/// Looks, one a scan, until a process without an interpreter is believed to have none: one that is met at
/// its start maps it within moments.
const LOOKS: u32 = 5;

impl Observer {
    /// Looks for Python where it is not known whether there is any.
    pub(super) fn find_python(&mut self) -> Result<(), ObserveError> {
        if !self.bpf.as_ref().is_some_and(Bpf::walks_python) {
            return Ok(());
        }
        for index in 0..self.targets.len() {
            self.find_python_of(index)?;
        }
        Ok(())
    }

    fn find_python_of(&mut self, index: usize) -> Result<(), ObserveError> {
        let Some(target) = self.targets.get_mut(index) else {
            return Ok(());
        };
        // Of an engine core that nobody selected, stacks are not taken.
        if target.python != Python::Unknown || target.interest == Interest::Engine {
            return Ok(());
        }
        let pid = target.pid;
        target.python_looks += 1;
        let problem = match self.maker.find_python(pid) {
            Ok(Some(layout)) => {
                target.python = Python::Walked;
                let set = self.bpf.as_mut().map_or(Ok(()), |bpf| bpf.set_python(pid, &layout));
                set.err().map(|error| chain(&error))
            }
            Ok(None) => {
                if target.python_looks >= LOOKS {
                    target.python = Python::None;
                }
                None
            }
            Err(error) if error.passes() => None,
            // A process that ends while it is looked at is no news.
            Err(_) if !target.lives() => None,
            Err(error) => {
                target.python = Python::None;
                Some(chain(&error))
            }
        };
        match problem {
            Some(problem) => self.note(format!("No Python frames of process {pid}: {problem}.")),
            None => Ok(()),
        }
    }
}
