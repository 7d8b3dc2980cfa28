//! Process trees that look like vLLM's servers, and what `warplens servers` says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::agent::run;
use crate::harness::artefacts;
use crate::harness::child::{Child, command};
use crate::harness::server::StartError;
use crate::harness::wait;

/// A Python starts within a second on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A running tree.
#[derive(Debug)]
pub struct Tree {
    pub child: Child,
    /// By name: `frontend`, and what follows the prefix in titles.
    pub pids: BTreeMap<String, u32>,
}

/// The command that becomes a server of this shape.
pub fn tree_command(shape: &str, arguments: &[&str]) -> Command {
    let mut command = command("python3");
    command.arg(artefacts::program("server_tree.py")).args([shape, "--"]).args(arguments);
    command
}

impl Tree {
    /// Starts a tree and waits until all of it is there.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(command: &mut Command, folder: &Path) -> Result<Self, StartError> {
        let mut child = Child::start(command, folder, "tree")?;
        let line = child.line("\"frontend\"", LIMIT)?;
        let pids = serde_json::from_str(&line)
            .map_err(|source| StartError::Answer { line: line.clone(), source })?;
        Ok(Self { child, pids })
    }

    /// The PID of a process by its name; 0 of none.
    pub fn pid(&self, name: &str) -> u32 {
        self.pids.get(name).copied().unwrap_or(0)
    }

    /// What `servers --json` says of the server whose first process is this tree's.
    ///
    /// # Errors
    /// When the command fails or prints something else.
    pub fn server(&self, folder: &Path) -> Result<Option<Value>, StartError> {
        let document = servers(folder)?;
        let servers = document["servers"].as_array().cloned().unwrap_or_default();
        Ok(servers.into_iter().find(|server| server["id"] == self.pid("frontend")))
    }

    /// The same once `settled`; the last answer otherwise.
    ///
    /// # Errors
    /// When the command fails or prints something else.
    pub fn server_once(
        &self,
        folder: &Path,
        settled: impl Fn(&Value) -> bool,
    ) -> Result<Value, StartError> {
        let mut last = Ok(None);
        let found = wait::until(LIMIT, || {
            last = self.server(folder);
            last.as_ref().ok()?.clone().filter(&settled)
        });
        Ok(found.or(last?).unwrap_or(Value::Null))
    }
}

/// What `servers --json` says.
///
/// # Errors
/// When the command fails or prints something else.
pub fn servers(folder: &Path) -> Result<Value, StartError> {
    let ended = run(&["servers", "--json"], folder, "servers", LIMIT)?;
    serde_json::from_str(&ended.stdout).map_err(|source| StartError::Answer {
        line: format!("{} {}", ended.stdout, ended.stderr),
        source,
    })
}

/// The process of this PID in a server.
pub fn process(server: &Value, pid: u32) -> Value {
    let processes = server["processes"].as_array().cloned().unwrap_or_default();
    processes.into_iter().find(|process| process["pid"] == pid).unwrap_or(Value::Null)
}
