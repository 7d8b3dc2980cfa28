//! What the arguments of a vLLM process say of its server. They carry keys and tokens, so only named
//! fields leave this folder: nothing that holds raw arguments is kept, shown or printed.

mod config_file;
mod options;
mod rust;
mod text;

pub(crate) use config_file::from_config;
pub use options::{Executor, Options, Sizes};
pub use text::display_name;

/// How a process was started that is vLLM by its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `vllm serve` and its older names.
    Serve,
    /// `vllm run-batch`: no HTTP.
    Batch,
    /// `vllm-rs frontend`, started by `vllm serve` to serve its HTTP.
    Rust,
}

impl Entry {
    /// The title that reports show in place of the arguments.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "vllm serve",
            Self::Batch => "vllm run-batch",
            Self::Rust => "vllm-rs frontend",
        }
    }
}

/// How it was started, and where its own arguments begin. Only the program itself counts: wrappers
/// (`tini -- vllm serve`, `sudo`, `uv run`, a container client) have the same words further on.
pub(crate) fn entry(arguments: &[&str]) -> Option<(Entry, usize)> {
    let program = name(arguments.first()?);
    if program == "vllm-rs" {
        return (arguments.get(1) == Some(&"frontend")).then_some((Entry::Rust, 2));
    }
    if is_vllm(program) {
        return subcommand(arguments, 1);
    }
    if !is_python(program) {
        return None;
    }
    match script(arguments)? {
        Script::Module(at) => match *arguments.get(at)? {
            "vllm" | "vllm.entrypoints.cli.main" => subcommand(arguments, at + 1),
            module => module_entry(module).map(|entry| (entry, at + 1)),
        },
        Script::File(at) => {
            let path = arguments.get(at)?;
            if is_vllm(name(path)) || path.ends_with("/vllm/entrypoints/cli/main.py") {
                return subcommand(arguments, at + 1);
            }
            let inside = path.strip_suffix(".py")?.rsplit_once("/vllm/entrypoints/")?.1;
            let module = format!("vllm.entrypoints.{}", inside.replace('/', "."));
            module_entry(&module).map(|entry| (entry, at + 1))
        }
    }
}

/// The process runs Python, by its first word.
pub(crate) fn runs_python(arguments: &[&str]) -> bool {
    arguments.first().is_some_and(|program| is_python(name(program)))
}

/// What the arguments say, when they are those of a vLLM process.
pub(crate) fn options(arguments: &[&str]) -> Option<(Entry, Options)> {
    let (entry, at) = entry(arguments)?;
    let own = arguments.get(at..).unwrap_or_default();
    let options = match entry {
        Entry::Serve | Entry::Batch => Options::parse(own),
        Entry::Rust => rust::parse(own),
    };
    Some((entry, options))
}

fn subcommand(arguments: &[&str], at: usize) -> Option<(Entry, usize)> {
    match *arguments.get(at)? {
        "serve" => Some((Entry::Serve, at + 1)),
        "run-batch" => Some((Entry::Batch, at + 1)),
        _ => None,
    }
}

fn module_entry(module: &str) -> Option<Entry> {
    let own = module.strip_prefix("vllm.entrypoints.")?;
    match own.rsplit('.').next()? {
        "api_server" | "grpc_server" => Some(Entry::Serve),
        "run_batch" => Some(Entry::Batch),
        _ => None,
    }
}

/// What an interpreter was told to run, by position.
enum Script {
    Module(usize),
    File(usize),
}

/// Passes over the interpreter's own options. `None`: code on the command line, or nothing.
fn script(arguments: &[&str]) -> Option<Script> {
    let mut at = 1;
    loop {
        let argument = *arguments.get(at)?;
        match argument {
            "-m" => return Some(Script::Module(at + 1)),
            "-c" | "-" => return None,
            "-X" | "-W" | "--check-hash-based-pycs" => at += 2,
            _ if argument.starts_with('-') => at += 1,
            _ => return Some(Script::File(at)),
        }
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Some packagers hide the script behind a wrapper of its name.
fn is_vllm(name: &str) -> bool {
    matches!(name, "vllm" | ".vllm-wrapped")
}

fn is_python(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    name.strip_prefix("python").is_some_and(|version| {
        let version = version.strip_suffix("-wrapped").unwrap_or(version);
        // `python3.13t` has no lock.
        version
            .strip_suffix('t')
            .unwrap_or(version)
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<Entry>) {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_eq!(entry(&arguments).map(|(entry, _)| entry), expected, "{line}");
    }

    #[test]
    fn every_way_to_start_a_server() {
        for line in [
            "/venv/bin/python /venv/bin/vllm serve m",
            "/usr/bin/python3.12 -B -X dev -u /usr/local/bin/vllm serve",
            "python3 -m vllm.entrypoints.cli.main serve m",
            "python3 -m vllm.entrypoints.openai.api_server --model m",
            "python3.13t /x/site-packages/vllm/entrypoints/openai/api_server.py --model m",
            "python3 /x/site-packages/vllm/entrypoints/cli/main.py serve m",
            "vllm serve m",
            "/nix/store/x/bin/.python3.12-wrapped /nix/store/y/bin/.vllm-wrapped serve m",
        ] {
            check(line, Some(Entry::Serve));
        }
        check("/v/bin/python /v/bin/vllm run-batch -i a -o b --model m", Some(Entry::Batch));
        check("python -m vllm.entrypoints.openai.run_batch -i a", Some(Entry::Batch));
        check("/x/vllm/vllm-rs frontend --listen-fd 3", Some(Entry::Rust));
    }

    #[test]
    fn wrappers_clients_and_children_are_no_servers() {
        for line in [
            "tini -- vllm serve m",
            "sudo -E vllm serve m",
            "uv run vllm serve m",
            "docker run image vllm serve m",
            "grep vllm serve",
            "bash -c vllm serve",
            "python3 supervise.py vllm serve m",
            "python3 -c from multiprocessing.spawn import spawn_main; vllm serve",
            "python3 -m torch.distributed.run vllm serve",
            "/v/bin/python /v/bin/vllm bench serve",
            "/v/bin/python /v/bin/vllm",
            "vllm-rs bench",
            "python",
            "pythonista vllm serve",
        ] {
            check(line, None);
        }
    }
}
