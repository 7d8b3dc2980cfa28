//! Memory of another process, read piecewise.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What can be asked for bytes at an address. Addresses come from the process itself and may be
/// anything; a read gives all of the bytes or none.
pub trait Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    fn u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes).then_some(u64::from_le_bytes(bytes))
    }

    fn u32(&self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes).then_some(u32::from_le_bytes(bytes))
    }

    fn u8(&self, address: u64) -> Option<u8> {
        let mut byte = [0];
        self.read(address, &mut byte).then_some(byte[0])
    }
}

/// `/proc/PID/mem`. It stays bound to the program that ran when it was opened: behind an exec, or
/// when the number has gone to another process, reads give nothing.
#[derive(Debug)]
pub struct ProcessMemory(File);

impl ProcessMemory {
    pub fn open(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        // The file offset is signed, and no user memory lies in the upper half.
        i64::try_from(address).is_ok() && self.0.read_exact_at(into, address).is_ok()
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Memory that a test writes itself.

    use std::collections::BTreeMap;

    use super::Memory;

    #[derive(Clone, Debug, Default)]
    pub(in crate::python) struct Fake(BTreeMap<u64, u8>);

    impl Fake {
        pub(in crate::python) fn put(&mut self, address: u64, bytes: &[u8]) {
            self.0.extend((address..).zip(bytes.iter().copied()));
        }

        pub(in crate::python) fn put_u64(&mut self, address: u64, value: u64) {
            self.put(address, &value.to_le_bytes());
        }

        pub(in crate::python) fn put_u32(&mut self, address: u64, value: u32) {
            self.put(address, &value.to_le_bytes());
        }
    }

    impl Memory for Fake {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            into.iter_mut().enumerate().all(|(index, byte)| {
                let known = address.checked_add(index as u64).and_then(|at| self.0.get(&at));
                known.is_some_and(|&known| {
                    *byte = known;
                    true
                })
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read_and_wild_addresses_are_not() {
        let value = 0x1122_3344_5566_7788_u64;
        let memory = ProcessMemory::open(std::process::id()).unwrap();
        assert_eq!(memory.u64(&raw const value as u64), Some(value));
        for wild in [0, 1, u64::MAX, u64::MAX - 3, 1 << 63, 0x7fff_ffff_ffff_f000] {
            assert_eq!(memory.u64(wild), None, "{wild:x}");
        }
    }
}
