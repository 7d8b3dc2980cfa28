//! Why a dump was written: `why.json`.

use serde::{Deserialize, Serialize};

use super::hang::{self, HangEvidence};
use super::threads::ThreadState;
use crate::kernel_log::Xid;
use crate::logs::LastLines;
use crate::observe::{Ending, Hanging, HowEnded};

/// Name of the file in a dump's folder.
pub const WHY_JSON: &str = "why.json";

const SCHEMA: &str = "warplens.why/v1";

/// What made the flight recorder write.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// `warplens dump`, or `warplens bundle`.
    Asked,
    /// A signal to the daemon.
    Signal,
    /// Workers ended in a way that nobody asked for.
    Crash(Vec<Ending>),
    /// Somebody in this process, with what to tell.
    Alert(String),
    /// A server makes no progress while there is work.
    Hang(Box<Hanging>),
}

impl Trigger {
    /// As `why.json`, folder names and metrics have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Signal => "signal",
            Self::Crash(_) => "crash",
            Self::Alert(_) => "alert",
            Self::Hang(_) => "hang",
        }
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Asked => "It was asked for.".to_owned(),
            Self::Signal => "The daemon was sent a signal.".to_owned(),
            Self::Alert(what) => format!("Alert: {what}"),
            Self::Hang(hanging) => hang::sentence(hanging),
            Self::Crash(endings) => endings.iter().map(ended).collect::<Vec<_>>().join(" "),
        }
    }
}

fn ended(ending: &Ending) -> String {
    let who = format!("{} (pid {})", ending.info.title, ending.info.pid);
    let error = ending.xid.map(|Xid { number, device, .. }| {
        format!(" Shortly before, GPU {device} had an error: Xid {number}.")
    });
    let how = match ending.how {
        HowEnded::Signal { number, core } => {
            let core = if core { ", core dumped" } else { "" };
            format!("{who} was ended by {}{core}.", signal_name(number))
        }
        HowEnded::Code(code) => format!("{who} ended with exit code {code}."),
        HowEnded::Unknown => format!("{who} ended; how is not known."),
    };
    how + &error.unwrap_or_default()
}

/// `SIGSEGV` for 11, by the numbers of x86-64 and aarch64.
fn signal_name(number: u8) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub schema: String,
    /// Of the agent that wrote it.
    pub warplens: String,
    /// `asked`, `signal`, `crash`, `hang` or `alert`.
    pub trigger: String,
    /// One sentence.
    pub detail: String,
    /// Wall clock when the window was taken, seconds since the epoch.
    pub at_unix: Option<u64>,
    /// `CLOCK_MONOTONIC` of that instant, ns: the clock of every record.
    pub at_ns: u64,
    /// How far back the window reaches, ns.
    pub window_ns: u64,
    /// Processes whose end was the reason.
    pub ended: Vec<Ended>,
    /// Workers of the window, the last of their records.
    pub workers: Vec<WorkerEvidence>,
    /// The server whose hang was the reason.
    #[serde(default)]
    pub hang: Option<HangEvidence>,
    /// The last lines of workers' own logs, redacted.
    #[serde(default)]
    pub logs: Vec<WorkerLog>,
}

/// What the logs of one worker said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLog {
    pub pid: u32,
    pub logs: Vec<LastLines>,
}

/// A process that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub pid: u32,
    pub title: String,
    /// When the agent noticed, `CLOCK_MONOTONIC` ns.
    pub noticed_ns: u64,
    /// Its signal, where one ended it.
    pub signal: Option<String>,
    pub core_dumped: bool,
    /// Its exit code, where it ended by itself. Neither: not known.
    pub exit_code: Option<u8>,
    /// An error of its device shortly before, as the driver numbers them.
    #[serde(default)]
    pub xid: Option<u32>,
}

/// The last that a worker's ring told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEvidence {
    pub pid: u32,
    pub title: String,
    pub rank: String,
    /// The last kernels that ended, latest last.
    pub last_kernels: Vec<LastKernel>,
    /// The last launch calls, latest last.
    pub last_launches: Vec<LastLaunch>,
    /// Launches of the window without a record of work, but for the last: what ran or waited at its end.
    pub oldest_unfinished_launch_ns: Option<u64>,
}

/// A kernel that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKernel {
    pub name: String,
    pub start_ns: u64,
    pub end_ns: u64,
    /// As the process numbers devices.
    pub device: u32,
    pub stream: u32,
    pub correlation: u32,
    /// Executed graph; 0: none.
    pub graph: u32,
}

/// A launch call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLaunch {
    pub enter_ns: u64,
    /// `kernel`, `graph` or `copy`.
    pub kind: String,
    pub correlation: u32,
    /// Work with its correlation id is in the window.
    pub has_record: bool,
}

impl Why {
    /// Without evidence yet.
    pub(super) fn new(trigger: &Trigger, at_unix: Option<u64>, at_ns: u64, window_ns: u64) -> Self {
        let ended = match trigger {
            Trigger::Crash(endings) => endings.iter().map(Ended::from).collect(),
            Trigger::Asked | Trigger::Signal | Trigger::Alert(_) | Trigger::Hang(_) => Vec::new(),
        };
        Self {
            schema: SCHEMA.to_owned(),
            warplens: env!("CARGO_PKG_VERSION").to_owned(),
            trigger: trigger.name().to_owned(),
            detail: trigger.sentence(),
            at_unix,
            at_ns,
            window_ns,
            ended,
            workers: Vec::new(),
            hang: None,
            logs: Vec::new(),
        }
    }
}

impl Why {
    /// Every text in it: those of people and programs, and names of code.
    pub fn texts(&mut self) -> (Vec<&mut String>, Vec<&mut String>) {
        let Self {
            schema,
            warplens,
            trigger,
            detail,
            at_unix: _,
            at_ns: _,
            window_ns: _,
            ended,
            workers,
            hang,
            logs,
        } = self;
        let mut code = Vec::new();
        let mut texts = vec![schema, warplens, trigger, detail];
        for ended in ended {
            texts.push(&mut ended.title);
            texts.extend(&mut ended.signal);
        }
        for WorkerEvidence { title, rank, last_kernels, last_launches, .. } in workers {
            texts.extend([title, rank]);
            code.extend(last_kernels.iter_mut().map(|kernel| &mut kernel.name));
            texts.extend(last_launches.iter_mut().map(|launch| &mut launch.kind));
        }
        if let Some(HangEvidence { workers, processes, .. }) = hang {
            texts.extend(workers.iter_mut().map(|stuck| &mut stuck.title));
            for process in processes {
                texts.push(&mut process.title);
                for ThreadState { name, stack, .. } in &mut process.threads {
                    texts.push(name);
                    code.extend(stack);
                }
            }
        }
        for LastLines { from, lines, problem } in logs.iter_mut().flat_map(|log| &mut log.logs) {
            texts.push(from);
            texts.extend(lines.iter_mut().chain(problem));
        }
        (texts, code)
    }
}

impl From<&Ending> for Ended {
    fn from(ending: &Ending) -> Self {
        let (signal, core_dumped, exit_code) = match ending.how {
            HowEnded::Signal { number, core } => (Some(signal_name(number)), core, None),
            HowEnded::Code(code) => (None, false, Some(code)),
            HowEnded::Unknown => (None, false, None),
        };
        Self {
            pid: ending.info.pid,
            title: ending.info.title.clone(),
            noticed_ns: ending.at.0,
            signal,
            core_dumped,
            exit_code,
            xid: ending.xid.map(|xid| xid.number),
        }
    }
}
