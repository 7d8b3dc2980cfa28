//! The rows of addresses that stacks went through of late: most return addresses come again.

use std::sync::Arc;

use super::modules::ModuleId;
use super::row::Row;

/// Places, 24 bytes each. A busy vLLM worker has some thousand return addresses.
const PLACES: usize = 1 << 14;

/// An address has one place, which it shares with others; the last one has it.
#[derive(Debug)]
pub(super) struct Recent {
    places: Vec<Option<(ModuleId, u64, Arc<Row>)>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { places: vec![None; PLACES] }
    }
}

impl Recent {
    pub(super) fn get(&self, id: ModuleId, address: u64) -> Option<Arc<Row>> {
        let (its, at, row) = self.places.get(place(id, address))?.as_ref()?;
        (*its == id && *at == address).then(|| Arc::clone(row))
    }

    pub(super) fn put(&mut self, id: ModuleId, address: u64, row: &Arc<Row>) {
        if let Some(place) = self.places.get_mut(place(id, address)) {
            *place = Some((id, address, Arc::clone(row)));
        }
    }
}

/// Fibonacci hashing.
fn place(id: ModuleId, address: u64) -> usize {
    let key = address ^ u64::from(id.number()) << 48;
    let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(spread >> (u64::BITS - PLACES.trailing_zeros())).unwrap_or(0)
}
