//! Verification mode: an independent count of launches, taken at the driver library's exports.
//! Dear on the real library; the caller says the price before it asks for it.

use std::path::Path;

use aya::maps::MapError;
use wire::kernel::{VerifyCounts, verify_cookie};
use wire::limits::TARGETS;

use crate::elf::{self, Site};

use super::error::BpfError;
use super::host::KernelVersion;
use super::load::Bpf;
use super::pod::MapValue;
use super::probe::Probe;

/// Exports of libcuda that launch, with what they launch. `_ptsz` are the variants for the
/// per-thread default stream.
const LAUNCHES: [(&str, u64); 12] = [
    ("cuLaunchKernel", verify_cookie::KERNEL),
    ("cuLaunchKernel_ptsz", verify_cookie::KERNEL),
    ("cuLaunchKernelEx", verify_cookie::KERNEL),
    ("cuLaunchKernelEx_ptsz", verify_cookie::KERNEL),
    ("cuLaunchCooperativeKernel", verify_cookie::KERNEL),
    ("cuLaunchCooperativeKernel_ptsz", verify_cookie::KERNEL),
    ("cuLaunchCooperativeKernelMultiDevice", verify_cookie::KERNEL),
    ("cuLaunch", verify_cookie::KERNEL),
    ("cuLaunchGrid", verify_cookie::KERNEL),
    ("cuLaunchGridAsync", verify_cookie::KERNEL),
    ("cuGraphLaunch", verify_cookie::GRAPH),
    ("cuGraphLaunch_ptsz", verify_cookie::GRAPH),
];

/// Where the counting probes sit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyProbes {
    /// Symbol and site of each probed export; exports at one address are probed once.
    pub probed: Vec<(&'static str, Site)>,
    /// Exports this library does not have.
    pub absent: Vec<&'static str>,
}

impl Bpf {
    /// Counts launches of `pid` at the exports of its libcuda, from the moment this returns. The
    /// path is the one the agent opens it by, as for [`Bpf::attach_probe`].
    pub fn attach_verify(&mut self, pid: u32, library: &Path) -> Result<VerifyProbes, BpfError> {
        self.allowed(Probe::LaunchCount)?;
        let names = LAUNCHES.map(|(name, _)| name);
        let mut found = elf::find(library, &names)
            .map_err(|source| BpfError::Library { library: library.to_owned(), source })?;
        let kernel = KernelVersion::running();
        let mut probes = VerifyProbes::default();
        let mut points = Vec::new();
        for (name, cookie) in LAUNCHES {
            match found.remove(name) {
                None => probes.absent.push(name),
                Some(symbol) if points.iter().any(|&(_, offset, _)| offset == symbol.offset) => {}
                Some(symbol) => {
                    // Always the first instruction: behind it the return address may have moved.
                    probes.probed.push((name, Site::first(&symbol.code, kernel)));
                    points.push((name, symbol.offset, cookie));
                }
            }
        }
        if points.is_empty() {
            return Err(BpfError::NoSymbol {
                program: "verify_enter",
                pid,
                symbol: names.join("`, `"),
                library: library.to_owned(),
            });
        }
        let mut links = Vec::new();
        // Returns first: a call that is entered uncounted may then return, which changes nothing.
        for &(name, offset, _) in &points {
            links.push(self.attach_uprobe("verify_return", pid, library, (name, offset), None)?);
        }
        for &(name, offset, cookie) in &points {
            links.push(self.attach_uprobe(
                "verify_enter",
                pid,
                library,
                (name, offset),
                Some(cookie),
            )?);
        }
        self.start_counting(pid)?;
        self.attached.entry(pid).or_default().verify = links;
        Ok(probes)
    }

    /// Launches of this process since [`Bpf::attach_verify`]; `None` where it was not called.
    pub fn verify_counts(&self, pid: u32) -> Result<Option<VerifyCounts>, BpfError> {
        match self.verify.get(&pid, 0) {
            Ok(MapValue(counts)) => Ok(Some(counts)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(BpfError::map("VERIFY", source)),
        }
    }

    /// Makes the entry the programs count in: they make none themselves, so the map cannot be
    /// full in the middle of a count.
    fn start_counting(&mut self, pid: u32) -> Result<(), BpfError> {
        let zero = MapValue(VerifyCounts::default());
        self.verify.insert(pid, zero, 0).map_err(|source| match &source {
            MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG) => {
                BpfError::Full { pid, capacity: TARGETS }
            }
            _ => BpfError::map("VERIFY", source),
        })
    }
}
