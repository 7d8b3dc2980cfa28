//! Signals that end an observation early and keep what was seen: SIGINT, SIGTERM, SIGHUP.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::CommandError;

/// Remembers the latest signal until it is taken.
#[derive(Clone, Debug)]
pub struct Signals {
    latest: Arc<AtomicUsize>,
}

impl Signals {
    /// From here on these signals not end the program by themselves.
    pub fn catch() -> Result<Self, CommandError> {
        let latest = Arc::new(AtomicUsize::new(0));
        for signal in caught() {
            let number = usize::try_from(signal).unwrap_or(usize::MAX);
            signal_hook::flag::register_usize(signal, Arc::clone(&latest), number).map_err(
                |source| CommandError::Failed {
                    message: "register a signal handler".to_owned(),
                    source: Some(Box::new(source)),
                },
            )?;
        }
        Ok(Self { latest })
    }

    /// A signal has come and was not taken.
    pub fn came(&self) -> bool {
        self.latest.load(Ordering::Relaxed) != 0
    }

    /// The signal that came since the last call, if any.
    pub fn take(&self) -> Option<i32> {
        i32::try_from(self.latest.swap(0, Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }
}

/// SIGHUP only where nobody asked to survive it, as `nohup` does.
pub fn caught() -> Vec<i32> {
    let ignored = fs::read_to_string("/proc/self/status").ok().and_then(|text| ignored(&text));
    let hang_up = 1_u64 << (SIGHUP - 1);
    let mut signals = vec![SIGINT, SIGTERM];
    if ignored.is_none_or(|mask| mask & hang_up == 0) {
        signals.push(SIGHUP);
    }
    signals
}

fn ignored(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(ignored("Name:\tx\n"), None);
    }
}
