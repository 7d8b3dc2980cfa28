//! Which error of a device explains the end of a worker. Pure: time comes in.

use std::collections::VecDeque;

use analysis::ids::Ns;

use super::xid::{PciAddress, Xid};

/// An error explains an end that follows within this. A worker hears of it at its next call and writes a trace of stacks
/// before it ends; engines give workers some seconds.
const EXPLAINS_NS: u64 = 30_000_000_000;

/// The same error of a device is not worth a word again within this.
const QUIET_NS: u64 = 300_000_000_000;

/// Errors remembered. A device that fails may tell thousands in a second; the last ones are of most use.
const ERRORS_MAX: usize = 256;

/// The latest errors of devices.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    latest: VecDeque<(Ns, Xid)>,
}

impl Errors {
    /// Told at this time. `true`: it is the first of its number on that device for a while, and worth a word.
    pub fn hear(&mut self, now: Ns, xid: Xid) -> bool {
        if !xid.ends_processes() {
            return false;
        }
        let alike = |(at, known): &(Ns, Xid)| {
            (known.number, known.device) == (xid.number, xid.device)
                && now.0.saturating_sub(at.0) < QUIET_NS
        };
        let fresh = !self.latest.iter().any(alike);
        if self.latest.len() >= ERRORS_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((now, xid));
        fresh
    }

    /// The first error, of late, that names this process; or one of its devices and nobody.
    pub fn explain(&self, now: Ns, pid: u32, devices: &[PciAddress]) -> Option<Xid> {
        let late = |(at, _): &&(Ns, Xid)| now.0.saturating_sub(at.0) <= EXPLAINS_NS;
        let of_late = || self.latest.iter().filter(late).map(|(_, xid)| *xid);
        let nobodys = |xid: &Xid| xid.pid.is_none() && devices.contains(&xid.device);
        of_late().find(|xid| xid.pid == Some(pid)).or_else(|| of_late().find(nobodys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn device(bus: u8) -> PciAddress {
        PciAddress { domain: 0, bus, device: 0 }
    }

    fn heard(errors: &[(u64, u32, u8, Option<u32>)]) -> Errors {
        let mut found = Errors::default();
        for &(at, number, bus, pid) in errors {
            found.hear(Ns(at * S), Xid { number, device: device(bus), pid });
        }
        found
    }

    fn check(errors: &[(u64, u32, u8, Option<u32>)], at: u64, expected: Option<u32>) {
        let found = heard(errors).explain(Ns(at * S), 7, &[device(3)]);
        assert_eq!(found.map(|xid| xid.number), expected, "{errors:?}");
    }

    #[test]
    fn the_worker_or_its_device_and_of_late() {
        check(&[(10, 31, 9, Some(7))], 12, Some(31));
        check(&[(10, 79, 3, None)], 12, Some(79));
        check(&[(10, 79, 3, None), (11, 31, 3, Some(7))], 12, Some(31));
        check(&[(10, 31, 3, Some(8))], 12, None);
        check(&[(10, 79, 4, None)], 12, None);
        check(&[(10, 31, 3, Some(7))], 41, None);
        // What comes first is the cause.
        check(&[(10, 48, 3, Some(7)), (10, 95, 3, Some(7))], 12, Some(48));
        // A process that was killed leaves this behind.
        check(&[(10, 45, 3, Some(7))], 12, None);
    }

    #[test]
    fn one_word_for_many() {
        let mut errors = Errors::default();
        let xid = |number, bus| Xid { number, device: device(bus), pid: None };
        assert!(errors.hear(Ns(S), xid(79, 3)));
        assert!(!errors.hear(Ns(2 * S), xid(79, 3)));
        assert!(errors.hear(Ns(2 * S), xid(79, 4)) && errors.hear(Ns(2 * S), xid(48, 3)));
        assert!(errors.hear(Ns(303 * S), xid(79, 3)));
        assert!(!errors.hear(Ns(900 * S), xid(45, 3)));
    }

    #[test]
    fn a_flood_is_bounded() {
        let flood: Vec<_> = (0..10_000).map(|n| (n, 31, 3, Some(7))).collect();
        assert_eq!(heard(&flood).latest.len(), ERRORS_MAX);
    }
}
