//! The interpreters of observed processes: found, handed to the kernel programs, looked for again.

use super::{ObserveError, Observer, chain};
use crate::bpf::Bpf;
use crate::observe::target::{Interest, Python, Target};
use crate::stack::Maker;

/// Looks, one a scan, until a process without an interpreter is believed to have none: one that is met at
/// its start maps it within moments.
const LOOKS: u32 = 5;

impl Observer {
    /// Looks for Python where it is not known whether there is any.
    pub(super) fn find_python(&mut self) -> Result<(), ObserveError> {
        for index in 0..self.targets.len() {
            self.find_python_of(index)?;
        }
        Ok(())
    }

    fn find_python_of(&mut self, index: usize) -> Result<(), ObserveError> {
        if !self.wants_python() {
            return Ok(());
        }
        let (maker, bpf) = (&mut self.maker, &mut self.bpf);
        match self.targets.get_mut(index).and_then(|target| look(target, maker, bpf.as_mut()?)) {
            Some(problem) => self.note(problem),
            None => Ok(()),
        }
    }

    /// The same for a process that is being met: before it is watched, so that no stack lacks its Python.
    pub(super) fn find_python_first(&mut self, target: &mut Target) -> Result<(), ObserveError> {
        if !self.wants_python() {
            return Ok(());
        }
        match self.bpf.as_mut().and_then(|bpf| look(target, &mut self.maker, bpf)) {
            Some(problem) => self.note(problem),
            None => Ok(()),
        }
    }
}

/// Looks for the target's Python, where that makes sense, and hands it to the kernel programs. Returns
/// what went wrong, as a sentence.
fn look(target: &mut Target, maker: &mut Maker, bpf: &mut Bpf) -> Option<String> {
    // Of an engine core that nobody selected, stacks are not taken.
    let wanted = target.python == Python::Unknown && target.interest == Interest::Selected;
    if !wanted || !bpf.walks_python() {
        return None;
    }
    let pid = target.pid;
    target.python_looks += 1;
    let problem = match maker.find_python(pid) {
        Ok(Some(layout)) => {
            target.python = Python::Walked;
            chain(&bpf.set_python(pid, &layout).err()?)
        }
        Ok(None) => {
            if target.python_looks >= LOOKS {
                target.python = Python::None;
            }
            return None;
        }
        Err(error) if error.passes() => return None,
        // A process that ends while it is looked at is no news.
        Err(_) if !target.lives() => return None,
        Err(error) => {
            target.python = Python::None;
            chain(&error)
        }
    };
    Some(format!("No Python frames of process {pid}: {problem}."))
}
