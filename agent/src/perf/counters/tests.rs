use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

/// Counters of this process, or why there are none.
fn of_this_process(test: &str) -> Option<Counters> {
    match Counters::open(std::process::id()) {
        Ok(counters) => Some(counters),
        Err(error) if error.is_privilege() => {
            println!("SKIP {test}: {error}");
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

fn value(reading: &Reading, wanted: Counter) -> u64 {
    let found = reading.counts.iter().find(|(counter, _)| *counter == wanted);
    found.unwrap_or_else(|| panic!("no {wanted:?} in {reading:?}")).1.value
}

fn own_cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn spin(length: Duration) {
    let from = Instant::now();
    while from.elapsed() < length {
        std::hint::spin_loop();
    }
}

#[test]
fn the_time_of_all_threads_is_counted_those_that_exist_and_those_that_come() {
    let (begin, wait) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel::<()>();
    let existing = std::thread::spawn(move || {
        wait.recv().unwrap();
        spin(Duration::from_millis(100));
        done.send(()).unwrap();
        // Ends only when the counters have been read.
        wait.recv().unwrap();
    });
    let Some(mut counters) = of_this_process("counters") else { return };
    let before = own_cpu_time();
    let first = counters.read();
    begin.send(()).unwrap();
    finished.recv().unwrap();
    // One that comes later and is gone when its time is read.
    std::thread::spawn(|| spin(Duration::from_millis(100))).join().unwrap();
    let (second, after) = (counters.read(), own_cpu_time());
    begin.send(()).unwrap();
    existing.join().unwrap();
    let counted = value(&second, Counter::TaskClock) - value(&first, Counter::TaskClock);
    let used = after - before;
    // Other tests' threads run beside these and count on both sides.
    let off = counted.abs_diff(used);
    assert!(off * 20 < used, "{counted} ns counted, {used} ns used");
    assert!(used >= 150_000_000 || off * 20 < used);
}

#[test]
fn faults_and_switches_are_counted() {
    let Some(mut counters) = of_this_process("counters") else { return };
    let first = counters.read();
    let length = 64 << 20;
    let mut pages = vec![0u8; length];
    for page in pages.chunks_mut(4096) {
        page[0] = 1;
    }
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = counters.read();
    let grown = |counter| value(&second, counter) - value(&first, counter);
    // Huge pages make it fewer faults than pages.
    assert!(grown(Counter::PageFaults) >= 32, "{second:?}");
    assert!(grown(Counter::ContextSwitches) >= 20, "{second:?}");
    assert!(pages.iter().step_by(4096).all(|&byte| byte == 1));
}

#[test]
fn a_counter_is_there_or_says_why_not() {
    let Some(mut counters) = of_this_process("counters") else { return };
    let reading = counters.read();
    for (counter, obstacle) in obstacles() {
        let told = reading.counts.iter().any(|(told, _)| *told == counter);
        assert_eq!(told, obstacle.is_none(), "{counter:?}: {obstacle:?}");
    }
    // These need no hardware.
    assert!(reading.counts.len() >= 4, "{reading:?}");
}

#[test]
fn a_process_that_is_gone_has_no_counters() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let error = Counters::open(child.id()).unwrap_err();
    assert!(matches!(error, PerfError::Threads { .. }), "{error:?}");
}

#[test]
fn what_was_counted_part_of_the_time_is_scaled_and_says_so() {
    let counted = |value, enabled, running| scale(&Counted { value, enabled, running });
    assert_eq!(counted(10, 100, 100), Count { value: 10, scaled: false });
    assert_eq!(counted(10, 100, 25), Count { value: 40, scaled: true });
    assert_eq!(counted(0, 0, 0), Count { value: 0, scaled: false });
    assert_eq!(counted(0, 100, 0), Count { value: 0, scaled: true });
    assert_eq!(counted(u64::MAX, 3, 1), Count { value: u64::MAX, scaled: true });
}
