//! Start-up, inside the first `cuInit` or, in a process that is entered later, on a thread of its own: everything that
//! may allocate, block or fail happens here.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wire::shim::{Level, OffReason, SIMULATOR_SYMBOL, Stats};

use crate::activity::Fields;
use crate::boundary::{at_boundary, silence_panics};
use crate::config::Config;
use crate::control::Control;
use crate::cupti::Cupti;
use crate::devices::Driver;
use crate::exit::{self, Machine};
use crate::gate::Gate;
use crate::loader::{self, Library};
use crate::neighbour::Doors;
use crate::plain::Plain;
use crate::region::{Description, Extent, Region};
use crate::room;
use crate::shim::Shim;
use crate::teller::{Teller, now_ns};

/// Between two looks at the control page while the first `cuInit` waits for an agent.
const WAIT_STEP: Duration = Duration::from_millis(10);

/// Of a thread's stack, bytes.
const STACK: usize = 256 << 10;

static STARTED: AtomicBool = AtomicBool::new(false);

/// Why no ring was made.
struct Refusal {
    reason: OffReason,
    cupti_error: u32,
}

impl From<io::Error> for Refusal {
    fn from(_cause: io::Error) -> Self {
        Self { reason: OffReason::System, cupti_error: 0 }
    }
}

/// Starts on a thread of its own, or here if there is none to be had: an agent brought us.
pub(crate) fn start_beside() {
    exit::begin_start();
    let start = || {
        if Library::already_loaded(c"libcuda.so.1").is_none() {
            return start_plain();
        }
        let _first = exit::First::hold();
        start();
    };
    let beside = move || {
        at_boundary((), start);
        exit::end_start();
    };
    if thread_of_ours(beside).is_err() {
        start();
        exit::end_start();
    }
}

/// Starts in a process without CUDA. Should it load CUDA later, that is not seen: a process has one start.
fn start_plain() {
    if STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    silence_panics();
    let config = Config::parse(|key| std::env::var(key).ok());
    let description = Description {
        loaded_ns: now_ns(),
        simulated: false,
        driver: false,
        keep_descriptor: config.keep_descriptor,
    };
    if config.level.is_none() {
        return say(OffReason::Configured, description);
    }
    match build_teller(description) {
        Ok(teller) => {
            let mut machine = Plain::new(teller);
            machine.turn();
            spawn(Box::new(machine));
        }
        Err(refusal) => say(refusal.reason, description),
    }
}

/// Leaves a stats page with the reason and nothing else.
fn say(reason: OffReason, description: Description) {
    // Without even a small mapping there is nowhere to say anything.
    if let Ok(region) = Region::create(Extent::StatsOnly, description) {
        region.stats().off_reason.store(reason as u32, Ordering::Release);
    }
}

/// What the process tells its agent through.
fn build_teller(description: Description) -> Result<Teller, Refusal> {
    if !room::is_there_for(wire::shim::TOTAL_BYTES as u64) {
        return Err(Refusal { reason: OffReason::System, cupti_error: 0 });
    }
    let gate = Gate::new()?;
    Ok(Teller::new(gate, Region::create(Extent::Full, description)?)?)
}

/// Builds the shim, applies the initial level, waits for an agent if asked to, starts the thread.
/// In doubt leaves a stats page with the reason and nothing else.
pub(crate) fn start() {
    // CUPTI without the driver in the process crashes in some versions; only the driver calls us.
    let Some(libcuda) = Library::already_loaded(c"libcuda.so.1") else {
        return;
    };
    // One shim a process, also when two threads knock at once or a tool calls us a second time.
    if STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    silence_panics();
    let config = Config::parse(|key| std::env::var(key).ok());
    let driver = Driver::resolve(libcuda);
    let driver_version = driver.version();
    let description = Description {
        loaded_ns: now_ns(),
        simulated: is_simulated(libcuda),
        driver: true,
        keep_descriptor: config.keep_descriptor,
    };
    let publish = |stats: &Stats, cupti_version: u32| {
        stats.driver_version.store(driver_version, Ordering::Relaxed);
        stats.cupti_version.store(cupti_version, Ordering::Relaxed);
        stats.simulated.store(description.simulated.into(), Ordering::Relaxed);
    };
    match build(&config, driver_version, description) {
        Ok((shim, doors, cupti_version)) => {
            publish(shim.region.stats(), cupti_version);
            let initial = config.level.unwrap_or(Level::Dormant);
            let mut control = Control::new(shim, driver, doors, initial, &config);
            control.turn();
            wait_for_agent(&mut control, config.wait);
            spawn(Box::new(control));
        }
        Err(refusal) => {
            // Without even a small mapping there is nowhere to say anything.
            let Ok(region) = Region::create(Extent::StatsOnly, description) else {
                return;
            };
            let stats = region.stats();
            publish(stats, 0);
            stats.cupti_error.store(refusal.cupti_error, Ordering::Relaxed);
            stats.off_reason.store(refusal.reason as u32, Ordering::Release);
        }
    }
}

/// Looks before it leaps: CUPTI must be there, complete and willing before memory is taken.
fn build(
    config: &Config,
    driver_version: u32,
    description: Description,
) -> Result<(&'static Shim, Doors, u32), Refusal> {
    let refuse = |reason| Refusal { reason, cupti_error: 0 };
    if config.level.is_none() {
        return Err(refuse(OffReason::Configured));
    }
    let library = loader::find_cupti(config.cupti.as_deref(), driver_version)
        .ok_or_else(|| refuse(OffReason::CuptiMissing))?;
    let (cupti, version) = try_cupti(library)?;
    let doors = Doors::find(library, config.yields.is_some());
    let teller = build_teller(description)?;
    let shim = Shim::new(teller, cupti, Fields::of_version(version))?.publish();
    Ok((shim, doors, version))
}

/// The library's functions and version, if it is complete and willing.
fn try_cupti(library: Library) -> Result<(Cupti, u32), Refusal> {
    let Some(cupti) = Cupti::resolve(library) else {
        library.close();
        return Err(Refusal { reason: OffReason::CuptiIncomplete, cupti_error: 0 });
    };
    // From here on the library stays, also when it refuses: whoever was called may have told the driver
    // of itself, or have a thread.
    let refused = |cupti_error| Refusal { reason: OffReason::CuptiRefused, cupti_error };
    let version = cupti.version().map_err(refused)?;
    // A trial subscription: on a machine without a GPU it is what fails.
    match cupti.subscribe(ignore_callback, std::ptr::null_mut()) {
        Ok(subscription) => cupti.unsubscribe(subscription).map_err(refused)?,
        // Somebody else's for the time being; the level machine asks again.
        Err(cupti_sys::result::MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) => {}
        Err(error) => return Err(refused(error)),
    }
    Ok((cupti, version))
}

extern "C" fn ignore_callback(
    _user_data: *mut std::ffi::c_void,
    _domain: u32,
    _id: u32,
    _data: *const std::ffi::c_void,
) {
}

/// Turns the level machine here until an agent has set a level at or above counting.
fn wait_for_agent(control: &mut Control, wait: Duration) {
    let deadline = now_ns().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
    while now_ns() < deadline {
        if control.is_attended() && control.level() >= Level::Counting {
            return;
        }
        thread::sleep(WAIT_STEP);
        control.turn();
    }
}

/// Starts the shim's own thread.
fn spawn(machine: Box<dyn Machine>) {
    exit::adopt(machine);
    if thread_of_ours(|| at_boundary((), exit::run)).is_err()
        && let Some(teller) = Teller::get()
    {
        teller.gate.close();
        teller.region.stats().off_reason.store(OffReason::System as u32, Ordering::Release);
    }
}

/// A thread with every signal blocked: the host's handlers run on the host's threads.
fn thread_of_ours(body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let previous = block_signals();
    let started = thread::Builder::new().name("warplens".to_owned()).stack_size(STACK).spawn(body);
    restore_signals(&previous);
    started
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; both calls only write it.
    let mut all = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut previous = unsafe { std::mem::zeroed() };
    // SAFETY: a live set.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: two live sets; changes this thread's mask only.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous) };
    previous
}

fn restore_signals(previous: &libc::sigset_t) {
    // SAFETY: a live set that pthread_sigmask filled.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, previous, std::ptr::null_mut()) };
}

fn is_simulated(libcuda: Library) -> bool {
    std::ffi::CString::new(SIMULATOR_SYMBOL).is_ok_and(|name| libcuda.symbol(&name).is_some())
}
