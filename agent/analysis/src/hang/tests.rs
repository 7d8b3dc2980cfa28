use super::*;

const S: u64 = 1_000_000_000;
const AFTER: u64 = 60;
const SERVER: u32 = 100;

/// A server of workers that do what a test says, a second at a time.
struct Scene {
    hangs: Hangs,
    now: u64,
    looks: Vec<Look>,
    generated: f64,
    told: Vec<(u64, Hang)>,
}

/// What happens in each second.
#[derive(Clone, Copy, Default)]
struct Second {
    /// Of each worker: launches, and ends work.
    launches: bool,
    ends: bool,
    /// The server's figures, where it is asked: requests that run, and whether tokens come.
    says: Option<(f64, bool)>,
}

const SERVES: Second = Second { launches: true, ends: true, says: Some((4.0, true)) };

impl Scene {
    fn new(workers: usize) -> Self {
        let looks = vec![Look { counted: true, ..Look::default() }; workers];
        Self { hangs: Hangs::new(AFTER * S), now: 1, looks, generated: 0.0, told: Vec::new() }
    }

    fn run(&mut self, seconds: u64, second: Second) -> &mut Self {
        for _ in 0..seconds {
            self.now += 1;
            let now = Ns(self.now * S);
            for (number, look) in (0..).zip(&mut self.looks) {
                look.launched += u64::from(second.launches) * 100;
                look.ended += u64::from(second.ends) * 100;
                self.hangs.on_look(now, ProcessKey(number), SERVER, *look);
            }
            if let Some((running, tokens)) = second.says.filter(|_| self.now.is_multiple_of(10)) {
                self.generated += f64::from(u8::from(tokens));
                let said = Said { at: now, running, generated: self.generated };
                self.hangs.on_said(SERVER, said);
            }
            let found = self.hangs.look(now);
            self.told.extend(found.into_iter().map(|hang| (self.now, hang)));
        }
        self
    }

    /// The launch of this second does not end.
    fn stick(&mut self, worker: usize) -> &mut Self {
        self.looks[worker].oldest_open = Some(Ns(self.now * S));
        self
    }

    fn nothing(&self) {
        assert_eq!(self.told, [], "at {}", self.now);
    }

    fn only(&self) -> &Hang {
        assert_eq!(self.told.len(), 1, "{:?}", self.told);
        &self.told[0].1
    }
}

#[test]
fn work_that_does_not_end_is_told_once_with_who_waits() {
    let mut scene = Scene::new(2);
    let waits = Second { says: Some((4.0, false)), ..Second::default() };
    scene.run(100, SERVES).stick(1).run(AFTER - 2, waits).nothing();
    scene.run(300, waits);
    let hang = scene.only();
    assert_eq!((hang.server, hang.confidence, hang.running), (SERVER, Confidence::High, Some(4.0)));
    let workers: Vec<_> = hang.workers.iter().map(|stuck| (stuck.worker.0, stuck.kind)).collect();
    assert_eq!(workers, [(1, Kind::Device), (0, Kind::Host)]);
    assert_eq!(hang.workers[0].since, Ns(101 * S));
    // Within ten seconds of the time: the server is asked that often.
    let at = scene.told[0].0;
    assert!((101 + AFTER..=111 + AFTER).contains(&at), "{at}");
    // It goes on, and sticks again: another episode.
    scene.looks[1].oldest_open = None;
    scene.run(100, SERVES).stick(0).run(200, waits);
    assert_eq!(scene.told.len(), 2);
}

#[test]
fn without_the_servers_figures_the_device_alone_tells() {
    let mut scene = Scene::new(1);
    let unasked = Second { says: None, ..SERVES };
    scene.run(50, unasked).stick(0).run(200, Second::default());
    assert_eq!((scene.only().confidence, scene.only().running), (Confidence::Medium, None));
    // With a record that was lost the open launch says nothing.
    let mut scene = Scene::new(1);
    scene.run(50, unasked).stick(0);
    scene.looks[0].lost += 1;
    scene.run(200, Second::default()).nothing();
}

#[test]
fn a_server_that_is_first_asked_when_it_hangs() {
    let mut scene = Scene::new(1);
    let unasked = Second { says: None, ..SERVES };
    let waits = Second { says: Some((4.0, false)), ..Second::default() };
    scene.run(50, unasked).stick(0).run(200, waits);
    assert_eq!((scene.only().confidence, scene.only().running), (Confidence::Medium, Some(4.0)));
    // It may be loading where the device says nothing.
    let mut scene = Scene::new(1);
    scene.run(50, unasked).run(200, waits).nothing();
}

#[test]
fn a_host_that_launches_nothing_while_requests_run() {
    let mut scene = Scene::new(2);
    let waits = Second { says: Some((4.0, false)), ..Second::default() };
    scene.run(100, SERVES).run(AFTER - 2, waits).nothing();
    scene.run(100, waits);
    let hang = scene.only();
    assert_eq!(hang.confidence, Confidence::Medium);
    assert!(hang.workers.iter().all(|stuck| stuck.kind == Kind::Host));
}

#[test]
fn what_is_no_hang() {
    let idle = Second { says: Some((0.0, false)), ..Second::default() };
    let unasked = Second::default();
    // Nobody asks for anything, with and without figures.
    Scene::new(1).run(100, SERVES).run(10_000, idle).nothing();
    Scene::new(1).run(100, Second { says: None, ..SERVES }).run(10_000, unasked).nothing();
    // An idle server with a launch whose record was never seen.
    Scene::new(1).run(100, SERVES).stick(0).run(10_000, idle).nothing();
    // A giant prefill: kernels end, no token comes.
    let prefill = Second { says: Some((1.0, false)), ..SERVES };
    Scene::new(1).run(100, SERVES).run(10_000, prefill).nothing();
    // It starts: nothing was ever generated, graphs are captured and code is compiled.
    let starts = Second { launches: true, ends: false, says: Some((1.0, false)) };
    Scene::new(1).run(10_000, starts).stick(0).run(1_000, starts).nothing();
    // Work of a second at a time.
    let mut slow = Scene::new(1);
    for _ in 0..100 {
        let waits = Second { says: Some((1.0, false)), ..Second::default() };
        slow.run(AFTER - 15, waits).run(1, SERVES).run(10, SERVES);
    }
    slow.nothing();
}

#[test]
fn who_is_not_counted_is_not_judged() {
    let mut scene = Scene::new(1);
    let unasked = Second { says: None, ..SERVES };
    scene.run(100, unasked).stick(0);
    scene.looks[0].counted = false;
    scene.run(1_000, Second::default()).nothing();
    // Counted again it has yet to show that it can make progress.
    scene.looks[0].counted = true;
    scene.run(1_000, Second::default()).nothing();
}

#[test]
fn where_nobody_is_counted_the_server_tells() {
    let mut scene = Scene::new(1);
    scene.looks[0].counted = false;
    let idle = Second { says: Some((0.0, false)), ..Second::default() };
    let waits = Second { says: Some((4.0, false)), ..Second::default() };
    scene.run(100, SERVES).run(1_000, idle).run(AFTER - 2, waits).nothing();
    scene.run(300, waits);
    let hang = scene.only();
    assert_eq!(
        (hang.confidence, hang.running, hang.workers.len()),
        (Confidence::Low, Some(4.0), 0)
    );
}

#[test]
fn figures_of_long_ago_are_none() {
    let mut scene = Scene::new(1);
    scene.run(100, SERVES).run(10_000, Second::default()).nothing();
    assert!(scene.hangs.servers.contains_key(&SERVER));
    scene.hangs.on_end(ProcessKey(0));
    assert!(scene.hangs.servers.is_empty() && scene.hangs.told.is_empty());
}
