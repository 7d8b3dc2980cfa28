//! Entries of a process's graph table.

use wire::limits::{GRAPH_ENTRIES, GRAPH_NODE_ENTRIES};
use wire::shim::graph_kind;

use crate::defect::Defect;
use crate::event::{Event, GraphChange, GraphEvent};
use crate::ids::{Ns, ProcessKey};
use crate::limits;

/// Words of one entry, in the order of `wire::shim::GraphSlot`.
pub type GraphWords = [u64; 5];

// Where the table is full is told by positions.
const _: () = assert!(
    GRAPH_ENTRIES == limits::GRAPH_ENTRIES && GRAPH_NODE_ENTRIES == limits::GRAPH_NODE_ENTRIES
);

/// The entry at position `entry` of `process`'s graph table.
///
/// # Errors
/// [`Defect::UnknownGraphEntry`] for a kind of another version.
pub fn graph_entry(process: ProcessKey, entry: u32, words: &GraphWords) -> Result<Event, Defect> {
    let [node, original_node, graphs, time_ns, kind_and_type] = *words;
    let (graph, original_graph) = halves(graphs);
    let (kind, _node_type) = halves(kind_and_type);
    // Numbers of executable graphs have 32 bits; 0 stands for none.
    let exec = u32::try_from(node).unwrap_or(0);
    let change = match kind {
        graph_kind::NODE_CREATED => GraphChange::NodeCreated { node, graph },
        graph_kind::NODE_CLONED => {
            GraphChange::NodeCloned { node, graph, original_node, original_graph }
        }
        graph_kind::GRAPH_DESTROYED => GraphChange::GraphDestroyed { graph },
        graph_kind::EXEC_CREATED => GraphChange::ExecCreated { exec, graph },
        graph_kind::EXEC_DESTROYED => GraphChange::ExecDestroyed { exec },
        graph_kind::EXEC_UPDATED => GraphChange::ExecUpdated { exec, graph },
        _ => return Err(Defect::UnknownGraphEntry { kind, count: 1 }),
    };
    Ok(Event::Graph(GraphEvent { process, entry, at: Ns(time_ns), change }))
}

/// The low and the high half of a word.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const PROCESS: ProcessKey = ProcessKey(3);

    #[test]
    fn a_clone_tells_both_its_graphs() {
        let words = [7, 5, 9 << 32 | 8, 100, u64::from(graph_kind::NODE_CLONED) | 2 << 32];
        let change =
            GraphChange::NodeCloned { node: 7, graph: 8, original_node: 5, original_graph: 9 };
        let expected = GraphEvent { process: PROCESS, entry: 4, at: Ns(100), change };
        assert_eq!(graph_entry(PROCESS, 4, &words), Ok(Event::Graph(expected)));
    }

    #[test]
    fn an_entry_that_was_never_written_is_of_an_unknown_kind() {
        let defect = Defect::UnknownGraphEntry { kind: 0, count: 1 };
        assert_eq!(graph_entry(PROCESS, 0, &[0; 5]), Err(defect));
    }

    proptest! {
        #[test]
        fn any_words_are_an_entry_or_a_defect(
            words in any::<GraphWords>(), kind in 0_u64..9, entry in any::<u32>()
        ) {
            let mut likely = words;
            likely[4] = kind;
            for words in [words, likely] {
                if let Err(defect) = graph_entry(PROCESS, entry, &words) {
                    drop(defect.to_string());
                }
            }
        }
    }
}
