//! What runs at each instant: counts that go up at starts and down at ends, in order of time.

/// Ranks of what takes the time when several run at once: the lowest wins.
pub(crate) const ATTENTION: usize = 0;
pub(crate) const GEMM: usize = 1;
pub(crate) const OTHER: usize = 2;
pub(crate) const COMMUNICATION: usize = 3;
pub(crate) const COPY: usize = 4;
const RANKS: usize = 5;

/// Start, end and rank of something that ran.
pub(crate) type Interval = (i64, i64, usize);

/// Nanoseconds of one device between its first start and last end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// By the rank that took the time.
    pub(crate) exclusive: [i64; RANKS],
    /// Time in which each rank ran at all.
    pub(crate) inclusive: [i64; RANKS],
    /// Time in which compute of any kind ran together with communication.
    pub(crate) overlap: i64,
    /// Time in which other kernels, copies or sets ran: what reports call `other`.
    pub(crate) other_or_copy: i64,
    pub(crate) idle: i64,
}

pub(crate) fn split(intervals: &[Interval]) -> Split {
    let mut edges: Vec<(i64, usize, i64)> = Vec::new();
    for &(start, end, rank) in intervals {
        edges.push((start, rank, 1));
        edges.push((end, rank, -1));
    }
    edges.sort_unstable();
    let mut split =
        Split { start: edges.first().unwrap().0, end: edges.last().unwrap().0, ..Split::default() };
    let mut running = [0_i64; RANKS];
    let mut at = split.start;
    for (time, rank, step) in edges {
        let length = time - at;
        at = time;
        match running.iter().position(|&count| count > 0) {
            Some(first) => split.exclusive[first] += length,
            None => split.idle += length,
        }
        for (rank, &count) in running.iter().enumerate() {
            split.inclusive[rank] += if count > 0 { length } else { 0 };
        }
        let compute = running[ATTENTION] + running[GEMM] + running[OTHER] > 0;
        if compute && running[COMMUNICATION] > 0 {
            split.overlap += length;
        }
        if running[OTHER] + running[COPY] > 0 {
            split.other_or_copy += length;
        }
        running[rank] += step;
    }
    split
}

#[test]
fn each_instant_goes_to_one() {
    //  0    10   20   30   40   50   60
    //  gemm------     copy------   other
    //       communication----
    let found = split(&[(0, 20, GEMM), (30, 50, COPY), (55, 60, OTHER), (10, 40, COMMUNICATION)]);
    let expected = Split {
        start: 0,
        end: 60,
        exclusive: [0, 20, 5, 20, 10],
        inclusive: [0, 20, 5, 30, 20],
        overlap: 10,
        other_or_copy: 25,
        idle: 5,
    };
    assert_eq!(found, expected);
}
