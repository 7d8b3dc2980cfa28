//! Which processes are targets: found, taken over, let go. A PID says little about identity: it can
//! be given to another process, and the same process can become another program.

use std::collections::BTreeSet;
use std::time::Instant;

use wire::shim::Level;

use super::faults;
use super::flight::HowEnded;
use super::refused::{Refused, reason_text};
use super::{Drops, ObserveError, Observer, chain};
use crate::bpf::Bpf;
use crate::observe::clock::now;
use crate::observe::select::Covered;
use crate::observe::target::{Asked, Interest, Target};
use crate::pipeline::Input;
use crate::proc;
use crate::shim::{self, Location, WorkerRing};
use analysis::ids::ProcessKey;

/// PIDs of ended targets kept for messages. Arbitrary, only bounds memory.
const ENDED_MAX: usize = 1024;

impl Observer {
    /// Meets processes of the selection that were not met before, and rings that were not there.
    pub(super) fn scan(&mut self) -> Result<(), ObserveError> {
        self.release_replaced()?;
        self.node.look(Instant::now());
        for sentence in self.node.left_out().sentences() {
            self.note(sentence)?;
        }
        let mut covered = self.settings.selection.covered(&self.node);
        // A ring that was refused changes hands without a sign.
        covered.extend(
            self.refused.list().iter().map(|refused| Covered { pid: refused.pid, ringless: false }),
        );
        for Covered { pid, ringless } in covered {
            let Some(start_time) = proc::start_time(pid) else {
                continue;
            };
            let known = self.targets.iter().find(|target| target.pid == pid);
            // Whose number was reused between two rounds is buried at the end of this one.
            let met = known
                .is_some_and(|target| target.ring.is_some() || target.start_time != start_time);
            if !met && pid != std::process::id() {
                self.meet(pid, start_time, ringless)?;
            }
        }
        self.rename()?;
        self.heed_faults()?;
        self.meet_engines()?;
        self.find_python()
    }

    /// Processes are met before they have set their title, most of all under `warplens run`.
    fn rename(&mut self) -> Result<(), ObserveError> {
        for index in 0..self.targets.len() {
            let Some(target) = self.targets.get_mut(index) else {
                continue;
            };
            let process = target.key;
            if let Some(info) = target.renamed(&self.node) {
                self.feed(Input::Process { process, info })?;
            }
        }
        Ok(())
    }

    /// Meets the engine cores of workers that the selection covers without them: after the others,
    /// so that a selected one is met for its own sake.
    fn meet_engines(&mut self) -> Result<(), ObserveError> {
        if !self.bpf.as_ref().is_some_and(Bpf::tells_threads) {
            return Ok(());
        }
        let workers = self.targets.iter().filter(|target| target.ring.is_some());
        let engines: BTreeSet<u32> =
            workers.flat_map(|worker| self.node.engine_cores_above(worker.pid)).collect();
        for pid in engines {
            if self.targets.iter().any(|target| target.pid == pid) {
                continue;
            }
            let Some(start_time) = proc::start_time(pid) else {
                continue;
            };
            let key = self.fresh_key(pid);
            let info = self.node.describe(pid);
            self.feed(Input::Process { process: key, info: info.clone() })?;
            if let Some(bpf) = &mut self.bpf
                && let Err(error) = bpf.watch_threads(pid)
            {
                self.note(format!(
                    "Whether the engine core, process {pid}, slept is not known: {}.",
                    chain(&error)
                ))?;
            }
            self.targets.push(Target::new(
                key,
                info,
                start_time,
                Interest::Engine,
                None,
                Asked { level: Level::Dormant, rate: 0, tell: 0 },
                Level::Dormant,
            ));
        }
        Ok(())
    }

    /// Of a process met for the first time; what was known of another one of its number is not its own.
    fn fresh_key(&mut self, pid: u32) -> ProcessKey {
        self.symbols.forget(pid);
        self.next_key += 1;
        ProcessKey(self.next_key - 1)
    }

    /// Lets go of rings whose process has become another program by `exec`: its shim is gone, and
    /// the program may bring one of its own.
    fn release_replaced(&mut self) -> Result<(), ObserveError> {
        let replaced = |target: &Target| {
            target.ring.as_ref().is_some_and(|ring| !ring.is_mapped())
                // A first thread that ended shows no mappings while the others run on.
                && proc::has_leader(target.pid)
                && target.lives()
        };
        while let Some(index) = self.targets.iter().position(replaced) {
            self.release(index)?;
        }
        Ok(())
    }

    fn meet(&mut self, pid: u32, start_time: u64, ringless: bool) -> Result<(), ObserveError> {
        let ring = match shim::find(pid) {
            Ok(Some(location)) => self.take_over(&location)?,
            // Gone, or not ours to look at.
            Err(_) => return Ok(()),
            Ok(None) => None,
        };
        let known = self.targets.iter().position(|target| target.pid == pid);
        if ring.is_none() && (known.is_some() || !ringless) {
            return Ok(());
        }
        let key = if let Some(index) = known {
            // Met without a ring: the same process goes on under the same key.
            self.targets.remove(index).key
        } else {
            self.fresh_key(pid)
        };
        let info = self.node.describe(pid);
        self.feed(Input::Process { process: key, info: info.clone() })?;
        if ring.is_some() {
            self.feed(Input::Attached { process: key, at: now() })?;
        }
        let (asked, ceiling) = (self.first_asked(), self.settings.level);
        let interest = Interest::Selected;
        let mut target = Target::new(key, info, start_time, interest, ring, asked, ceiling);
        self.find_python_first(&mut target)?;
        self.attach_programs(&mut target)?;
        self.look_into_sleepers(&target)?;
        if let Some(ring) = target.ring.as_ref().filter(|ring| !ring.memory().is_full()) {
            let status = ring.status();
            let reason = reason_text(status.off_reason, status.cupti_error);
            self.note(format!("GPU work of process {pid} is not seen: {reason}."))?;
        }
        for note in faults::heed(&self.faults, &mut target) {
            self.note(note)?;
        }
        target.ask();
        if target.ring.is_some() {
            target.logs = self.logs_of(pid);
        }
        let governed = target.ring.is_some();
        self.targets.push(target);
        if governed { self.govern(true) } else { Ok(()) }
    }

    /// Becomes the owner of a ring, or says why not. A ring held by another agent is asked for
    /// again at each look.
    fn take_over(&mut self, location: &Location) -> Result<Option<WorkerRing>, ObserveError> {
        let pid = location.pid;
        let error = match WorkerRing::attach(location) {
            Ok(ring) => {
                self.refused.lift(pid);
                if let Some(keeper) = &self.keeper {
                    keeper.add(ring.pulse());
                }
                return Ok(Some(ring));
            }
            Err(error) => error,
        };
        let reason = chain(&error);
        let fresh = self.refused.add(Refused {
            pid,
            privilege: error.is_privilege(),
            reason: reason.clone(),
        });
        if fresh {
            self.note(format!("GPU work of process {pid} is not seen: {reason}."))?;
        }
        Ok(None)
    }

    /// Watches the process, puts the stack probe into its shim and, in verification mode, counts
    /// at its driver: all before the shim is asked for a level, so that nothing is missed.
    fn attach_programs(&mut self, target: &mut Target) -> Result<(), ObserveError> {
        let (pid, stacks) = (target.pid, self.wants_stacks());
        let Some(bpf) = &mut self.bpf else {
            return Ok(());
        };
        let mut problems = Vec::new();
        // Nobody asks a daemon for stacks of sleeps, nor for any of processes that launch nothing.
        let watched = match &target.ring {
            _ if stacks => bpf.watch(pid),
            Some(_) => bpf.watch_on_cpu(pid),
            None => bpf.watch_threads(pid),
        };
        if let Err(error) = watched {
            problems.push(format!("Process {pid} is not sampled: {}.", chain(&error)));
        }
        if target.ring.is_some() && self.settings.stacks {
            let library = shim::library_with(pid, wire::shim::PROBE_SYMBOL, "warplens");
            match library {
                Ok(Some(library)) => {
                    if let Err(error) = bpf.attach_probe(pid, &library) {
                        problems
                            .push(format!("No launch stacks of process {pid}: {}.", chain(&error)));
                    }
                }
                _ => problems.push(format!(
                    "No launch stacks of process {pid}: no library with the probe point is mapped."
                )),
            }
        }
        if target.ring.is_some() && self.settings.verify {
            let driver = shim::library_with(pid, "cuLaunchKernel", "libcuda.so");
            match driver {
                Ok(Some(driver)) => match bpf.attach_verify(pid, &driver) {
                    Ok(_probes) => target.verified = true,
                    Err(error) => {
                        let error = chain(&error);
                        problems.push(format!("Process {pid} is not verified: {error}."));
                    }
                },
                _ => problems
                    .push(format!("Process {pid} is not verified: no driver library is mapped.")),
            }
        }
        problems.into_iter().try_for_each(|problem| self.note(problem))
    }

    pub(super) fn bury_the_dead(&mut self) -> Result<(), ObserveError> {
        while let Some(index) = self.targets.iter().position(|target| !target.lives()) {
            let selected = |target: &&Target| target.interest == Interest::Selected;
            let pid = self.targets.get(index).filter(selected).map(|target| target.pid);
            self.release(index)?;
            if self.ended.len() < ENDED_MAX {
                self.ended.extend(pid);
            }
        }
        if self.settings.selection.is_endless() {
            // A daemon meets processes without end.
            self.refused.retain(proc::alive);
        }
        Ok(())
    }

    /// Takes the last of a target's records and forgets it.
    pub(super) fn release(&mut self, index: usize) -> Result<(), ObserveError> {
        // The mapping outlives the process: what it wrote last is still there.
        self.drain_rest(index)?;
        self.count_one(index)?;
        let target = self.targets.remove(index);
        // Let go, not ended: nobody is to blame.
        let let_go = HowEnded::Code(0);
        let lives = target.lives();
        let xid = if lives { None } else { self.error_of(&target) };
        let how = if lives { let_go } else { self.endings.bury(&target, now(), xid) };
        self.tell_governor_of_end(&target, how, xid)?;
        self.forget_for_hangs(target.key);
        self.verifications.extend(self.verification(&target));
        if let Some(ring) = &target.ring {
            ring.ask(Level::Dormant, 0);
            self.note_ring_losses(ring, target.rearms)?;
            self.past_drops = self.past_drops.plus(Drops::of(ring));
        }
        self.maker.forget(target.pid);
        if let Some(bpf) = &mut self.bpf
            && let Err(error) = bpf.unwatch(target.pid)
        {
            self.note(format!("Process {} stays watched: {}.", target.pid, chain(&error)))?;
        }
        self.feed(Input::Ended { process: target.key, at: now() })
    }
}
