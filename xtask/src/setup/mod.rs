//! What a fresh machine lacks: says what it does, skips what is there, changes nothing twice.

mod apt;
mod bpf_linker;
mod packages;
mod rust_src;

use anyhow::Result;

use crate::child::succeeds;
use crate::workspace::Workspace;

pub(crate) use apt::Apt;
pub(crate) use packages::{ensure, is_root};

/// Installs what is missing. Each step prints one line.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    packages::install()?;
    components()?;
    rust_src::install(workspace)?;
    bpf_linker::install(workspace)?;
    let peer = crate::py_spy::install(workspace)?;
    say("there", &peer.display().to_string());
    say("ready", "everything `cargo xtask build` and `cargo xtask test` need is here");
    Ok(())
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components() -> Result<()> {
    for (component, program) in [("rustfmt", "rustfmt"), ("clippy", "clippy-driver")] {
        if succeeds(std::process::Command::new(program).arg("--version")) {
            say("there", component);
            continue;
        }
        say("install", &format!("{component} (rustup component add {component})"));
        let mut command = std::process::Command::new("rustup");
        command.args(["component", "add", component]);
        crate::child::run(&mut command, component, std::time::Duration::from_mins(5))?;
    }
    Ok(())
}

/// One line of progress: what happens, to what.
pub(crate) fn say(what: &str, to: &str) {
    println!("setup: {what}: {to}");
}
