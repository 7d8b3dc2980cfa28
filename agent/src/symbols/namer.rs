//! Naming in a thread of its own. Reading the debug information of vLLM's extension takes half a second, and from
//! a slow disk many: rings and the kernel's buffers must be read meanwhile, or they overflow.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use analysis::ids::ProcessKey;
use rustix::thread::gettid;

use crate::capture::Frame;
use crate::pipeline::Symbol;

use super::files::OpenFile;
use super::names::Names;

/// How nice the thread is: names can wait for everybody else's work.
const NICE: i32 = 10;

/// Addresses of one process in one file.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) process: ProcessKey,
    pub(super) file: Arc<OpenFile>,
    /// Address and offset in the file.
    pub(super) places: Vec<(u64, u64)>,
}

impl Job {
    fn answer(&self, frames: impl IntoIterator<Item = Vec<Frame>>) -> Answer {
        let addresses = self.places.iter().map(|&(address, _)| address);
        let symbols = addresses.zip(frames).map(|(address, frames)| Symbol { address, frames });
        (self.process, symbols.collect())
    }

    /// Without any name.
    fn unnamed(&self) -> Answer {
        self.answer(self.places.iter().map(|&(_, offset)| vec![self.file.place(offset)]))
    }
}

/// The frames of addresses of one process.
pub(super) type Answer = (ProcessKey, Vec<Symbol>);

/// The thread, while it lives.
#[derive(Debug)]
struct Worker {
    /// Its number, once it runs.
    tid: Arc<OnceLock<i32>>,
    jobs: Sender<Arc<Job>>,
    answers: Receiver<Answer>,
    /// Jobs that are not answered yet, oldest first, as they will be answered.
    open: VecDeque<Arc<Job>>,
}

/// What the thread does until there are no more jobs, or nobody wants an answer.
type Work = fn(Receiver<Arc<Job>>, Sender<Answer>);

impl Worker {
    fn start(work: Work) -> Option<Self> {
        let (jobs, to_do) = channel();
        let (done, answers) = channel();
        let thread = thread::Builder::new().name("warplens-names".to_owned());
        let tid = Arc::new(OnceLock::new());
        let own = Arc::clone(&tid);
        let run = move || {
            own.get_or_init(|| gettid().as_raw_nonzero().get());
            work(to_do, done);
        };
        thread.spawn(run).ok()?;
        Some(Self { tid, jobs, answers, open: VecDeque::new() })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the ends of channels live in the thread")]
fn name_all(jobs: Receiver<Arc<Job>>, answers: Sender<Answer>) {
    // For this thread alone; where it may not, it competes as the others do.
    let _same = rustix::process::setpriority_process(None, NICE);
    let mut names = Names::new();
    for job in jobs {
        if answers.send(name(&mut names, &job)).is_err() {
            return;
        }
    }
}

fn name(names: &mut Names, job: &Job) -> Answer {
    let offsets: Vec<u64> = job.places.iter().map(|&(_, offset)| offset).collect();
    job.answer(names.resolve(&job.file, &offsets))
}

/// Hands out jobs and collects what was named.
#[derive(Debug)]
pub(super) struct Namer {
    work: Work,
    worker: Option<Worker>,
    /// What was given up, to be told.
    unnamed: Vec<Answer>,
    lost: u64,
}

impl Default for Namer {
    fn default() -> Self {
        Self { work: name_all, worker: None, unnamed: Vec::new(), lost: 0 }
    }
}

impl Namer {
    pub(super) fn ask(&mut self, job: Job) {
        if self.worker.is_none() {
            self.worker = Worker::start(self.work);
        }
        let job = Arc::new(job);
        match &mut self.worker {
            Some(worker) if worker.jobs.send(Arc::clone(&job)).is_ok() => {
                worker.open.push_back(job);
            }
            _ => {
                self.leave_unnamed(&job);
                self.give_up();
            }
        }
    }

    /// What was named since the last call, and what will be until `limit` has passed.
    pub(super) fn answers(&mut self, limit: Duration) -> Vec<Answer> {
        let until = Instant::now() + limit;
        let mut answers = std::mem::take(&mut self.unnamed);
        while let Some(worker) = self.worker.as_mut().filter(|worker| !worker.open.is_empty()) {
            match worker.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) => {
                    worker.open.pop_front();
                    answers.push(answer);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    self.give_up();
                    answers.append(&mut self.unnamed);
                }
            }
        }
        answers
    }

    /// The thread, if it runs.
    pub(super) fn thread(&self) -> Option<i32> {
        self.worker.as_ref()?.tid.get().copied()
    }

    /// Addresses whose names are still looked for.
    pub(super) fn open(&self) -> u64 {
        let open = self.worker.iter().flat_map(|worker| &worker.open);
        open.map(|job| job.places.len() as u64).sum()
    }

    /// What is not named by now never is: it is answered with its place in its file. The next job starts another
    /// thread.
    pub(super) fn give_up(&mut self) {
        for job in self.worker.take().into_iter().flat_map(|worker| worker.open) {
            self.leave_unnamed(&job);
        }
    }

    fn leave_unnamed(&mut self, job: &Job) {
        self.lost += job.places.len() as u64;
        self.unnamed.push(job.unnamed());
    }

    /// Addresses that were never named: the thread could not be started, or broke on a file, or took too long.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use crate::proc;
    use crate::symbols::files::Files;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn job(places: &[(u64, u64)]) -> Job {
        let maps = proc::maps(std::process::id()).unwrap();
        let mapping = maps.iter().find(|map| map.executable && map.inode != 0).unwrap();
        let file = Files::default().open(std::process::id(), mapping).unwrap();
        Job { process: ProcessKey(3), file, places: places.to_vec() }
    }

    /// Each address, and how its name ends: that of its file begins it.
    fn places(answers: &[Answer]) -> Vec<(u64, &str)> {
        let end = |frame: &'_ Frame| frame.function.find('+').unwrap();
        let symbols = answers.iter().flat_map(|(_, symbols)| symbols);
        symbols
            .map(|symbol| {
                let [frame] = symbol.frames.as_slice() else { panic!("{symbol:?}") };
                assert_eq!(frame.module.as_deref(), Some(&frame.function[..end(frame)]));
                (symbol.address, &frame.function[end(frame)..])
            })
            .collect()
    }

    #[test]
    fn what_breaks_the_thread_is_lost_and_the_next_job_has_another() {
        #[expect(clippy::needless_pass_by_value, reason = "as the thread has them")]
        fn breaks_on_two(jobs: Receiver<Arc<Job>>, answers: Sender<Answer>) {
            for job in jobs {
                assert!(job.places.len() != 2, "as meant by this test");
                answers.send(name(&mut Names::new(), &job)).unwrap();
            }
        }
        let mut namer = Namer { work: breaks_on_two, ..Namer::default() };
        namer.ask(job(&[(0x10, 1), (0x20, 2)]));
        assert_eq!(places(&namer.answers(LONG)), [(0x10, "+0x1"), (0x20, "+0x2")]);
        assert_eq!(namer.lost(), 2);
        namer.ask(job(&[(0x30, 1)]));
        let answers = namer.answers(LONG);
        let [(process, symbols)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!((*process, symbols[0].address, symbols.len()), (ProcessKey(3), 0x30, 1));
        assert_eq!(namer.lost(), 2);
    }

    #[test]
    fn whoever_asks_is_not_kept_waiting() {
        fn never(jobs: Receiver<Arc<Job>>, _answers: Sender<Answer>) {
            jobs.into_iter().for_each(drop);
        }
        let mut namer = Namer { work: never, ..Namer::default() };
        namer.ask(job(&[(0x10, 1)]));
        assert!(namer.answers(Duration::ZERO).is_empty());
        assert_eq!((namer.open(), namer.lost()), (1, 0), "it may come yet");
        namer.give_up();
        assert_eq!(namer.open(), 0);
        assert_eq!(namer.lost(), 1);
        assert_eq!(places(&namer.answers(LONG)), [(0x10, "+0x1")]);
        assert!(namer.answers(LONG).is_empty());
    }
}
