//! `gpu-list`: asks the questions that only a machine with an NVIDIA GPU can answer, and keeps the answers.
//!
//! Exit status 0: every question has an answer, or a reason why it cannot be asked here; 1: one failed, or it was
//! interrupted; 2: usage.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use warplens_tests::gpu::answer::Answers;
use warplens_tests::gpu::ask::{Stamp, Step, ask};
use warplens_tests::gpu::place::{Cuda, Place, Tools};
use warplens_tests::gpu::steps::STEPS;
use warplens_tests::gpu::{machine, questions, table};
use warplens_tests::soak::INTERRUPTED;

#[derive(Debug, Parser)]
#[command(
    name = "gpu-list",
    about = "Asks the questions that only a machine with an NVIDIA GPU can answer, one by one",
    after_help = "Answers are kept in DIR/answers.json after each step; a question asked again replaces its answer, so an \
                  interrupted run goes on with --only. `cargo xtask gpu report DIR/answers.json` writes docs/hardware.md \
                  from them.\n\nExit status: 0 every question has an answer or a reason why it cannot be asked here, \
                  1 one failed or was interrupted, 2 usage."
)]
struct Options {
    /// Only these questions, such as 1,4,6
    #[arg(long, value_delimiter = ',', value_name = "N")]
    only: Vec<u32>,
    /// Folder for the answers and what the steps write
    #[arg(long, default_value = "gpu-answers", value_name = "DIR")]
    out: PathBuf,
    /// Try the asking on the simulated CUDA in this folder, for a short time; answers nothing about a GPU
    #[arg(long, value_name = "DIR")]
    simulated: Option<PathBuf>,
    /// Folder of the bundle: `warplens`, `libwarplens_cuda.so`, `cuda-worker`, `programs`; default: this program's own
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The libcupti for workers that have no CUDA runtime beside them; default: the last that `warplens doctor` finds
    #[arg(long, value_name = "FILE")]
    cupti: Option<PathBuf>,
    /// The Python that has PyTorch
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: String,
    /// Kernels of the long run of question 5; default: 30 million, simulated 50 thousand
    #[arg(long, value_name = "N")]
    kernels: Option<u64>,
    /// List the questions and ask none
    #[arg(long)]
    list: bool,
}

/// The look at the machine at the beginning.
const LOOK_LIMIT: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _closed = writeln!(std::io::stderr(), "gpu-list: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    if options.list {
        for (number, question) in questions() {
            writeln!(out, "{number:>2} {question}")?;
        }
        return Ok(true);
    }
    if let Some(unknown) =
        options.only.iter().find(|&&only| questions().all(|(number, _)| number != only))
    {
        bail!("there is no question {unknown}: --list names them");
    }
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install the interrupt handler")?;
    std::thread::spawn(move || {
        for _signal in signals.forever() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });

    let (mut tools, commit) = tools(options)?;
    let path = tools.out.join("answers.json");
    let mut answers = Answers::read(&path)?.unwrap_or_else(|| Answers::none(&commit));
    let simulated = tools.simulated.is_some();
    ensure!(
        answers.answers.iter().all(|answer| answer.simulated == simulated),
        "{} has answers of {}: give another --out",
        path.display(),
        if simulated { "a GPU" } else { "the simulated CUDA" }
    );
    if answers.commit != commit {
        ensure!(
            answers.answers.is_empty(),
            "{} has answers of {}, this is {commit}: give another --out",
            path.display(),
            answers.commit
        );
    }
    let place = Place::new(&tools, "machine", LOOK_LIMIT);
    if tools.cupti.is_none() && !simulated {
        tools.cupti = machine::cupti_here(&place);
    }
    let place = Place::new(&tools, "machine", LOOK_LIMIT);
    let (machine, cuda) = machine::look(&place)?;
    tools.cuda = cuda;

    let steps: Vec<&Step<Place>> = STEPS
        .iter()
        .filter(|step| options.only.is_empty() || options.only.contains(&step.question))
        .collect();
    let begin = Instant::now();
    let whole = ask(
        &steps,
        &Stamp { simulated, machine },
        &mut answers,
        |step| Place::new(&tools, &format!("{}-{}", step.question, step.name), step.limit),
        |answers, answer| {
            // Nobody is left to tell when stdout is closed; the answer is kept all the same.
            let _closed = write!(out, "{}", table::row(answer)).and_then(|()| out.flush());
            answers.write(&path)
        },
        || begin.elapsed().as_secs_f64(),
    )?;
    let go_on = if whole { "" } else { "\ninterrupted: go on with --only" };
    let path = path.display();
    // As above.
    let _closed = writeln!(out, "\n{}{path}{go_on}", table::table(&answers));
    Ok(whole && !answers.failed())
}

/// The bundle's programs, and the commit that its list names.
fn tools(options: &Options) -> Result<(Tools, String)> {
    let bundle = match &options.bundle {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()
            .context("find this program")?
            .parent()
            .context("this program lies nowhere")?
            .to_owned(),
    };
    let bundle = bundle.canonicalize().with_context(|| format!("--bundle {}", bundle.display()))?;
    let file = |name: &str| -> Result<PathBuf> {
        let path = bundle.join(name);
        ensure!(
            path.exists(),
            "{} is not there: is this a bundle of `cargo xtask gpu pack`?",
            path.display()
        );
        Ok(path)
    };
    fs::create_dir_all(&options.out)
        .with_context(|| format!("create {}", options.out.display()))?;
    let whole = |path: &PathBuf| {
        path.canonicalize().with_context(|| format!("there is no {}", path.display()))
    };
    let simulated = options.simulated.as_ref().map(whole).transpose()?;
    let tools = Tools {
        warplens: file("warplens")?,
        shim: file("libwarplens_cuda.so")?,
        worker: file("cuda-worker")?,
        programs: bundle.join("programs"),
        python: options.python.clone(),
        kernels: options.kernels.unwrap_or(if simulated.is_some() { 50_000 } else { 30_000_000 }),
        simulated,
        cupti: options.cupti.as_ref().map(whole).transpose()?,
        out: whole(&options.out)?,
        cuda: Cuda::Usable,
    };
    // A folder of build results has no list.
    let list = fs::read_to_string(bundle.join("LIST")).unwrap_or_default();
    let commit = list.lines().find_map(|line| line.strip_prefix("commit ")).unwrap_or("unknown");
    Ok((tools, commit.to_owned()))
}
