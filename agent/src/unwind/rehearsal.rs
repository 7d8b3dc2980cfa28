//! Unwinding by bytes that no process has mapped: for tests and fuzzing, which hand in files and code that nobody could run.

use super::Copied;
use super::forward::{self, Target};
use super::function::{self, Context};
use super::image::{Image, Source};
use super::index::Index;
use super::row::{Row, State};

/// Everything that is read of a file, and the rows of the functions at these addresses of it.
pub(super) fn rows(file: &[u8], addresses: impl IntoIterator<Item = u64>) -> Vec<Row> {
    let Some(image) = Image::new(Source::Memory(file.into())) else {
        return Vec::new();
    };
    let _ = (image.mapped_address(0), image.mapped_address(0x1000));
    let index = Index::of(&image);
    let mut context = Context::new_in();
    let functions = addresses
        .into_iter()
        .filter_map(|address| function::read(&image, index.find(&image, address)?, &mut context));
    functions.flat_map(|function| function.pieces).filter_map(|(_, row)| row).collect()
}

/// Reads the unwind information of a file at these addresses and takes a step by each row that it has there; how many rows
/// led to a caller.
pub fn rehearse_file(file: &[u8], addresses: &[u64], stack: &Copied<'_>) -> usize {
    let state = State::of_leaf(stack.registers);
    let rows = rows(file, addresses.iter().copied());
    rows.iter().filter(|row| row.step(&state, stack).is_ok()).count()
}

/// Follows code without unwind information, whose first byte is at address `start`, from where the registers stand; whether
/// that led anywhere.
pub fn rehearse_code(code: &[u8], start: u64, stack: &Copied<'_>) -> bool {
    let mut target = Bytes { start, code };
    forward::follow(&State::of_leaf(stack.registers), stack, &mut target).is_some()
}

/// Code, which is its own data, too.
struct Bytes<'a> {
    start: u64,
    code: &'a [u8],
}

impl Target for Bytes<'_> {
    fn code(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let from = address.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let rest = from.and_then(|at| self.code.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        length
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.code(address, &mut bytes) == bytes.len()).then(|| u64::from_le_bytes(bytes))
    }

    fn is_described(&mut self, _address: u64) -> bool {
        false
    }
}
