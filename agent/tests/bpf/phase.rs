//! A program in step with the clock that samples it: with a frequency that varies its functions get
//! their true shares, with one that does not they get any.

use std::arch::{asm, x86_64::_rdtsc};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use warplens::bpf::Bpf;
use warplens::perf::Phase;
use wire::kernel::event_kind::CPU_SAMPLE;

use crate::support::{Event, drain, load};

const HZ: u32 = 997;
/// One turn of the loop, exactly the clock's period when it does not vary.
const TURN_NS: u64 = 1_000_000_000 / HZ as u64;
/// Of it in [`short`]; the rest in [`long`].
const SHORT_NS: u64 = TURN_NS * 3 / 10;

/// How often the agent turns.
const TURN_EVERY: Duration = Duration::from_millis(50);

macro_rules! spins {
    ($($name:ident)*) => {$(
        /// Spins until the processor's clock reads `until`, without calling anything.
        #[inline(never)]
        extern "C" fn $name(until: u64) {
            // SAFETY: reads a counter until it is past a number; nothing but registers is written.
            unsafe {
                asm!(
                    "2: rdtsc", "shl rdx, 32", "or rax, rdx", "cmp rax, {until}", "jb 2b",
                    until = in(reg) until, out("rax") _, out("rdx") _,
                );
            }
        }
    )*};
}
spins!(short long);

fn clock(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Ticks of the processor's clock in 2^20 ns.
fn ticks_per_mebins() -> u64 {
    // SAFETY: reads a counter.
    let tsc = || unsafe { _rdtsc() };
    let (from, ticks) = (Instant::now(), tsc());
    while from.elapsed() < Duration::from_millis(50) {}
    let (ticks, ns) = (tsc() - ticks, u64::try_from(from.elapsed().as_nanos()).unwrap());
    (ticks << 20) / ns
}

#[derive(Default)]
struct Shared {
    tid: AtomicU32,
    stop: AtomicBool,
    /// Turns begin at this instant of `CLOCK_MONOTONIC` and each [`TURN_NS`] after it; 0: not known.
    begin: AtomicU64,
    /// CPU time in the two functions, ns.
    short: AtomicU64,
    long: AtomicU64,
}

/// Runs on one CPU, in step once `begin` is known.
fn run(shared: &Shared) {
    let rate = ticks_per_mebins();
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).unwrap();
    let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    shared.tid.store(tid, Ordering::Relaxed);
    while !shared.stop.load(Ordering::Relaxed) {
        let begin = shared.begin.load(Ordering::Relaxed);
        let now = clock(ClockId::Monotonic);
        let into = now.saturating_sub(begin) % TURN_NS;
        // SAFETY: reads a counter.
        let tsc = unsafe { _rdtsc() };
        let at = |ns: u64| tsc + ((ns.saturating_sub(into) * rate) >> 20);
        let first = clock(ClockId::ThreadCPUTime);
        if into < SHORT_NS {
            short(at(SHORT_NS));
        }
        let second = clock(ClockId::ThreadCPUTime);
        long(at(TURN_NS));
        let third = clock(ClockId::ThreadCPUTime);
        shared.short.fetch_add(second - first, Ordering::Relaxed);
        shared.long.fetch_add(third - second, Ordering::Relaxed);
    }
}

/// Samples in `short` and in `long`, and the time of the latest.
#[derive(Debug, Default)]
struct Seen {
    short: u64,
    long: u64,
    latest: u64,
}

impl Seen {
    fn add(&mut self, bpf: &mut Bpf, tid: u32) {
        let within = |at: u64, function: extern "C" fn(u64)| {
            let start = function as usize as u64;
            (start..start + 64).contains(&at)
        };
        for event in drain(bpf) {
            let Event::Stack(stack) = event else { continue };
            if (stack.head.of, stack.head.tid) != (CPU_SAMPLE, tid) {
                continue;
            }
            self.latest = stack.head.time_ns;
            self.short += u64::from(within(stack.instruction(), short));
            self.long += u64::from(within(stack.instruction(), long));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn share(&self) -> f64 {
        self.short as f64 / (self.short + self.long) as f64
    }
}

/// Shares of `short`: by samples, and by the program's own account.
fn observe(phase: Phase, samples: u64) -> Option<(f64, f64)> {
    let mut bpf = load()?;
    bpf.watch(std::process::id()).unwrap();
    bpf.start_cpu_sampling_in(HZ, phase).unwrap();
    let shared = Shared::default();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| run(&shared));
        let deadline = Instant::now() + Duration::from_mins(2);
        let mut seen = Seen::default();
        let mut look = |seen: &mut Seen| {
            std::thread::sleep(TURN_EVERY);
            bpf.turn_cpu_sampling().unwrap();
            seen.add(&mut bpf, shared.tid.load(Ordering::Relaxed));
            assert!(Instant::now() < deadline, "{seen:?}");
        };
        while seen.short + seen.long == 0 {
            look(&mut seen);
        }
        // A clock that does not vary hits the middle of the short function from here on.
        shared.begin.store(seen.latest - SHORT_NS / 2, Ordering::Relaxed);
        look(&mut seen);
        shared.short.store(0, Ordering::Relaxed);
        shared.long.store(0, Ordering::Relaxed);
        seen = Seen::default();
        while seen.short + seen.long < samples {
            look(&mut seen);
        }
        shared.stop.store(true, Ordering::Relaxed);
        seen
    });
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let [short, long] = [&shared.short, &shared.long].map(|ns| ns.load(Ordering::Relaxed) as f64);
    println!(
        "{phase:?}: {:.4} of the samples, {:.4} of the time",
        seen.share(),
        short / (short + long)
    );
    Some((seen.share(), short / (short + long)))
}

#[test]
fn a_loop_in_step_with_the_clock_gets_its_true_shares() {
    let Some((sampled, truth)) = observe(Phase::Jittered, 6_000) else { return };
    assert!((0.2..0.4).contains(&truth), "{truth}");
    assert!((sampled - truth).abs() < 0.02, "{sampled} of the samples, {truth} of the time");
}

/// The near miss: without it the test above would prove nothing.
#[test]
fn without_jitter_a_loop_in_step_gets_any_share() {
    let Some((sampled, truth)) = observe(Phase::Fixed, 300) else { return };
    // Fifteen times what the test above allows.
    assert!(sampled - truth > 0.3, "{sampled} of the samples, {truth} of the time");
}
