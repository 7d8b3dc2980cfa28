//! The `record` command: observe running processes for a while.

use std::time::Duration;

use super::session::{Outcome, Session, Subject, Until, print};
use super::{CommandError, Exit, screen, target};
use crate::cli::RecordArgs;

/// Between looks for new processes below the ones that were named.
pub(super) const SCAN_EVERY: Duration = Duration::from_secs(1);

pub fn run(args: &RecordArgs) -> Result<Exit, CommandError> {
    let selection = target::selection("record", &args.target)?;
    let mut session =
        Session::open("record", selection, &args.observation, SCAN_EVERY, Subject::Everything)?;
    session.arm()?;
    if session.is_interrupted() && !session.observer.armed() {
        return Err(CommandError::Failed {
            message: "record: interrupted before the workers answered: nothing was recorded"
                .to_owned(),
            source: None,
        });
    }
    target::check("record", &session, &args.target)?;
    let outcome = session.observe(Until::After(args.duration), |_observer| Ok(true))?;
    let observed = session.elapsed();
    let ended = session.observer.ended().to_vec();
    let disagree = session.observer.verifications().iter().any(|counts| !counts.agrees());
    let refused = session.observer.refused().first().cloned();
    let capture = session.close()?;
    print(&capture, &args.observation.out, args.json)?;
    if outcome == Outcome::TargetsEnded {
        let pids: Vec<_> = ended.iter().map(ToString::to_string).collect();
        return Err(CommandError::Failed {
            message: format!(
                "process {} ended {:.1} s into a recording of {:.1} s: what was seen until then is in {}",
                pids.join(", "),
                observed.as_secs_f64(),
                args.duration.as_secs_f64(),
                args.observation.out.display()
            ),
            source: None,
        });
    }
    if outcome == Outcome::SwitchedOff {
        return Err(CommandError::Failed {
            message: format!(
                "record: Warplens was switched off {:.1} s into a recording of {:.1} s: what was seen until then is in {}",
                observed.as_secs_f64(),
                args.duration.as_secs_f64(),
                args.observation.out.display()
            ),
            source: None,
        });
    }
    // With `--all` nobody asked for that process in particular.
    if let Some(refused) = refused.filter(|_| !args.target.all) {
        return Err(target::refusal("record", &refused));
    }
    if args.observation.verify && disagree {
        screen::say("warplens: verification failed: eBPF and the shim count different launches");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}
