//! Names of kernel code. The kernel is asked for each address by a program of ours; where it cannot run that,
//! by `/proc/kallsyms`, which costs 40 ms and 9 MB once and is shown to root and to who has `CAP_SYSLOG`
//! only. Elsewhere its frames have no names.

use std::collections::HashMap;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel as KernelSource, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use crate::bpf::{Bpf, KernelSymbol};
use crate::capture::{Frame, Language};
use crate::pipeline::Symbol;

/// Function of kernel code without a name.
const NAMELESS: &str = "[kernel]";

/// Names kept. The paths of all system calls together have fewer return addresses; one more is looked
/// up afresh.
const NAMES_MAX: usize = 1 << 14;

/// The running kernel.
#[derive(Debug, Default)]
pub struct KernelNames {
    names: HashMap<u64, Frame>,
    /// Made when the first address comes that no program told.
    table: Option<Table>,
    /// The kernel does not answer our program.
    silent: bool,
    nameless: u64,
}

impl KernelNames {
    pub fn new() -> Self {
        Self::default()
    }

    /// The frame of each address of the kernel. `bpf`: the loaded programs, where there are any.
    pub fn resolve(&mut self, mut bpf: Option<&mut Bpf>, addresses: &[u64]) -> Vec<Symbol> {
        if self.names.len() + addresses.len() > NAMES_MAX {
            self.names.clear();
        }
        for &address in addresses {
            if !self.names.contains_key(&address) {
                let frame = self.frame(bpf.as_deref_mut(), address);
                self.names.insert(address, frame);
            }
        }
        let frame = |address: &u64| self.names.get(address).cloned().unwrap_or_default();
        addresses
            .iter()
            .map(|address| Symbol { address: *address, frames: vec![frame(address)] })
            .collect()
    }

    /// Addresses without a name, mostly because the kernel does not show its addresses.
    pub fn nameless(&self) -> u64 {
        self.nameless
    }

    fn frame(&mut self, mut bpf: Option<&mut Bpf>, address: u64) -> Frame {
        let exact = self.ask(bpf.as_deref_mut(), address).filter(|symbol| symbol.offset == 0);
        // One before, as everywhere: a return address lies behind its call.
        let symbol = exact.or_else(|| self.ask(bpf, address.wrapping_sub(1)));
        self.nameless += u64::from(symbol.is_none());
        let function = symbol.map_or_else(|| NAMELESS.to_owned(), |symbol| symbol.name);
        Frame { language: Language::Kernel, function, ..Frame::default() }
    }

    fn ask(&mut self, bpf: Option<&mut Bpf>, address: u64) -> Option<KernelSymbol> {
        if let Some(bpf) = bpf.filter(|_| !self.silent) {
            match bpf.kernel_symbol(address) {
                Ok(symbol) => return symbol,
                // An older kernel: it will not learn it.
                Err(_) => self.silent = true,
            }
        }
        self.table.get_or_insert_with(Table::new).symbol(address)
    }
}

/// `/proc/kallsyms`, all of it.
#[derive(Debug)]
struct Table {
    symbolizer: Symbolizer,
}

impl Table {
    fn new() -> Self {
        let symbolizer =
            Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build();
        Self { symbolizer }
    }

    fn symbol(&self, address: u64) -> Option<KernelSymbol> {
        // An image of the kernel beside its table of symbols would add lines at hundreds of megabytes.
        let source = Source::Kernel(KernelSource {
            kallsyms: MaybeDefault::Default,
            vmlinux: MaybeDefault::None,
            ..KernelSource::default()
        });
        match self.symbolizer.symbolize_single(&source, Input::AbsAddr(address)).ok()? {
            Symbolized::Sym(symbol) => Some(KernelSymbol {
                offset: address.saturating_sub(symbol.addr),
                name: symbol.name.into_owned(),
            }),
            Symbolized::Unknown(_) => None,
        }
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

    fn check(name: &str, mut bpf: Option<Bpf>) {
        let Some((start, next)) = function("schedule") else {
            println!("SKIP {name}: /proc/kallsyms shows no addresses");
            return;
        };
        let mut kernel = KernelNames::new();
        // Its first byte, a call in it, one that ends it, and no code at all.
        let symbols = kernel.resolve(bpf.as_mut(), &[start, start + 8, next, 0x10 | 3 << 62]);
        let check = |at: usize, expected: &str| {
            let [frame] = symbols[at].frames.as_slice() else { panic!("{symbols:?}") };
            assert_eq!((frame.function.as_str(), frame.language), (expected, Language::Kernel));
        };
        check(0, "schedule");
        check(1, "schedule");
        assert_ne!(
            symbols[2].frames[0].function, "schedule",
            "the first byte of the next one is not behind a call"
        );
        check(3, NAMELESS);
        assert_eq!(kernel.nameless(), 1);
        let again = kernel.resolve(bpf.as_mut(), &[start + 8]);
        assert_eq!(again[0].frames[0].function, "schedule");
        assert_eq!(kernel.table.is_none(), bpf.is_some(), "who was asked");
    }

    #[test]
    fn functions_of_the_kernel_are_named_from_its_table() {
        check("functions_of_the_kernel_are_named_from_its_table", None);
    }

    #[test]
    fn functions_of_the_kernel_are_named_by_itself() {
        match Bpf::load() {
            Ok(bpf) => check("functions_of_the_kernel_are_named_by_itself", Some(bpf)),
            Err(error) => println!("SKIP functions_of_the_kernel_are_named_by_itself: {error}"),
        }
    }
}
