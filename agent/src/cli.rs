//! The command line: exactly what can be typed. Commands that do not exist are not listed.

mod leaks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use analysis::report::IdleCause;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::bpf::probe::Probe;
use crate::capture::NameStyle;
use crate::commands::findings::Severity;
pub use leaks::LeaksArgs;

/// Profiles machines that serve LLMs with vLLM: where GPU time goes and which code is responsible.
#[derive(Debug, Parser)]
#[command(
    name = "warplens",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 findings at or above --fail-on, 77 missing privilege.\n\n\
        Start with `warplens doctor`, then `warplens record --all -d 30s -o warplens-out`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the vLLM servers of this node, with their processes
    Servers(ServersArgs),
    /// Observe running processes for a while and write a report, profiles and the recording
    Record(RecordArgs),
    /// Look for memory that is taken and not given back, and name the code that takes it
    Leaks(LeaksArgs),
    /// Start a command with the shim loaded into it, and observe it until it ends
    Run(RunArgs),
    /// Bring the shim into running processes that were started without it
    Attach(AttachArgs),
    /// Send shims to sleep: of processes, or of the whole machine until the switch is lifted
    Detach(DetachArgs),
    /// Run as a daemon that serves metrics
    Agent(AgentArgs),
    /// Have the daemon write the last minute it has in memory
    Dump(DumpArgs),
    /// Pack recordings and what surrounds them into one file for an issue report, redacted
    Bundle(BundleArgs),
    /// Open a bundle, a dump or a recording's folder and say what is in it
    View(ViewArgs),
    /// Report on recordings, PyTorch traces and Nsight Systems exports
    Analyze(AnalyzeArgs),
    /// Compare two recordings, traces or reports: what changed, and what of it is more than chance
    Diff(DiffArgs),
    /// List the longest idle gaps, each with its cause and the launch that was late
    Gaps(GapsArgs),
    /// Classify kernel names read from standard input
    Classify(ClassifyArgs),
    /// Say what this machine and these privileges allow, and what is missing
    Doctor(DoctorArgs),
    /// Ask the CUDA driver what it has; `doctor` runs this in a process of its own
    #[command(hide = true, name = "probe-cuda")]
    ProbeCuda,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    warplens record --pid 4242 -d 30s -o warplens-out\n  \
    warplens record --pod serving/llama-0 -d 1m\n  \
    warplens record --model meta-llama/Llama-3.3-70B-Instruct\n  \
    warplens record --all --duration 2m --json")]
pub struct RecordArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// How long, such as 30s, 500ms or 2m
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub duration: Duration,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub observation: ObservationArgs,
}

/// Whom to observe.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Observe these processes and their descendants
    #[arg(short, long, value_name = "PID", value_delimiter = ',', group = "target")]
    pub pid: Vec<u32>,

    /// Observe the vLLM servers of this pod; the namespace may be left out where it is clear
    #[arg(long, value_name = "NAMESPACE/NAME", group = "target")]
    pub pod: Option<String>,

    /// Observe the vLLM servers of the container whose id begins so
    #[arg(long, value_name = "ID", group = "target")]
    pub container: Option<String>,

    /// Observe the vLLM servers of this model: its path, repository or served name
    #[arg(long, value_name = "NAME", group = "target")]
    pub model: Option<String>,

    /// Observe every vLLM server, and every process that has the shim loaded
    #[arg(long, group = "target")]
    pub all: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        warplens attach --pid 4242\n  \
        warplens attach --pid 4242,4243 --json\n  \
        warplens attach --pid 4242 --rehearse\n\n\
        A thread of each process is stopped three times for some milliseconds, at a place where it only\n\
        waits, and loads the shim; then the process goes on as it was, whatever becomes of this command.\n\
        x86-64 and glibc. Not tried on a GPU yet: what is seen of CUDA graphs captured before is not known.\n\
        The shim stays until the process ends, asleep while no agent asks.")]
pub struct AttachArgs {
    /// Enter these processes, not their descendants
    #[arg(short, long, value_name = "PID", value_delimiter = ',', required = true)]
    pub pid: Vec<u32>,

    /// Only send a thread through the code that would load the shim, calling nothing: whether a process can be
    /// entered, and how long a thread of it is stopped
    #[arg(long)]
    pub rehearse: bool,

    /// Start of the process, clock ticks since boot: another one of that number is left alone. For the daemon, which
    /// decided before it asked; gives up every privilege that entering does not need
    #[arg(long, value_name = "TICKS", hide = true)]
    pub started: Option<u64>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        warplens detach --pid 4242\n  \
        warplens detach --all --reason 'driver upgrade'\n  \
        warplens detach --lift\n\n\
        A shim that sleeps has no callback in the driver and records nothing; its library and its memory\n\
        stay until the process ends. --all makes the file /run/warplens/off (WARPLENS_SWITCH names another):\n\
        while it is there, daemons let go of every worker, and record, run and attach refuse.")]
pub struct DetachArgs {
    /// Processes whose shims are to sleep; an agent may wake them again
    #[arg(
        short,
        long,
        value_name = "PID",
        value_delimiter = ',',
        required_unless_present_any = ["all", "lift"],
        conflicts_with_all = ["all", "lift"]
    )]
    pub pid: Vec<u32>,

    /// Switch Warplens off on this machine: every shim, and every agent until --lift
    #[arg(long, conflicts_with = "lift")]
    pub all: bool,

    /// Why, for those who are kept from observing
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,

    /// Switch Warplens on again
    #[arg(long)]
    pub lift: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  warplens servers\n  warplens servers --watch --json")]
pub struct ServersArgs {
    /// Print one JSON document; with --watch, one a line whenever something changed
    #[arg(long)]
    pub json: bool,

    /// Go on, and print again whenever something changed
    #[arg(long)]
    pub watch: bool,
}

/// What every observation can be told.
#[derive(Args, Clone, Debug)]
pub struct ObservationArgs {
    /// Folder for the outputs
    #[arg(short, long, value_name = "DIR", default_value = "warplens-out")]
    pub out: PathBuf,

    /// Launch stacks per second and thread; 0 takes none
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub stack_rate: u32,

    /// CPU samples per second and processor; 0 takes none
    #[arg(long, value_name = "HZ", default_value_t = 99)]
    pub cpu_hz: u32,

    /// Leave these kernel programs out: launch-stacks, cpu-samples, python, processes, thread-states, page-touches, launch-count
    #[arg(long, value_name = "PROBE", value_delimiter = ',', hide_possible_values = true)]
    pub without: Vec<Probe>,

    /// How often what is live of memory is written down: a verdict needs 24 of it, and a leak of a piece a cycle
    /// some in each cycle
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub memory_step: Duration,

    /// Also count launches in the driver with uprobes, independently of the shim. Costs
    /// about 10 us a launch
    #[arg(long)]
    pub verify: bool,

    #[command(flatten)]
    pub names: NamesArgs,

    #[command(flatten)]
    pub rules: RulesArgs,
}

/// How names of functions are written.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct NamesArgs {
    /// Shorten names in pictures and profiles: template arguments, parameters and paths
    #[arg(long)]
    pub short: bool,
}

impl NamesArgs {
    pub fn style(self) -> NameStyle {
        if self.short { NameStyle::Short } else { NameStyle::Whole }
    }
}

/// Whose rules names of kernels are classified by.
#[derive(Args, Clone, Debug, Default)]
pub struct RulesArgs {
    /// Classification rules that come before the built-in ones; may be given several times
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  warplens run -o warplens-out -- python3 serve.py")]
pub struct RunArgs {
    /// Print the report as JSON on standard error when the command has ended
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub observation: ObservationArgs,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  warplens agent --config /etc/warplens/agent.toml --listen 0.0.0.0:9400\n  \
        warplens agent --config agent.toml --check\n\n\
        Signals: TERM or INT ends it, USR1 writes a dump, USR2 lets go of every worker until the next one."
)]
pub struct AgentArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address to serve /metrics, /healthz, /readyz and /livez on; overrides the file's
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Say what the configuration means, or what is wrong with it, and end; observe nobody
    #[arg(long)]
    pub check: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Reads recording.warplens, PyTorch profiler traces (.json, .json.gz) of any size, and Nsight Systems\n\
    .sqlite exports (`nsys export --type sqlite`), or .nsys-rep where `nsys` is on PATH. Several inputs, such\n\
    as the ranks of a job, are shown beside each other.\n\n\
    Examples:\n  \
    warplens analyze warplens-out\n  \
    warplens analyze trace.sqlite --json\n  \
    warplens analyze rank0.json.gz rank1.json.gz\n  \
    warplens analyze tuesday --diff monday -o changed\n  \
    warplens analyze rank0.warplens rank1.warplens -o merged --fail-on warning"
)]
pub struct AnalyzeArgs {
    /// Recordings, PyTorch traces, Nsight Systems .sqlite files, or folders that hold some
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,

    /// Print the report as JSON on standard output
    #[arg(long)]
    pub json: bool,

    /// Folder for report, flame graphs, profiles and timeline
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Draw also what changed against this earlier recording or trace: cpu.diff.svg, gpu.diff.svg,
    /// offcpu.diff.svg, memory.diff.svg
    #[arg(long, value_name = "BEFORE", requires = "out")]
    pub diff: Option<PathBuf>,

    /// Draw trace.pftrace from this far into the timeline, such as 90s
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "out")]
    pub trace_from: Option<Duration>,

    /// Draw so much of the timeline; without it, as much as a viewer takes
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "out")]
    pub trace_length: Option<Duration>,

    /// Exit with 3 when there is a finding of this severity or above
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,

    #[command(flatten)]
    pub names: NamesArgs,

    #[command(flatten)]
    pub rules: RulesArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Reads what `warplens analyze` reads, and report.json. Recordings are cut into windows, and a change is\n\
    marked when it is more than the windows differ among themselves; a report has sums only.\n\n\
    Examples:\n  \
    warplens diff monday tuesday\n  \
    warplens diff baseline/report.json warplens-out --fail-on warning\n  \
    warplens diff monday tuesday -o changed\n  \
    warplens diff monday tuesday --json"
)]
pub struct DiffArgs {
    /// A recording, trace or report.json, or a folder that holds some
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,

    /// The same, later
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,

    #[command(flatten)]
    pub rules: RulesArgs,

    /// Folder for flame graphs of what changed: cpu.diff.svg, gpu.diff.svg, offcpu.diff.svg, memory.diff.svg
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// How many kernels, kinds and ranges to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,

    /// Print the comparison as JSON on standard output
    #[arg(long)]
    pub json: bool,

    /// Exit with 3 when something got worse by this severity or above; `info` also where nothing
    /// could be tested
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
}

/// Reads a cause as reports spell it.
fn idle_cause() -> impl TypedValueParser<Value = IdleCause> {
    PossibleValuesParser::new(IdleCause::ALL.map(IdleCause::as_str)).try_map(|text| {
        let known = IdleCause::ALL.into_iter().find(|cause| cause.as_str() == text);
        known.ok_or("no cause of idle time")
    })
}

#[derive(Args, Debug)]
#[command(
    after_help = "Reads what `warplens analyze` reads, and report.json. A report keeps the 100 longest gaps of each GPU.\n\n\
    Examples:\n  \
    warplens gaps warplens-out\n  \
    warplens gaps warplens-out --cause host_bound --limit 5\n  \
    warplens gaps trace.sqlite --min-us 100 --json"
)]
pub struct GapsArgs {
    /// Recordings, traces, report.json files, or folders that hold some
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub rules: RulesArgs,

    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,

    /// Only gaps that have this cause, those that have most of it first
    #[arg(long, value_name = "CAUSE", value_parser = idle_cause())]
    pub cause: Option<IdleCause>,

    /// Only gaps of at least this length (of this much of the cause), microseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_us: u64,

    /// Print one JSON object a gap
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        warplens dump\n  \
        warplens dump -o warplens-out --json\n\n\
        The daemon writes a folder like that of record into its own folder of dumps (flight.dir, by default\n\
        /var/lib/warplens/dumps), with why.json beside it. SIGUSR1 to the daemon does the same.")]
pub struct DumpArgs {
    /// Copy the dump into this folder, too
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// The daemon's socket [default: `WARPLENS_SOCKET`, or /run/warplens/agent.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Print where the dump lies and how far back it reaches as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        warplens bundle\n  \
        warplens bundle warplens-out --anonymous -o report.tar.zst\n  \
        warplens bundle --dry-run\n\n\
        Without a folder the daemon is asked for a dump, and where none answers the newest one is taken. Taken out\n\
        always: secrets, names of hosts and users, addresses, paths below home directories, arguments. Kernel and\n\
        function names, PIDs and the numbers of GPUs stay. Look into it before you send it.")]
pub struct BundleArgs {
    /// Recordings, or folders that record or dump made
    #[arg(value_name = "RECORDING|FOLDER")]
    pub inputs: Vec<PathBuf>,

    /// The file to write [default: warplens-bundle-TIME.tar.zst]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Take out the names of models, pods, namespaces and containers, too
    #[arg(long)]
    pub anonymous: bool,

    /// The daemon's configuration file, to be taken along without its secrets
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Only say what would be in it
    #[arg(long)]
    pub dry_run: bool,

    /// The daemon's socket [default: `WARPLENS_SOCKET`, or /run/warplens/agent.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Print what is in it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        warplens view warplens-bundle-1795392000.tar.zst\n  \
        warplens view report.tar.zst --extract report\n  \
        warplens view warplens-out\n\n\
        A bundle is somebody else's file: links, paths that lead elsewhere and what unpacks without end are refused.")]
pub struct ViewArgs {
    /// A bundle, a recording, or a folder that record or dump made
    #[arg(value_name = "FILE|FOLDER")]
    pub input: PathBuf,

    /// Unpack the bundle into this folder, which is not there yet, for other tools
    #[arg(long, value_name = "FOLDER")]
    pub extract: Option<PathBuf>,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Prints `name<TAB>class<TAB>kind`, one line for each line read.\n\n\
    Example:\n  echo ncclDevKernel_AllReduce_Sum_bf16 | warplens classify --explain")]
pub struct ClassifyArgs {
    /// Add the rule that decided, what of the name it found, and the family it stands in
    #[arg(long)]
    pub explain: bool,

    /// One JSON object a line instead
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub rules: RulesArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        sudo warplens doctor\n  \
        sudo warplens doctor --config /etc/warplens/agent.toml")]
pub struct DoctorArgs {
    /// Also what this configuration of the daemon switches off
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the checks as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `30s`, `500ms`, `2m`, `1h`, or a plain number of seconds; more than zero, at most a day.
fn duration(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_hours(24);
    let digits =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit `{unit}`: use ms, s, m or h")),
    };
    let number: f64 =
        number.parse().map_err(|error| format!("{error}: a number followed by ms, s, m or h"))?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(time) if time.is_zero() => Err("must be more than zero".to_owned()),
        Ok(time) if time > DAY => Err("must be at most 24h".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1.5", Some(1_500)),
            ("1h", Some(3_600_000)),
            ("0s", None),
            ("25h", None),
            ("", None),
            ("s", None),
            ("-3s", None),
            ("3 days", None),
            ("1e9s", None),
        ] {
            let parsed = duration(text).ok().map(|time| time.as_millis());
            assert_eq!(parsed, expected, "{text:?}");
        }
    }
}
