//! Where a record without timestamps may have run: the rule of ARCHITECTURE.md, literally.
//!
//! e = last valid end before it in its stream, s = first valid start after it; before and after
//! by correlation id; records of the same launch do not bound each other. Gaps in
//! `[max(e, entry of its launch), s)` are unobserved.

use std::collections::HashMap;

use crate::judge::truth::Piece;

/// The spans of all invalid records of one device. An open end is `u64::MAX`.
pub fn spans(pieces: &[Piece]) -> Vec<(u64, u64)> {
    let mut streams: HashMap<(u32, u32, u32), Vec<&Piece>> = HashMap::new();
    for piece in pieces.iter().filter(|piece| piece.visible() || piece.invalid()) {
        streams.entry((piece.pid, piece.context, piece.stream)).or_default().push(piece);
    }
    let mut spans = Vec::new();
    for stream in streams.values_mut() {
        stream.sort_by_key(|piece| piece.correlation);
        spans.extend(stream_spans(stream));
    }
    spans
}

/// Spans of one stream whose pieces stand in order of correlation.
fn stream_spans(stream: &[&Piece]) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    for (position, piece) in stream.iter().enumerate().filter(|(_, piece)| piece.invalid()) {
        let before = stream[..position]
            .iter()
            .rev()
            .filter(|other| other.visible() && other.correlation < piece.correlation)
            // Streams run in order; a graph's branches end in any order, hence the maximum.
            .take(LOOK)
            .map(|other| other.end)
            .max();
        let after = stream[position..]
            .iter()
            .filter(|other| other.visible() && other.correlation > piece.correlation)
            .take(LOOK)
            .map(|other| other.start)
            .min();
        let start = before.unwrap_or(0).max(piece.enter);
        spans.push((start, after.unwrap_or(u64::MAX)));
    }
    spans
}

/// Valid records looked at on each side: more than the largest graph has, since everything before
/// the launch before it ended earlier still.
const LOOK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::truth::What;
    use sim_truth::Outcome;

    fn piece(correlation: i64, start: u64, end: u64, outcome: Outcome) -> Piece {
        Piece {
            pid: 1,
            context: 1,
            stream: 7,
            correlation,
            start,
            end,
            enter: start.saturating_sub(5),
            what: What::Copy,
            outcome: Some(outcome),
        }
    }

    #[test]
    fn the_neighbours_bound_it_but_not_its_own_launch() {
        let pieces = [
            piece(1, 10, 20, Outcome::Delivered),
            piece(2, 30, 40, Outcome::Zeroed),
            piece(2, 40, 50, Outcome::Delivered),
            piece(3, 60, 70, Outcome::Delivered),
        ];
        assert_eq!(spans(&pieces), [(25, 60)]);
    }

    #[test]
    fn without_neighbours_it_reaches_from_its_launch_on() {
        assert_eq!(spans(&[piece(2, 30, 40, Outcome::Incomplete)]), [(25, u64::MAX)]);
        let dropped = [piece(1, 26, 29, Outcome::Dropped), piece(2, 30, 40, Outcome::Zeroed)];
        assert_eq!(spans(&dropped), [(25, u64::MAX)]);
    }
}
