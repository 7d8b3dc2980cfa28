//! The `agent` command: observe every worker that has the shim, serve metrics.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use wire::shim::Level;

use super::{CommandError, Exit, one_line, screen, signals};
use crate::bpf::Bpf;
use crate::bpf::host::Host;
use crate::bpf::probe::Off;
use crate::cli::AgentArgs;
use crate::collect::Collection;
use crate::daemon::control::{self, Control};
use crate::daemon::{self, Attacher, Config, Guarding, Node, Serving, Watcher};
use crate::flight::{Desk, Flight, FlightSettings, Trigger};
use crate::govern::faults::Faults;
use crate::govern::{Governor, Maximum, StateFile};
use crate::kernel_log::KernelLog;
use crate::observe::{Evidence, Observer, Selection, Settings, now};
use crate::pipeline::Start;
use crate::privileges::{self, Children};
use crate::{rules, switch};

pub fn run(args: &AgentArgs) -> Result<Exit, CommandError> {
    let mut config = Config::load(args.config.as_deref())?;
    config.listen = args.listen.unwrap_or(config.listen);
    if args.check {
        return check(&config);
    }
    // While there is one thread, and after what needs more: a port below 1024.
    let guarding = config.http.guarding().map_err(boxed("HTTP cannot be guarded as asked"))?;
    let listener = listen(&config)?;
    let kernel_log = kernel_log(&config);
    if config.drop_privileges {
        let children = if config.attach.enabled { Children::Entering } else { Children::None };
        privileges::give_up(children).map_err(boxed("give up privileges"))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Scrapes are rare and small.
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| failed("start the HTTP runtime: check the limits on threads", source))?;
    runtime.block_on(serve(config, listener, guarding, kernel_log))
}

/// Says what the configuration means, and whether everything it names can be read.
fn check(config: &Config) -> Result<Exit, CommandError> {
    let rules = rules::classifier(&config.rule_texts()?)?.rules().len();
    let Config {
        listen,
        scan_seconds,
        enabled,
        classify: _,
        flight,
        levels,
        probes,
        shim,
        attach,
        collect,
        memory,
        evidence,
        http,
        drop_privileges,
    } = config;
    let guarding = http.guarding().map_err(boxed("HTTP cannot be guarded as asked"))?;
    let guarded = match (&guarding.tls, &guarding.token) {
        (None, None) => "to whoever reaches it",
        (None, Some(_)) => "to who shows the token",
        (Some(_), None) => "by TLS, to whoever reaches it",
        (Some(_), Some(_)) => "by TLS, to who shows the token",
    };
    let privileges = if *drop_privileges {
        "gives up privileges it does not need"
    } else {
        "keeps its privileges"
    };
    if attach.enabled {
        // It is read anew for each process.
        super::attach::find_shim()?;
    }
    let attach = attach.sentence();
    let flight = flight.sentence();
    let off = probes.resolve(&Node::read());
    let off: Vec<String> =
        off.iter().map(|(probe, why)| format!("{} ({why})", probe.as_str())).collect();
    let programs = if off.is_empty() {
        "uses every kernel program it can".to_owned()
    } else {
        format!("does without the kernel programs {}", off.join(", "))
    };
    let shims = match shim.off.as_slice() {
        [] => "shims leave off what has a known fault".to_owned(),
        names => format!("shims leave off {}, and what has a known fault", names.join(", ")),
    };
    let (collected, evidence) = (collect.sentence(), evidence.sentence());
    let memory = memory.sentence();
    let observed = if *enabled { levels.sentence() } else { "left dormant".to_owned() };
    let text = format!(
        "serves /metrics, /healthz, /readyz and /livez on {listen}, figures {guarded}\n\
         looks for workers every {scan_seconds} s\n\
         workers are {observed}\n\
         {attach}\n\
         {programs}\n\
         {shims}\n\
         classifies by {rules} rules\n\
         {collected}\n\
         {memory}\n\
         {flight}\n\
         {evidence}\n\
         {privileges}\n\
         The configuration is right. Next: start `warplens agent` with it\n"
    );
    screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    Ok(Exit::Ok)
}

/// The port, before there is anybody to serve it.
fn listen(config: &Config) -> Result<std::net::TcpListener, CommandError> {
    let at = config.listen;
    let listening = std::net::TcpListener::bind(at).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listening.map_err(|source| {
        failed(&format!("listen on {at}: choose another address with `--listen`"), source)
    })
}

async fn serve(
    config: Config,
    listener: std::net::TcpListener,
    guarding: Guarding,
    kernel_log: Option<KernelLog>,
) -> Result<Exit, CommandError> {
    let at = config.listen;
    let listener = TcpListener::from_std(listener)
        .map_err(|source| failed(&format!("listen on {at}"), source))?;
    let address = listener.local_addr().unwrap_or(at);
    let scheme = if guarding.tls.is_some() { "https" } else { "http" };
    if !at.ip().is_loopback() && guarding.token.is_none() {
        screen::say(&format!(
            "warplens: whoever reaches {address} reads the figures, with names of pods and models: set `http.token_file` in the configuration, or close the port to others"
        ));
    }
    let settings = Settings {
        selection: Selection::All,
        // Metrics need totals only: no stacks are taken. Of the kernel programs, only those that
        // tell who sleeps have anything to do.
        level: if config.enabled { config.levels.maximum() } else { Level::Dormant },
        stack_rate: 0,
        cpu_hz: 0,
        verify: false,
        scan_every: Duration::from_secs(config.scan_seconds),
        classifier: rules::classifier(&config.rule_texts()?)?,
        stacks: config.enabled && config.levels.maximum() >= Level::Stacks,
        memory: config.memory.watched().filter(|_| config.enabled),
        flight: config.flight.settings().map(|flight| flight.limits),
    };
    let (flight, desk) = match config.flight.settings() {
        None => (None, None),
        Some(flight) => {
            let flight = FlightSettings { log_lines: config.evidence.log_lines, ..flight };
            let started = Flight::start(&flight, settings.classifier.clone());
            let (flight, desk) = started.map_err(|source| {
                failed("start the flight recorder: check the limits on threads", source)
            })?;
            (Some(flight), Some(desk))
        }
    };
    let dump_signal = signal(SignalKind::user_defined1())
        .map_err(|source| failed("register a signal handler", source))?;
    let off_signal = signal(SignalKind::user_defined2())
        .map_err(|source| failed("register a signal handler", source))?;
    let signals = shutdown().map_err(|source| failed("register signal handlers", source))?;
    let source = super::session::host_name();
    let step = config.memory.watched().map(|watched| watched.step.as_nanos());
    let memory_step_ns = step.and_then(|step| u64::try_from(step).ok()).unwrap_or(0);
    let start = Start { command: "agent".to_owned(), source, memory_step_ns, ..Start::default() };
    let governor = governor(&config)?;
    let off = config.probes.resolve(&Node::read());
    let faults = Faults::read(config.shim.features());
    let evidence =
        Evidence { kernel_log, logs: config.evidence.logs(), hang: config.evidence.hang() };
    let collecting = config.collect.every().filter(|_| config.enabled).map(Collection::new);
    let (collection, collecting) = collecting.unzip();
    let collecting = collecting.map(tokio::spawn);
    let mut watcher = Watcher::start(flight, attacher(&config)?, collection, move || {
        let observer = Observer::new(settings, start, programs(off), None)?;
        Ok(observer.heeding(faults).governed_by(governor).with_evidence(evidence))
    })
    .map_err(|source| failed("start the watcher thread: check the limits on threads", source))?;
    screen::say(&format!(
        "warplens: serving {scheme}://{address}/metrics; Ctrl-C or SIGTERM ends it"
    ));
    let host = Host::read();
    let missing = host.missing_capabilities();
    if !missing.is_empty() {
        screen::say(&format!(
            "warplens: {} not held: the kernel programs see less or nothing; run it as root or grant what is missing",
            missing.join(", ")
        ));
    }
    let missing = host.missing_for_strangers();
    if !missing.is_empty() {
        screen::say(&format!(
            "warplens: {} not held: only workers of this user with WARPLENS_KEEP_FD=1 are sure to be observed; run it as root or grant what is missing",
            missing.join(", ")
        ));
    }
    let ended = watcher.ended();
    let shutdown = async move {
        tokio::select! {
            () = signals => {}
            () = ended => {}
        }
    };
    let serving = Serving::new(watcher.asker(), desk.clone());
    let control = control(desk.clone(), serving.clone()).await;
    let dumps = tokio::spawn(dump_on_signal(dump_signal, desk));
    let switches = tokio::spawn(switch_on_signal(off_signal));
    let served = daemon::serve(listener, serving, guarding, shutdown).await;
    for task in control.into_iter().chain(collecting).chain([dumps, switches]) {
        task.abort();
        // Cancelled, as was asked; the socket's file is gone then.
        let _cancelled = task.await;
    }
    served.map_err(|source| failed(&format!("serve on {address}"), source))?;
    watcher.stop()?;
    screen::say("warplens: stopped; every shim goes dormant within 3 s");
    Ok(Exit::Ok)
}

/// Who decides on levels, with what an agent before this one remembered.
fn governor(config: &Config) -> Result<Governor, CommandError> {
    let mut levels = config.levels.clone();
    if !config.enabled {
        levels.maximum = Maximum::Dormant;
    }
    let state = Some(levels.state.clone()).filter(|path| !path.as_os_str().is_empty());
    let state = state.map(StateFile::open).transpose().map_err(|source| {
        failed("start the thread that remembers crashes: check the limits on threads", source)
    })?;
    Ok(Governor::new(&levels, state, now()))
}

/// Who brings the shim to workers without it, where that is policy and can be done.
fn attacher(config: &Config) -> Result<Option<Attacher>, CommandError> {
    if !config.attach.enabled {
        return Ok(None);
    }
    if let Err(error) = super::attach::find_shim() {
        screen::say(&format!("warplens: no process is entered: {}", one_line(&error)));
        return Ok(None);
    }
    let started = Attacher::start(config.attach.clone());
    started.map(Some).map_err(|source| {
        failed("start the threads that enter processes: check the limits on threads", source)
    })
}

/// The kernel's log, opened while that is still permitted; without it nobody knows of errors of devices.
fn kernel_log(config: &Config) -> Option<KernelLog> {
    let path = &config.evidence.kernel_log;
    if path.as_os_str().is_empty() || !config.enabled {
        return None;
    }
    KernelLog::open(path)
        .inspect_err(|error| {
            let why = one_line(error);
            screen::say(&format!("warplens: errors of devices (Xid) are not seen: {why}"));
        })
        .ok()
}

/// The socket, where it can be had: the daemon is worth having without.
async fn control(desk: Option<Desk>, serving: Serving) -> Option<JoinHandle<()>> {
    match Control::bind(&control::path(None)).await {
        Ok(control) => Some(tokio::spawn(control.serve(desk, move || {
            let serving = serving.clone();
            async move { serving.metrics().await.map_err(|(_, why)| why) }
        }))),
        Err(error) => {
            let why = one_line(&error);
            screen::say(&format!("warplens: `warplens dump` will not reach this daemon: {why}"));
            None
        }
    }
}

/// SIGUSR1 writes what the flight recorder has.
async fn dump_on_signal(mut asked: Signal, desk: Option<Desk>) {
    while asked.recv().await.is_some() {
        match &desk {
            // What becomes of it is said by the thread that writes.
            Some(desk) => drop(desk.ask(Trigger::Signal)),
            None => screen::say("warplens: no dump: the flight recorder is off"),
        }
    }
}

/// SIGUSR2 lets go of every worker, and the next one meets them again.
async fn switch_on_signal(mut asked: Signal) {
    while asked.recv().await.is_some() {
        switch::toggle_by_signal();
    }
}

/// The kernel programs, or why idle time is explained without the states of threads.
fn programs(off: Off) -> Option<Bpf> {
    for (probe, reason) in off.iter() {
        screen::say(&format!("warplens: {} are switched off by {reason}", probe.feature()));
    }
    Bpf::load_without(off)
        .inspect_err(|error| {
            screen::say(&format!(
                "warplens: idle time is never called no_requests: {}",
                one_line(error)
            ));
        })
        .ok()
}

/// Completes on any of the signals that end an observation.
fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    for number in signals::caught() {
        let mut signal = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        drop(tokio::spawn(async move {
            signal.recv().await;
            // One signal is enough: a full channel holds one.
            let _told = sender.try_send(());
        }));
    }
    Ok(async move {
        receiver.recv().await;
    })
}

/// A failure of a step with a cause of its own.
fn boxed<E: std::error::Error + Send + Sync + 'static>(
    message: &'static str,
) -> impl FnOnce(E) -> CommandError {
    move |source| CommandError::Failed {
        message: message.to_owned(),
        source: Some(Box::new(source)),
    }
}

fn failed(message: &str, source: std::io::Error) -> CommandError {
    CommandError::Failed { message: message.to_owned(), source: Some(Box::new(source)) }
}
