//! The shim is brought into what is chosen and has none: an engine or an API server has no CUDA that would load it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use super::super::session::Session;
use super::super::{CommandError, attach, one_line};
use crate::inject::InjectError;
use crate::observe::Observer;
use crate::proc;

/// Between two looks. Helpers that live for a moment are not worth a stop.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A process that runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    pid: u32,
    started: u64,
    /// Device and inode of its program: one that executes another starts anew.
    program: (u64, u64),
}

impl Life {
    fn of(pid: u32) -> Option<Self> {
        let program = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let program = (program.dev(), program.ino());
        Some(Self { pid, started: proc::start_time(pid)?, program })
    }
}

/// Those that were entered or could not be, and those that were there at the last look.
pub(super) struct Newcomers {
    tried: BTreeSet<Life>,
    seen: BTreeSet<Life>,
    looked: Instant,
}

impl Newcomers {
    /// Enters everything that is there. Of a process among `asked` for by number it is an error if that fails where
    /// nothing else is left to look at.
    pub(super) fn enter_all(session: &mut Session, asked: &[u32]) -> Result<Self, CommandError> {
        let lives: Vec<Life> =
            session.observer.ringless().into_iter().filter_map(Life::of).collect();
        let mut newcomers =
            Self { tried: BTreeSet::new(), seen: BTreeSet::new(), looked: Instant::now() };
        let refused = newcomers.enter(&lives, &mut session.observer)?;
        session.arm()?;
        let unseen = session.observer.ring_count() == 0;
        match refused.into_iter().find(|(pid, _)| unseen && asked.contains(pid)) {
            Some((pid, error)) if error.is_privilege() => Err(CommandError::Privilege {
                what: format!("leaks: look into the heap of process {pid}"),
                privilege: "CAP_SYS_PTRACE".to_owned(),
                advice: "run as root, grant it, or leave the heap alone with `--no-heap`"
                    .to_owned(),
            }),
            Some((_, error)) => Err(CommandError::Failed {
                message: "leaks".to_owned(),
                source: Some(error.into()),
            }),
            None => Ok(newcomers),
        }
    }

    /// Enters what came and stayed since, if it is time to look.
    pub(super) fn look(&mut self, observer: &mut Observer) -> Result<(), CommandError> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let lives: BTreeSet<Life> = observer.ringless().into_iter().filter_map(Life::of).collect();
        let stayed: Vec<Life> = lives.intersection(&self.seen).copied().collect();
        self.seen = lives;
        self.enter(&stayed, observer).map(drop)
    }

    fn enter(
        &mut self,
        lives: &[Life],
        observer: &mut Observer,
    ) -> Result<Vec<(u32, InjectError)>, CommandError> {
        let fresh: Vec<u32> =
            lives.iter().filter(|life| self.tried.insert(**life)).map(|life| life.pid).collect();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let refused = attach::bring(&fresh)?;
        observer.look_at_once();
        for (pid, error) in &refused {
            // Of one that ended nothing is missing.
            if proc::alive(*pid) {
                let why = why(error);
                observer.note(format!("The heap of process {pid} is not seen: {why}."))?;
            }
        }
        Ok(refused)
    }
}

fn why(error: &InjectError) -> String {
    match error {
        // It has no ring, or it would not be a newcomer.
        InjectError::Present { .. } => {
            "it was forked by a process that had the shim, which stays off in forked children"
                .to_owned()
        }
        error => one_line(error),
    }
}
