//! The `agent` command: observe every worker that has the shim, serve metrics.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wire::shim::Level;

use super::{CommandError, Exit, one_line, screen, signals};
use crate::bpf::Bpf;
use crate::bpf::host::Host;
use crate::cli::AgentArgs;
use crate::daemon::{self, Config, Watcher};
use crate::observe::{Observer, Selection, Settings};
use crate::pipeline::Start;
use crate::rules;

pub fn run(args: &AgentArgs) -> Result<Exit, CommandError> {
    let mut config = Config::load(args.config.as_deref())?;
    config.listen = args.listen.unwrap_or(config.listen);
    if args.check {
        return check(&config);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Scrapes are rare and small.
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| failed("start the HTTP runtime: check the limits on threads", source))?;
    runtime.block_on(serve(config))
}

/// Says what the configuration means, and whether everything it names can be read.
fn check(config: &Config) -> Result<Exit, CommandError> {
    let rules = rules::classifier(&config.rule_texts()?)?.rules().len();
    let Config { listen, scan_seconds, enabled, classify: _ } = config;
    let observed = if *enabled { "observed" } else { "left dormant" };
    let text = format!(
        "serves /metrics, /healthz, /readyz and /livez on {listen}\n\
         looks for workers every {scan_seconds} s\n\
         workers are {observed}\n\
         classifies by {rules} rules\n\
         The configuration is right. Next: start `warplens agent` with it\n"
    );
    screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    Ok(Exit::Ok)
}

async fn serve(config: Config) -> Result<Exit, CommandError> {
    let at = config.listen;
    let listener = TcpListener::bind(at).await.map_err(|source| {
        failed(&format!("listen on {at}: choose another address with `--listen`"), source)
    })?;
    let address = listener.local_addr().unwrap_or(at);
    let settings = Settings {
        selection: Selection::All,
        // Metrics need totals only: no stacks are taken. Of the kernel programs, only those that
        // tell who sleeps have anything to do.
        level: if config.enabled { Level::Counting } else { Level::Dormant },
        stack_rate: 0,
        cpu_hz: 0,
        verify: false,
        scan_every: Duration::from_secs(config.scan_seconds),
        classifier: rules::classifier(&config.rule_texts()?)?,
    };
    let signals = shutdown().map_err(|source| failed("register signal handlers", source))?;
    let start = Start { command: "agent".to_owned(), ..Start::default() };
    let mut watcher = Watcher::start(move || Observer::new(settings, start, programs(), None))
        .map_err(|source| {
            failed("start the watcher thread: check the limits on threads", source)
        })?;
    screen::say(&format!("warplens: serving http://{address}/metrics; Ctrl-C or SIGTERM ends it"));
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
    daemon::serve(listener, watcher.asker(), shutdown)
        .await
        .map_err(|source| failed(&format!("serve on {address}"), source))?;
    watcher.stop()?;
    screen::say("warplens: stopped; every shim goes dormant within 3 s");
    Ok(Exit::Ok)
}

/// The kernel programs, or why idle time is explained without the states of threads.
fn programs() -> Option<Bpf> {
    Bpf::load()
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

fn failed(message: &str, source: std::io::Error) -> CommandError {
    CommandError::Failed { message: message.to_owned(), source: Some(Box::new(source)) }
}
