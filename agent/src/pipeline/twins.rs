//! Stacks of other addresses that are the same code once they have names: several calls in one line, the places in an
//! interpreter's loop that call. Who allocates is told by line, so they are one.

use std::collections::{HashMap, HashSet};

use analysis::ids::{ProcessKey, StackId};

use super::stacks::StackTable;
use crate::capture::Stack;

/// Stacks that wait for their names at most. They come within a second, but for those that have none.
const WAITING_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Twins {
    seen: HashSet<StackId>,
    waiting: Vec<(ProcessKey, StackId)>,
    /// Who was first with these frames.
    first: HashMap<(ProcessKey, Stack), StackId>,
    of: HashMap<StackId, StackId>,
}

/// Code of two stacks is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Same {
    pub(super) process: ProcessKey,
    pub(super) stack: StackId,
    /// Who was there first.
    pub(super) first: StackId,
}

impl Twins {
    /// Who stands for this stack, as far as is known.
    pub(super) fn first(&mut self, process: ProcessKey, stack: StackId) -> StackId {
        if self.seen.insert(stack) {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.swap_remove(0);
            }
            self.waiting.push((process, stack));
        }
        self.of.get(&stack).copied().unwrap_or(stack)
    }

    /// Names came: which stacks are the same as an earlier one.
    pub(super) fn named(&mut self, process: ProcessKey, stacks: &StackTable) -> Vec<Same> {
        let mut found = Vec::new();
        let Self { waiting, first, of, .. } = self;
        waiting.retain(|&(whose, stack)| {
            if whose != process || !stacks.is_named(stack) {
                return true;
            }
            if let Some((frames, _)) = stacks.one(stack) {
                let first = *first.entry((process, frames)).or_insert(stack);
                if first != stack {
                    of.insert(stack, first);
                    found.push(Same { process, stack, first });
                }
            }
            false
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::Symbol;
    use super::*;
    use crate::capture::Frame;

    const PROCESS: ProcessKey = ProcessKey(1);

    fn symbol(address: u64, function: &str, line: u32) -> Symbol {
        let (function, line) = (function.to_owned(), Some(line));
        Symbol { address, frames: vec![Frame { function, line, ..Frame::default() }] }
    }

    #[test]
    fn two_calls_in_one_line_are_one_once_they_have_names() {
        let (mut stacks, mut twins) = (StackTable::default(), Twins::default());
        let mut heard = |stacks: &mut StackTable, addresses: &[u64]| {
            let stack = stacks.intern(PROCESS, addresses.to_vec()).unwrap();
            (stack, twins.first(PROCESS, stack))
        };
        let ((one, _), (two, before), (other, _)) = (
            heard(&mut stacks, &[0x10, 0x100]),
            heard(&mut stacks, &[0x10, 0x108]),
            heard(&mut stacks, &[0x10, 0x110]),
        );
        assert_eq!(before, two, "nobody has a name");
        stacks.add_symbols(PROCESS, vec![symbol(0x10, "malloc", 1), symbol(0x108, "serve", 7)]);
        assert_eq!(twins.named(PROCESS, &stacks), []);
        stacks.add_symbols(PROCESS, vec![symbol(0x100, "serve", 7), symbol(0x110, "serve", 8)]);
        assert_eq!(twins.named(ProcessKey(2), &stacks), []);
        // The second had its names first.
        let same = Same { process: PROCESS, stack: one, first: two };
        assert_eq!(twins.named(PROCESS, &stacks), [same]);
        let mut first = |stack| twins.first(PROCESS, stack);
        assert_eq!((first(one), first(two), first(other)), (two, two, other));
        assert_eq!(twins.named(PROCESS, &stacks), []);
    }

    #[test]
    fn those_without_a_name_do_not_pile_up() {
        let (mut stacks, mut twins) = (StackTable::default(), Twins::default());
        for address in 1..10_000 {
            let stack = stacks.intern(PROCESS, vec![address]).unwrap();
            twins.first(PROCESS, stack);
        }
        assert_eq!(twins.waiting.len(), WAITING_MAX);
    }
}
