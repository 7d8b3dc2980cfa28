//! The `warplens` program: parse, run one command, print its error, exit.

use std::process::ExitCode;

use clap::Parser;
use warplens::cli::{Cli, Command};
use warplens::commands::{self, Exit, screen};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let ended = match &cli.command {
        Command::Servers(args) => commands::servers::run(args),
        Command::Record(args) => commands::record::run(args),
        Command::Leaks(args) => commands::leaks::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Attach(args) => commands::attach::run(args),
        Command::Detach(args) => commands::detach::run(args),
        Command::Agent(args) => commands::agent::run(args),
        Command::Dump(args) => commands::dump::run(args),
        Command::Bundle(args) => commands::bundle::run(args),
        Command::View(args) => commands::view::run(args),
        Command::Analyze(args) => commands::analyze::run(args),
        Command::Diff(args) => commands::diff::run(args),
        Command::Gaps(args) => commands::gaps::run(args),
        Command::Classify(args) => commands::classify::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::ProbeCuda => commands::doctor::probe_cuda(),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            screen::say(&format!("warplens: {}", commands::one_line(&error)));
            error.exit().into()
        }
    }
}

/// Help and version are answers, the rest is a mistake on the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
    // A terminal that went away leaves nobody to tell.
    drop(error.print());
    exit.into()
}
