//! Short pieces of what `cargo xtask soak` runs for long, by the same code: at most a hundredth of each part.

use warplens_tests::harness::dice;
use warplens_tests::require;
use warplens_tests::soak::attach::{self, Piece};
use warplens_tests::soak::hosts::Kind;
use warplens_tests::soak::records::{self, Reader};

fn records(kernels: u64, rate: u32, reader: Reader) {
    #[expect(clippy::cast_possible_truncation, reason = "any bits do")]
    let seed = dice::seed() as u32;
    let plan = records::Plan { kernels, rate, seed, reader };
    let piece = records::piece(&plan).unwrap();
    println!("{piece:?}");
    assert!(piece.complaints.is_empty(), "{plan:?}: {:#?}", piece.complaints);
    assert!(piece.kernels >= kernels && piece.replayed > kernels / 2, "{piece:?}");
}

#[test]
fn a_daemon_counts_every_record_of_replayed_graphs() {
    require!(Chaos);
    records(300_000, 150_000, Reader::Daemon);
}

#[test]
fn a_recording_has_every_record_of_replayed_graphs() {
    require!(Chaos);
    records(100_000, 50_000, Reader::Record);
}

fn attach(kind: Kind) -> Piece {
    #[expect(clippy::cast_possible_truncation, reason = "any bits do")]
    let seed = dice::seed() as u32;
    let plan = attach::Plan { kind, seed, processes: 1, rehearsals: 4, cycles: 2 };
    let piece = attach::piece(&plan).unwrap();
    println!("{}: {piece:?}", kind.name());
    assert!(piece.complaints.is_empty(), "{plan:?}: {:#?}", piece.complaints);
    piece
}

#[test]
fn busy_processes_are_entered_counted_and_left() {
    require!(Chaos);
    for kind in [Kind::Python, Kind::Signals, Kind::Forks] {
        let piece = attach(kind);
        let entries = piece.rehearsed_ns.len() + piece.attached_ns.len();
        assert_eq!((entries, piece.without_place), (5, 0), "{piece:?}");
        assert!(piece.cycles == 2 && piece.records > 0, "{piece:?}");
    }
}
