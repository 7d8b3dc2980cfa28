//! From launched work to buffers handed back, on whatever thread and in whatever order the habits say.
//!
//! One delivery at a time, so that a flush also waits for what another thread carries. No lock but that
//! one is held while the profiler's functions run.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, TryLockError};
use std::time::Duration;

use sim_channel::work::{Outcome, Settlement};
use sim_channel::{Work, clock, lock};

use crate::habit::{Habit, chosen, drawn, has};
use crate::{channel, place, record};

pub(crate) type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
pub(crate) type Complete = extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

/// Whom buffers are asked of and handed to.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) request: Request,
    pub(crate) complete: Complete,
}

/// What a delivery is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The library's own thread looks.
    Own,
    /// `cuptiActivityFlushAll(0)`.
    Ended,
    /// `cuptiActivityFlushAll(1)`.
    Forced,
    /// The library's destructors run.
    Last,
}

/// Memory of the profiler, as an address.
#[derive(Clone, Copy)]
struct Buffer {
    start: usize,
    size: usize,
}

/// A buffer with records.
struct Filled {
    buffer: Buffer,
    valid: usize,
    works: Vec<(Work, Outcome)>,
    /// Not handed back before this instant, ns.
    due: u64,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    clock: Option<extern "C" fn() -> u64>,
    /// Launched, without a record so far.
    queue: Vec<Work>,
    filled: Vec<Filled>,
    /// Asked for without need.
    idle: Vec<Buffer>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The most a buffer is kept back, ns.
const LATE_NS: u64 = 60_000_000;
/// Filled buffers that wait for their end, where nothing keeps them.
const FILLED_MOST: usize = 16;
/// From this piece of work on everything is dropped.
const DROPS_FROM: u64 = 400;

thread_local! {
    /// Inside one of the profiler's functions: neither the flush nor a launch may deliver here.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn with<T>(look: impl FnOnce(&mut State) -> T) -> T {
    look(lock(&STATE).get_or_insert_default())
}

/// `cuptiActivityRegisterCallbacks`.
pub(crate) fn register(client: Client) {
    with(|state| state.client = Some(client));
    begin();
}

/// `cuptiActivityRegisterTimestampCallback`.
pub(crate) fn set_clock(source: extern "C" fn() -> u64) {
    with(|state| state.clock = Some(source));
}

/// A kind was enabled, or buffers can be had.
pub(crate) fn begin() {
    static WORKER: Once = Once::new();
    WORKER.call_once(|| drop(std::thread::Builder::new().spawn(work)));
    let early = if has(Habit::EarlyBuffers) { 3 } else { 0 };
    let hoarded = if has(Habit::HoardedBuffers) { 100 } else { 0 };
    for _ in 0..early + hoarded {
        if let Some(buffer) = request() {
            with(|state| state.idle.push(buffer));
        }
    }
}

fn work() {
    loop {
        std::thread::sleep(Duration::from_millis(1 + drawn(6)));
        if drawn(4) == 0 {
            deliver(Extent::Own);
        }
    }
}

/// Takes what was launched.
pub(crate) fn submit(works: &[Work]) {
    with(|state| state.queue.extend_from_slice(works));
}

/// Records dropped since the last question.
pub(crate) fn take_dropped() -> u64 {
    DROPPED.swap(0, Ordering::AcqRel)
}

/// On an application thread, in the middle of a launch: does there what is to be done.
pub(crate) fn amid_launch() {
    if !has(Habit::LaunchingThreads) || INSIDE.get() || drawn(8) != 0 {
        return;
    }
    let taken = matches!(TURN.try_lock(), Err(TryLockError::WouldBlock));
    if !taken {
        deliver(Extent::Own);
    }
}

/// Delivers; nothing from inside one of the profiler's functions.
pub(crate) fn deliver(extent: Extent) {
    if INSIDE.get() {
        return;
    }
    let _turn = lock(&TURN);
    let now = clock::now();
    let whole = matches!(extent, Extent::Forced | Extent::Last);
    let ended: Vec<Work> = with(|state| {
        let ripe = |work: &mut Work| whole || work.end <= now;
        state.queue.extract_if(.., ripe).collect()
    });
    let mut rest = ended.as_slice();
    while !rest.is_empty() {
        let most = if has(Habit::SmallFills) { 5 } else { 500 };
        let count = usize::try_from(1 + drawn(most)).unwrap_or(1).min(rest.len());
        fill(&rest[..count], now);
        rest = &rest[count..];
        if with(|state| state.filled.len()) >= FILLED_MOST {
            hand_back(extent, now);
        }
    }
    hand_back(extent, now);
    if extent != Extent::Last && !everything_is_dropped() {
        empties();
    }
}

fn everything_is_dropped() -> bool {
    has(Habit::DropsAll)
}

/// Puts work into as many buffers as it takes.
fn fill(works: &[Work], now: u64) {
    let offset = offset();
    let mut filled: Option<(Filled, Vec<u8>)> = None;
    for work in works {
        let dropped = (has(Habit::Drops) && chosen("drop", work.sequence, 30) == 0)
            || (has(Habit::DropsAll) && work.sequence >= DROPS_FROM);
        if dropped {
            drop_record(work);
            continue;
        }
        let (mut bytes, timed) = record::encode(work, offset);
        let outcome = match (work.end <= now, timed) {
            (false, _) => {
                // Unfinished: only a forced flush brings it, without an end.
                bytes[24..32].fill(0);
                Outcome::Incomplete
            }
            (true, true) => Outcome::Delivered,
            (true, false) => Outcome::Zeroed,
        };
        if has(Habit::Strangers) && drawn(3) == 0 {
            bytes = [record::stranger(), bytes].concat();
        }
        let fits = |(filled, content): &(Filled, Vec<u8>)| {
            content.len() + bytes.len() <= filled.buffer.size
        };
        if !filled.as_ref().is_some_and(fits) {
            store(filled.take());
            let late = if has(Habit::LateBuffers) { drawn(LATE_NS) } else { 0 };
            filled = request().map(|buffer| {
                (Filled { buffer, valid: 0, works: Vec::new(), due: now + late }, Vec::new())
            });
        }
        match filled.as_mut().filter(|(filled, _)| bytes.len() <= filled.buffer.size) {
            Some((filled, content)) => {
                content.extend_from_slice(&bytes);
                filled.works.push((*work, outcome));
            }
            None => drop_record(work),
        }
    }
    store(filled);
}

fn store(filled: Option<(Filled, Vec<u8>)>) {
    let Some((mut filled, content)) = filled else { return };
    let place: *mut u8 = std::ptr::with_exposed_provenance_mut(filled.buffer.start);
    // SAFETY: `fits` kept the content within the buffer, which the profiler gave to this library.
    unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), place, content.len()) };
    filled.valid = content.len();
    with(|state| state.filled.push(filled));
}

/// Hands back what is due, and after a flush also what is not, unless a habit keeps it.
fn hand_back(extent: Extent, now: u64) {
    if extent == Extent::Forced && has(Habit::AtExit) {
        return;
    }
    let all = matches!(extent, Extent::Forced | Extent::Last);
    let mut due: Vec<Filled> =
        with(|state| state.filled.extract_if(.., |filled| all || filled.due <= now).collect());
    if has(Habit::Shuffled) {
        for index in (1..due.len()).rev() {
            due.swap(index, usize::try_from(drawn(index as u64 + 1)).unwrap_or(0));
        }
    }
    let jobs = due
        .into_iter()
        .map(|filled| -> Box<dyn FnOnce() + Send> {
            Box::new(move || {
                complete(filled.buffer, filled.valid);
                for (work, outcome) in &filled.works {
                    settle(work, *outcome);
                }
            })
        })
        .collect();
    place::run(jobs);
}

/// Buffers without records.
fn empties() {
    let idle = with(|state| {
        let keep = if has(Habit::HoardedBuffers) { 90 } else { 0 };
        state.idle.split_off(state.idle.len().min(keep))
    });
    for buffer in idle {
        complete(buffer, 0);
    }
    if has(Habit::Empties) {
        if let Some(buffer) = request() {
            complete(buffer, 0);
        }
        complete(Buffer { start: 0, size: 0 }, 0);
    }
}

/// Asks for a buffer; `None` when it is refused.
fn request() -> Option<Buffer> {
    let client = with(|state| state.client)?;
    let answer = |client: Client| {
        let mut start = std::ptr::null_mut();
        let (mut size, mut most) = (0, 0);
        inside(|| (client.request)(&raw mut start, &raw mut size, &raw mut most));
        Buffer { start: start.expose_provenance(), size }
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    let count = if has(Habit::Pairs) { 2 } else { 1 };
    let jobs = (0..count).map(|_| -> Box<dyn FnOnce() + Send> {
        let sender = sender.clone();
        // The receiver outlives the jobs.
        Box::new(move || sender.send(answer(client)).unwrap_or_default())
    });
    place::run(jobs.collect());
    let mut buffers: Vec<Buffer> = receiver.try_iter().collect();
    let buffer = buffers.pop()?;
    with(|state| state.idle.extend(buffers));
    (buffer.start != 0 && buffer.size > 0).then_some(buffer)
}

fn complete(buffer: Buffer, valid: usize) {
    let Some(client) = with(|state| state.client) else { return };
    let start = std::ptr::with_exposed_provenance_mut(buffer.start);
    let stream = if has(Habit::OddIds) { u32::MAX } else { 0 };
    inside(|| (client.complete)(std::ptr::null_mut(), stream, start, buffer.size, valid));
}

fn inside(call: impl FnOnce()) {
    INSIDE.set(true);
    call();
    INSIDE.set(false);
}

fn drop_record(work: &Work) {
    DROPPED.fetch_add(1, Ordering::AcqRel);
    settle(work, Outcome::Dropped);
}

fn settle(work: &Work, outcome: Outcome) {
    let Some(channel) = channel() else { return };
    let settlement = Settlement { work: work.sequence, clock_offset: 0, outcome, padding: 0 };
    (channel.host.settle)(&raw const settlement);
    if work.module != 0 {
        (channel.host.release)(work.module, 1);
    }
}

/// The records' clock minus the device's, ns. A clock that is the device's reads a little later.
fn offset() -> i64 {
    const SAME_NS: u64 = 1_000_000_000;
    let Some(source) = with(|state| state.clock) else { return 0 };
    let difference = source().cast_signed().wrapping_sub(clock::now().cast_signed());
    if difference.unsigned_abs() < SAME_NS { 0 } else { difference }
}
