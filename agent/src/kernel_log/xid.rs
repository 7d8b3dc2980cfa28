//! One record of the kernel's log, and the error of a device that it may tell. Pure; any bytes will do.
//!
//! ```text
//! 3,1234,5678901234,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=4321, name=python3, GPU has fallen off the bus.
//! │ │    │          │ └ text                       │   └ of the process, in the machine's first PID namespace
//! │ │    │          └ flags                        └ which error
//! │ │    └ microseconds since boot
//! │ └ number of the record
//! └ facility * 8 + priority: the kernel's facility is 0, and whoever writes into the log by `/dev/kmsg` is never given it
//! ```
//! Since the text of a process's name lies in the process's hands, nothing behind it is read.

use std::fmt;

/// Xids that follow what was wrong or tell of it later, and end no process by themselves: 45 (channels of a process that
/// was killed are cleaned up), 63 and 64 (a row or page of memory will be replaced), 92 (many single-bit errors, corrected), 154
/// (what is to be done about another one). Source: NVIDIA's Xid catalog.
const FOLLOW: [u32; 5] = [45, 63, 64, 92, 154];

/// Digits of a number at most; longer ones are none.
const DIGITS_MAX: usize = 9;

/// A device's place on the bus: domain, bus, device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    pub domain: u32,
    pub bus: u8,
    pub device: u8,
}

impl PciAddress {
    /// `0000:3b:00`, and with a function behind it (`0000:3B:00.0`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, ':');
        let (domain, bus, device) = (parts.next()?, parts.next()?, parts.next()?);
        let device = device.split_once('.').map_or(device, |(device, _function)| device);
        Some(Self {
            domain: hex(domain)?,
            bus: hex(bus)?.try_into().ok()?,
            device: hex(device)?.try_into().ok()?,
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device } = self;
        write!(formatter, "{domain:04x}:{bus:02x}:{device:02x}")
    }
}

/// A device's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid {
    pub number: u32,
    pub device: PciAddress,
    /// Whose work it was, where the driver knows.
    pub pid: Option<u32>,
}

impl Xid {
    /// It may be why a process ended.
    pub fn ends_processes(&self) -> bool {
        !FOLLOW.contains(&self.number)
    }
}

/// The error that a record of `/dev/kmsg` tells; `None` where it tells none, or was written by a user.
pub fn xid_of_record(record: &[u8]) -> Option<Xid> {
    let line = record.split(|&byte| byte == b'\n').next()?;
    let end = line.iter().position(|&byte| byte == b';')?;
    let (head, text) = (line.get(..end)?, line.get(end + 1..)?);
    let priority: u32 = number(head.split(|&byte| byte == b',').next()?)?;
    // Facility 0.
    (priority < 8).then_some(())?;
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix("NVRM: Xid (PCI:")?;
    let (device, rest) = text.split_once("): ")?;
    let mut parts = rest.split(", ");
    let number = number(parts.next()?.trim().as_bytes())?;
    let pid = parts.next().and_then(|part| part.strip_prefix("pid="));
    let pid = pid.map(|pid| pid.trim_matches('\'')).and_then(|pid| self::number(pid.as_bytes()));
    Some(Xid { number, device: PciAddress::parse(device)?, pid: pid.filter(|&pid| pid > 0) })
}

fn number(digits: &[u8]) -> Option<u32> {
    let fits = (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn hex(digits: &str) -> Option<u32> {
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(record: &str, expected: Option<(u32, u8, Option<u32>)>) {
        let found = xid_of_record(record.as_bytes());
        let found = found.map(|xid| (xid.number, xid.device.bus, xid.pid));
        assert_eq!(found, expected, "{record}");
    }

    #[test]
    fn records_as_drivers_write_them() {
        let record = |text: &str| format!("3,1234,5678901234,-;NVRM: Xid (PCI:{text}\n");
        check(
            &record("0000:3b:00): 79, pid=4321, name=python3, GPU has fallen off the bus."),
            Some((79, 0x3b, Some(4321))),
        );
        check(
            &record(
                "0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            ),
            Some((79, 0x3b, None)),
        );
        check(&record("0000:03:00): 13, pid='77', name=x, Graphics"), Some((13, 3, Some(77))));
        // Before 470 there was no process.
        check(&record("0000:03:00): 13, Graphics SM Warp Exception"), Some((13, 3, None)));
        check(&record("0001:C1:00): 31"), Some((31, 0xc1, None)));
        let flags = "4,9,1,c,caller=T1;NVRM: Xid (PCI:0000:03:00): 48, pid=5\n SUBSYSTEM=pci\n";
        check(flags, Some((48, 3, Some(5))));
    }

    #[test]
    fn what_a_user_wrote_is_not_believed() {
        // `echo 'NVRM: ...' > /dev/kmsg` has facility 1; `<3>` before it changes the priority alone.
        for head in ["12", "11", "8", "131"] {
            check(&format!("{head},1,1,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=x"), None);
        }
        // Nor what a process calls itself, or a line that continues another record.
        check("3,1,1,-;NVRM: Xid (PCI:0000:3b:00): 31, name=x, pid=99", Some((31, 0x3b, None)));
        check("6,1,1,-;x\\x0aNVRM: Xid (PCI:0000:3b:00): 79, pid=1", None);
        check("6,1,1,-;x\n NVRM: Xid (PCI:0000:3b:00): 79, pid=1", None);
    }

    #[test]
    fn what_is_none() {
        for record in [
            "",
            ";",
            "3",
            "3,1,1,-;",
            "x,1,1,-;NVRM: Xid (PCI:0000:3b:00): 79",
            "3,1,1,-;NVRM: Xid (PCI:0000:3b:00): many",
            "3,1,1,-;NVRM: Xid (PCI:0000:3b:00): 99999999999999",
            "3,1,1,-;NVRM: Xid (PCI:zz): 79",
            "3,1,1,-;NVRM: Xid (PCI:0000:fff:00): 79",
            "3,1,1,-;NVRM: GPU at PCI:0000:3b:00: GPU-0b",
        ] {
            check(record, None);
        }
    }

    #[test]
    fn what_follows_an_error_ends_nobody() {
        let ends = |number| {
            let device = PciAddress { domain: 0, bus: 1, device: 0 };
            Xid { number, device, pid: None }.ends_processes()
        };
        assert!([13, 31, 48, 74, 79, 94, 95, 119].into_iter().all(ends));
        assert!(!FOLLOW.into_iter().any(ends));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _found = xid_of_record(&bytes);
            let mut record = b"3,1,1,-;NVRM: Xid (PCI:".to_vec();
            record.extend(bytes);
            let _found = xid_of_record(&record);
        }
    }
}
