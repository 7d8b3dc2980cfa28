//! What a process is in a vLLM server, from its title. setproctitle wipes arguments and environment
//! and the kernel cuts `comm` at 15 characters, so the title in `cmdline` is what there is.

use std::fs;

use analysis::event::ProcessInfo;

use super::server::server;

/// Longest title kept, bytes: what a line of a report can carry.
const TITLE_MAX: usize = 80;

/// The process as reports show it. A process that is gone is described by its PID alone.
pub fn describe(pid: u32) -> ProcessInfo {
    let (title, role, rank) = titles(pid);
    ProcessInfo { pid, title, role, rank, server: server(pid) }
}

/// `(title, role, rank)` of a process as it calls itself at this moment.
pub(super) fn titles(pid: u32) -> (String, String, String) {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let arguments: Vec<_> = command
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .filter(|argument| !argument.is_empty())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    parse_title(&arguments, comm.trim())
}

/// `(title, role, rank)` from the words of `cmdline` and `comm`. Arguments never become part of the
/// title: they may carry secrets.
pub fn parse_title(arguments: &[&str], comm: &str) -> (String, String, String) {
    let first = arguments.first().copied().unwrap_or(comm);
    if let Some((_, name)) = first.split_once("::") {
        let (role, suffix) = titled_role(name);
        if let Some(role) = role {
            return (clip(first), role.to_owned(), suffix.to_owned());
        }
    }
    // A kernel thread has no arguments, and slashes in its name.
    let program = match arguments.first() {
        Some(path) => path.rsplit('/').next().unwrap_or(path),
        None => comm,
    };
    let serves = arguments.windows(2).any(|pair| is_vllm(pair[0]) && pair[1] == "serve")
        || arguments
            .iter()
            .any(|argument| argument.ends_with("vllm.entrypoints.openai.api_server"));
    if serves {
        return ("vllm serve".to_owned(), "frontend".to_owned(), String::new());
    }
    (clip(program), "process".to_owned(), String::new())
}

fn is_vllm(argument: &str) -> bool {
    matches!(argument.rsplit('/').next(), Some("vllm" | "vllm.entrypoints.cli.main"))
}

/// Role and rank of what follows `VLLM::` (the prefix is the operator's).
fn titled_role(name: &str) -> (Option<&'static str>, &str) {
    let roles = [
        ("Worker", "worker"),
        ("EngineCore", "engine_core"),
        ("APIServer", "api_server"),
        ("DPCoordinator", "coordinator"),
    ];
    for (prefix, role) in roles {
        if let Some(rest) = name.strip_prefix(prefix) {
            return (Some(role), rest.strip_prefix('_').unwrap_or(rest).trim_end());
        }
    }
    (None, "")
}

fn clip(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TITLE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], comm: &str, expected: (&str, &str, &str)) {
        let (title, role, rank) = parse_title(arguments, comm);
        assert_eq!((title.as_str(), role.as_str(), rank.as_str()), expected, "{arguments:?}");
    }

    #[test]
    fn titles_of_vllm_processes() {
        check(&["VLLM::Worker_TP0"], "VLLM::Worker_TP", ("VLLM::Worker_TP0", "worker", "TP0"));
        check(
            &["VLLM::Worker_DP0_TP1_EP1"],
            "",
            ("VLLM::Worker_DP0_TP1_EP1", "worker", "DP0_TP1_EP1"),
        );
        check(&["VLLM::Worker"], "", ("VLLM::Worker", "worker", ""));
        check(&["prod::EngineCore_DP1"], "", ("prod::EngineCore_DP1", "engine_core", "DP1"));
        check(&["VLLM::APIServer_0"], "", ("VLLM::APIServer_0", "api_server", "0"));
    }

    #[test]
    fn a_frontend_keeps_its_secrets() {
        let arguments = ["/usr/bin/python3", "/usr/bin/vllm", "serve", "m", "--api-key", "s3cret"];
        check(&arguments, "vllm", ("vllm serve", "frontend", ""));
    }

    #[test]
    fn everything_else_is_a_process() {
        check(&["/opt/app/train", "--token", "s3cret"], "train", ("train", "process", ""));
        check(&[], "kworker/0:1", ("kworker/0:1", "process", ""));
        check(&["std::move"], "", ("std::move", "process", ""));
    }
}
