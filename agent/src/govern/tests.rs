use analysis::event::ProcessInfo;

use super::*;

const S: u64 = 1_000_000_000;

fn config() -> LevelsConfig {
    LevelsConfig { dwell_seconds: 10, canary_seconds: 100, ..LevelsConfig::default() }
}

fn governor(config: &LevelsConfig) -> Governor {
    Governor::new(config, None, Ns(0))
}

fn described(server: &str) -> Described {
    Described {
        server: server.to_owned(),
        name: server.to_owned(),
        info: Some(ProcessInfo { title: "VLLM::Worker_TP0".to_owned(), ..ProcessInfo::default() }),
        ..Described::default()
    }
}

/// A worker whose shim does as it is told.
struct Worker {
    key: ProcessKey,
    level: Level,
    reading: Reading,
    taken: bool,
}

impl Worker {
    fn new(governor: &mut Governor, number: u32, server: &str) -> Self {
        let key = ProcessKey(number);
        governor.meet(key, &described(server));
        Self { key, level: Level::Dormant, reading: Reading::default(), taken: false }
    }
}

/// A second passes.
fn second(governor: &mut Governor, at: u64, workers: &mut [Worker]) {
    let looks: Vec<Look> = workers
        .iter()
        .map(|worker| Look {
            worker: worker.key,
            level: worker.level,
            taken: worker.taken,
            reading: worker.reading,
        })
        .collect();
    for order in governor.decide(Ns(at * S), &looks, 0, 0) {
        if let Some(worker) = workers.iter_mut().find(|worker| worker.key == order.worker) {
            worker.level = order.level;
        }
    }
}

fn run(governor: &mut Governor, seconds: std::ops::Range<u64>, workers: &mut [Worker]) {
    seconds.for_each(|at| second(governor, at, workers));
}

fn reason(governor: &Governor, index: usize) -> &'static str {
    governor.governed().workers[index].reason
}

#[test]
fn a_worker_rises_step_by_step_and_the_others_follow_the_first() {
    let mut governor = governor(&config());
    let mut workers: Vec<Worker> =
        (0..2).map(|n| Worker::new(&mut governor, n, &format!("server {n}"))).collect();
    run(&mut governor, 0..2, &mut workers);
    assert!(workers.iter().all(|worker| worker.level == Level::Watching));
    run(&mut governor, 2..30, &mut workers);
    let counting = |workers: &[Worker]| {
        workers.iter().filter(|worker| worker.level == Level::Counting).count()
    };
    assert_eq!(counting(&workers), 1, "the canary alone");
    run(&mut governor, 30..140, &mut workers);
    assert_eq!(counting(&workers), 2);
    assert_eq!(reason(&governor, 0), "maximum");
    assert_eq!(governor.governed().raised, 4);
    assert_eq!(governor.take_sayings().len(), 4);
}

#[test]
fn a_worker_that_crashes_after_a_rise_opens_the_breaker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("breaker.json");
    let file = || Some(StateFile::open(path.clone()).unwrap());
    let mut governor = Governor::new(&config(), file(), Ns(0));
    let mut workers = vec![Worker::new(&mut governor, 0, "a")];
    run(&mut governor, 0..30, &mut workers);
    assert_eq!(workers[0].level, Level::Counting);
    governor.bury(Ns(31 * S), ProcessKey(0), Death::Signal(11));
    let said = governor.take_sayings();
    let text = "the crash breaker opened: a worker died by signal 11 soon after its level went up to counting; \
                no worker of this node goes there again for a week or more";
    assert_eq!(said.last(), Some(&Saying::Tripped(text.to_owned())));
    let mut workers = vec![Worker::new(&mut governor, 1, "a")];
    run(&mut governor, 32..200, &mut workers);
    assert_eq!(workers[0].level, Level::Watching);
    assert_eq!(reason(&governor, 0), "tripped");
    assert_eq!(governor.governed().open, Some(Level::Watching));
    drop(governor);
    // Another agent remembers, also before it has met anybody.
    let mut governor = Governor::new(&config(), file(), Ns(0));
    assert!(governor.is_tripped(Ns(0)));
    let mut workers = vec![Worker::new(&mut governor, 0, "a")];
    run(&mut governor, 0..200, &mut workers);
    assert_eq!(workers[0].level, Level::Watching);
}

/// A server whose pace becomes `factor` times what it was when it is counted; how often the breaker opened within the
/// ten minutes after.
fn trips_of_pace(factor: f64) -> u64 {
    let mut governor =
        governor(&LevelsConfig { dwell_seconds: 1800, canary_seconds: 0, ..config() });
    let mut workers = vec![Worker::new(&mut governor, 0, "server 7")];
    let mut noise = 1_u32;
    for at in 0..2400 {
        second(&mut governor, at, &mut workers);
        if at % 10 == 0 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(noise >> 16) / 65_536.0;
            let slower = if workers[0].level == Level::Counting { factor } else { 1.0 };
            let tokens_per_second = slower * (1000.0 + 40.0 * (noise - 0.5));
            let sample = Sample { at: Ns(at * S + S / 2), tokens_per_second, running: 16 };
            governor.on_pace("server 7", sample);
            governor.on_pace("a server without workers", sample);
        }
    }
    assert_eq!(governor.governed().samples, 240);
    governor.governed().trips
}

#[test]
fn a_server_that_makes_fewer_tokens_since_it_is_counted_opens_the_breaker() {
    assert_eq!(trips_of_pace(1.0), 0, "as fast as before");
    assert_eq!(trips_of_pace(0.97), 0, "less than 5 % slower");
    assert_eq!(trips_of_pace(0.85), 1);
}

#[test]
fn an_end_that_somebody_asked_for_is_no_crash() {
    let mut governor = governor(&config());
    let mut workers = vec![Worker::new(&mut governor, 0, "a")];
    run(&mut governor, 0..30, &mut workers);
    governor.bury(Ns(31 * S), ProcessKey(0), Death::Signal(15));
    assert_eq!(governor.governed().trips, 0);
}

#[test]
fn a_worker_that_costs_too_much_is_armed_in_turns() {
    let mut governor = governor(&config());
    let mut workers = vec![Worker::new(&mut governor, 0, "a")];
    for at in 0..60 {
        if workers[0].level == Level::Counting {
            // 1 % of the time in callbacks, twice what is allowed.
            workers[0].reading.callback_ns += 10_000_000;
        }
        second(&mut governor, at, &mut workers);
    }
    let standing = governor.governed().workers[0];
    assert_eq!((standing.reason, standing.level), ("budget", Level::Counting));
    assert_eq!(standing.duty, Some(0.5));
    assert!(governor.governed().callback_ns >= 100_000_000);
}

#[test]
fn another_profiler_makes_it_dormant_until_it_was_gone_for_a_while() {
    let mut governor = governor(&config());
    let mut workers = vec![Worker::new(&mut governor, 0, "a")];
    run(&mut governor, 0..30, &mut workers);
    workers[0].taken = true;
    second(&mut governor, 31, &mut workers);
    assert_eq!((workers[0].level, reason(&governor, 0)), (Level::Dormant, "other_owner"));
    workers[0].taken = false;
    run(&mut governor, 32..60, &mut workers);
    assert_eq!((workers[0].level, reason(&governor, 0)), (Level::Dormant, "owner_just_left"));
    run(&mut governor, 60..120, &mut workers);
    assert_eq!(workers[0].level, Level::Counting);
}

#[test]
fn what_the_operator_denies_stays_dormant() {
    let check = |text: &str, level: Level, why: &str| {
        let mut config: LevelsConfig = toml::from_str(text).unwrap();
        config.dwell_seconds = 1;
        config.canary_seconds = 1;
        let mut governor = governor(&config);
        let mut workers = vec![Worker::new(&mut governor, 0, "a")];
        run(&mut governor, 0..20, &mut workers);
        assert_eq!((workers[0].level, reason(&governor, 0)), (level, why), "{text}");
    };
    check("", Level::Counting, "maximum");
    check("maximum = \"watching\"", Level::Watching, "maximum");
    check("maximum = \"dormant\"", Level::Dormant, "maximum");
    check("percent = 0", Level::Dormant, "outside_fleet");
    check("deny = [{ title = \"VLLM::*\" }]", Level::Dormant, "denied");
    check("deny = [{ title = \"Ray*\" }]", Level::Counting, "maximum");
    check("deny = [{ model = \"secret\" }]", Level::Dormant, "denied_unread");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    assert!(toml::from_str::<LevelsConfig>("maximun = \"counting\"").is_err());
    assert!(toml::from_str::<LevelsConfig>("maximum = \"full\"").is_err());
    assert!(toml::from_str::<LevelsConfig>("deny = [{ image = \"x\" }]").is_err());
    let config: LevelsConfig = toml::from_str("percent = 101").unwrap();
    assert_eq!(config.problem().unwrap(), "levels.percent is 101: use 0 to 100");
    assert_eq!(LevelsConfig::default().problem(), None);
}

#[test]
fn counters_that_run_backwards_cost_nothing() {
    let mut meter = Meter::default();
    let reading = |callback_ns| Reading { callback_ns, ..Reading::default() };
    assert!(meter.read(Ns(S), reading(5_000)).is_none());
    let (cost, _) = meter.read(Ns(3 * S), reading(2_005_000)).unwrap();
    assert_eq!(cost.callback_ns, 1_000_000);
    let (cost, spent) = meter.read(Ns(4 * S), reading(7)).unwrap();
    assert_eq!((cost.callback_ns, spent.callbacks), (0, 0));
    // No time has passed.
    assert!(meter.read(Ns(4 * S), reading(9)).is_none());
}
