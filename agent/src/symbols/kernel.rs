//! Names of kernel code, from `/proc/kallsyms`. The kernel shows addresses there to root and to who has
//! `CAP_SYSLOG` only; elsewhere its frames have no names.

use std::collections::HashMap;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel as KernelSource, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use crate::capture::{Frame, Language};

/// Function of kernel code without a name.
const NAMELESS: &str = "[kernel]";

/// Names kept. The paths of all system calls together have fewer return addresses; one more is looked
/// up afresh.
const NAMES_MAX: usize = 1 << 14;

/// The running kernel.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// Made when the first address comes: it holds all names, 9 MB of them.
    symbolizer: Option<Symbolizer>,
    names: HashMap<u64, Frame>,
    pub(super) nameless: u64,
}

impl Kernel {
    /// The frame of each address.
    pub(super) fn resolve(&mut self, addresses: &[u64]) -> Vec<Frame> {
        if self.names.len() + addresses.len() > NAMES_MAX {
            self.names.clear();
        }
        let mut unknown: Vec<u64> =
            addresses.iter().copied().filter(|address| !self.names.contains_key(address)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let named = self.look_up(&unknown);
        self.names.extend(unknown.into_iter().zip(named));
        addresses
            .iter()
            .map(|address| self.names.get(address).cloned().unwrap_or_default())
            .collect()
    }

    fn look_up(&mut self, addresses: &[u64]) -> Vec<Frame> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let symbolizer = self.symbolizer.get_or_insert_with(|| {
            Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build()
        });
        // An image of the kernel beside its table of symbols would add lines at hundreds of megabytes.
        let source = Source::Kernel(KernelSource {
            kallsyms: MaybeDefault::Default,
            vmlinux: MaybeDefault::None,
            ..KernelSource::default()
        });
        let names = |addresses: &[u64]| -> Vec<Option<(u64, String)>> {
            match symbolizer.symbolize(&source, Input::AbsAddr(addresses)) {
                Ok(symbols) => symbols
                    .into_iter()
                    .map(|symbol| match symbol {
                        Symbolized::Sym(symbol) => Some((symbol.addr, symbol.name.into_owned())),
                        Symbolized::Unknown(_) => None,
                    })
                    .collect(),
                Err(_) => vec![None; addresses.len()],
            }
        };
        // One before, as everywhere: a return address lies behind its call.
        let calls: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(1)).collect();
        let (exact, before) = (names(addresses), names(&calls));
        addresses
            .iter()
            .zip(exact.into_iter().zip(before))
            .map(|(&address, (exact, before))| {
                let name = match exact {
                    Some((start, name)) if start == address => Some(name),
                    _ => before.map(|(_, name)| name),
                };
                self.nameless += u64::from(name.is_none());
                let function = name.unwrap_or_else(|| NAMELESS.to_owned());
                Frame { language: Language::Kernel, function, ..Frame::default() }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own table, which shows zeros to who may not see addresses.
    fn function(name: &str) -> Option<(u64, u64)> {
        let text = std::fs::read_to_string("/proc/kallsyms").ok()?;
        let addresses: Vec<(u64, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                Some((address, words.nth(1)?))
            })
            .collect();
        let &(start, _) = addresses.iter().find(|&&(_, known)| known == name)?;
        let next = addresses.iter().map(|&(next, _)| next).filter(|&next| next > start).min()?;
        (start != 0).then_some((start, next))
    }

    #[test]
    fn functions_of_the_kernel_are_named() {
        let Some((start, next)) = function("schedule") else {
            println!("SKIP functions_of_the_kernel_are_named: /proc/kallsyms shows no addresses");
            return;
        };
        let mut kernel = Kernel::default();
        // Its first byte, a call in it, and one that ends it.
        let frames = kernel.resolve(&[start, start + 8, next, 0x10 | 3 << 62]);
        let check = |at: usize, expected: &str| {
            let frame: &Frame = &frames[at];
            assert_eq!((frame.function.as_str(), frame.language), (expected, Language::Kernel));
        };
        check(0, "schedule");
        check(1, "schedule");
        assert_ne!(
            frames[2].function, "schedule",
            "the first byte of the next one is not behind a call"
        );
        check(3, NAMELESS);
        assert_eq!(kernel.nameless, 1);
        assert_eq!(kernel.resolve(&[start + 8])[0].function, "schedule");
    }
}
