//! External correlation ids: a stack per kind and thread.

use std::cell::RefCell;

use crate::result::{Cupti, INVALID_OPERATION, INVALID_PARAMETER, QUEUE_EMPTY};

/// Kinds: unknown 1, `OpenACC` 2, custom 3 to 5.
const KINDS: usize = 6;

thread_local! {
    static STACKS: RefCell<[Vec<u64>; KINDS]> = const {
        RefCell::new([const { Vec::new() }; KINDS])
    };
}

pub(crate) fn push(kind: u32, id: u64) -> Cupti {
    let kind = valid(kind)?;
    let reached = STACKS.try_with(|stacks| stacks.borrow_mut()[kind].push(id));
    // Only while the thread is being torn down.
    reached.map_err(|_error| INVALID_OPERATION)
}

pub(crate) fn pop(kind: u32) -> Cupti<u64> {
    let kind = valid(kind)?;
    STACKS.try_with(|stacks| stacks.borrow_mut()[kind].pop()).ok().flatten().ok_or(QUEUE_EMPTY)
}

/// The top of every stack of this thread: kind and id.
pub(crate) fn tops() -> Vec<(u32, u64)> {
    let tops = STACKS.try_with(|stacks| {
        let stacks = stacks.borrow();
        let tops = (0..).zip(stacks.iter());
        tops.filter_map(|(kind, stack)| Some((kind, *stack.last()?))).collect()
    });
    tops.unwrap_or_default()
}

fn valid(kind: u32) -> Cupti<usize> {
    let kind = kind as usize;
    if (1..KINDS).contains(&kind) { Ok(kind) } else { Err(INVALID_PARAMETER) }
}
