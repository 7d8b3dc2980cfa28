//! Which function of the kernel an address lies in, asked of the kernel itself.

use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun};
use wire::limits::KERNEL_SYMBOL_BYTES;

use super::error::BpfError;
use super::load::Bpf;

const PROGRAM: &str = "kernel_symbol";

/// The text the program leaves.
pub(super) type Text = Array<MapData, [u8; KERNEL_SYMBOL_BYTES as usize]>;

/// A function of the kernel or of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSymbol {
    pub name: String,
    /// From its start to the address that was asked for, bytes.
    pub offset: u64,
}

impl KernelSymbol {
    /// `name+0x12/0x340 [module]`; an address without a name is printed as a number.
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.rsplit_once("+0x")?;
        let (offset, _) = rest.split_once('/')?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), offset })
    }
}

impl Bpf {
    /// What lies at `address`; `None` where the kernel has no name for it.
    ///
    /// # Errors
    /// Where the kernel cannot print symbols for a program (before 5.13), or not run one (before 5.10).
    pub fn kernel_symbol(&mut self, address: u64) -> Result<Option<KernelSymbol>, BpfError> {
        let failed = |source: ProgramError| BpfError::program(PROGRAM, source);
        let program: &mut RawTracePoint = self.program(PROGRAM)?;
        if program.fd().is_err() {
            program.load().map_err(failed)?;
        }
        let mut options = RawTracePointRunOptions::new();
        if let Some(argument) = options.args.first_mut() {
            *argument = address;
        }
        program.test_run(options).map_err(failed)?;
        let text = self
            .kernel_symbol_text
            .get(&0, 0)
            .map_err(|source| BpfError::map("KERNEL_SYMBOL", source))?;
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(str::from_utf8(text).ok().and_then(KernelSymbol::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_prints_is_read() {
        let symbol = |name: &str, offset| Some(KernelSymbol { name: name.to_owned(), offset });
        assert_eq!(KernelSymbol::parse("schedule+0x10/0x120"), symbol("schedule", 16));
        assert_eq!(KernelSymbol::parse("uvm_ioctl+0x0/0x80 [nvidia_uvm]"), symbol("uvm_ioctl", 0));
        for nameless in ["0xffffffff81000000", "", "+0x1/0x2", "name+0xzz/0x1", "name+0x1"] {
            assert_eq!(KernelSymbol::parse(nameless), None, "{nameless}");
        }
    }
}
