//! The servers as a tree for people.

use super::document::{Container, Document, Process, Server};
use crate::output::words;

/// Levels drawn; what is deeper is drawn as deep. A server has three, helpers a few more.
const LEVELS: usize = 12;

pub(super) fn draw(document: &Document) -> String {
    let mut text = String::new();
    for server in &document.servers {
        push(&mut text, &heading(server));
        let processes = &server.processes;
        let is_top =
            |process: &&Process| !processes.iter().any(|other| other.pid == process.parent);
        let tops: Vec<&Process> = processes.iter().filter(is_top).collect();
        branch(&mut text, "", &tops, processes, 0);
        text.push('\n');
    }
    let unknown: Vec<&Process> = document.workers_of_unknown_servers.iter().collect();
    if !unknown.is_empty() {
        push(&mut text, "server unknown: started by Ray, which does not say for whom");
        branch(&mut text, "", &unknown, &[], 0);
        text.push('\n');
    }
    for sentence in &document.left_out {
        push(&mut text, sentence);
    }
    text
}

/// One line and the next command to try.
pub(super) fn verdict(document: &Document) -> String {
    let mark = if document.simulated { "SIMULATED: " } else { "" };
    let processes: usize = document.servers.iter().map(|server| server.processes.len()).sum();
    let count = |number: usize, noun| words::count(u64::try_from(number).unwrap_or(u64::MAX), noun);
    let next = match document.servers.as_slice() {
        [] if document.workers_of_unknown_servers.is_empty() => {
            return format!(
                "{mark}no vLLM server runs here. Next: `warplens run -- vllm serve MODEL`"
            );
        }
        [server] => format!("warplens record --pid {} -d 30s", server.id),
        _ => "warplens record --all -d 30s".to_owned(),
    };
    format!(
        "{mark}{} with {}. Next: `{next}`",
        count(document.servers.len(), "vLLM server"),
        if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") },
    )
}

fn heading(server: &Server) -> String {
    let mut parts = vec![match (&server.model, &server.served_model_name) {
        (Some(model), Some(name)) if model != name => format!("{name} ({model})"),
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => "model unknown".to_owned(),
    }];
    parts.extend(server.port.map(|port| format!("port {port}")));
    let parallel = &server.parallel;
    for (name, size) in [
        ("DP", parallel.data),
        ("PP", parallel.pipeline),
        ("PCP", parallel.prefill_context),
        ("TP", parallel.tensor),
        ("DCP", parallel.decode_context),
    ] {
        parts.extend(size.filter(|&size| size > 1).map(|size| format!("{name}={size}")));
    }
    parts.extend(parallel.expert.then(|| "EP".to_owned()));
    if let Some(pod) = &server.pod {
        parts.push(format!("pod {}/{pod}", server.namespace.as_deref().unwrap_or("?")));
    }
    parts.extend(server.container.as_ref().map(container));
    parts.join(", ")
}

fn container(container: &Container) -> String {
    let runtime = container.runtime.map(|runtime| format!("{runtime} ")).unwrap_or_default();
    format!("{runtime}container {}", container.id.get(..12).unwrap_or(&container.id))
}

fn branch(text: &mut String, before: &str, these: &[&Process], all: &[Process], level: usize) {
    for (index, process) in these.iter().enumerate() {
        let last = index + 1 == these.len();
        let (mark, below) = if last { ("`- ", "   ") } else { ("|- ", "|  ") };
        push(text, &format!("{before}{mark}{}", line(process)));
        let children: Vec<&Process> = all
            .iter()
            // A process is never its own child, whatever the table says.
            .filter(|child| {
                child.parent == process.pid && child.pid > 0 && child.pid != process.pid
            })
            .collect();
        if level < LEVELS {
            branch(text, &format!("{before}{below}"), &children, all, level + 1);
        }
    }
}

fn line(process: &Process) -> String {
    let inside = match process.inner_pid {
        inner if inner != process.pid => format!(", {inner} inside"),
        _ => String::new(),
    };
    let line = format!("{} (pid {}{inside})", process.title, process.pid);
    let mut facts = vec![process.role.to_owned()];
    if !process.rank.is_empty() {
        facts.push(process.rank.clone());
    }
    if process.works {
        facts.push("runs the model".to_owned());
    }
    for gpu in &process.gpus {
        facts.push(match (gpu.minor, &gpu.uuid) {
            (Some(minor), Some(uuid)) => format!("GPU {minor} {uuid}"),
            (Some(minor), None) => format!("GPU {minor}"),
            (None, uuid) => uuid.clone().unwrap_or_default(),
        });
    }
    if process.shim {
        facts.push("shim".to_owned());
    }
    facts.extend(process.container.as_ref().map(container));
    format!("{line}  {}", facts.join(", "))
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::servers::document::{Device, Parallel};

    fn process(pid: u32, parent: u32, role: &'static str, title: &str) -> Process {
        Process { pid, inner_pid: pid, parent, role, title: title.to_owned(), ..Process::default() }
    }

    #[test]
    fn a_server_in_a_pod() {
        let document = Document {
            servers: vec![Server {
                id: 10,
                model: Some("org/m".to_owned()),
                served_model_name: Some("m".to_owned()),
                port: Some(8000),
                parallel: Parallel { tensor: Some(2), data: Some(1), ..Parallel::default() },
                container: Some(Container {
                    id: "0123456789abcdef".to_owned(),
                    runtime: Some("containerd"),
                    pod_uid: None,
                }),
                pod: Some("llm-0".to_owned()),
                namespace: Some("serving".to_owned()),
                processes: vec![
                    Process { inner_pid: 1, ..process(10, 1, "frontend", "vllm serve") },
                    process(11, 10, "process", "python"),
                    process(12, 10, "engine_core", "VLLM::EngineCore"),
                    Process {
                        rank: "TP0".to_owned(),
                        gpus: vec![Device { minor: Some(3), uuid: Some("GPU-1".to_owned()) }],
                        shim: true,
                        ..process(13, 12, "worker", "VLLM::Worker_TP0")
                    },
                ],
                ..Server::default()
            }],
            ..Document::default()
        };
        assert_eq!(
            draw(&document),
            "m (org/m), port 8000, TP=2, pod serving/llm-0, containerd container 0123456789ab\n\
             `- vllm serve (pid 10, 1 inside)  frontend\n\
             \x20  |- python (pid 11)  process\n\
             \x20  `- VLLM::EngineCore (pid 12)  engine_core\n\
             \x20     `- VLLM::Worker_TP0 (pid 13)  worker, TP0, GPU 3 GPU-1, shim\n\n"
        );
        assert_eq!(
            verdict(&document),
            "1 vLLM server with 4 processes. Next: `warplens record --pid 10 -d 30s`"
        );
    }

    #[test]
    fn nothing_and_workers_of_nobody() {
        assert_eq!(draw(&Document::default()), "");
        assert!(verdict(&Document::default()).starts_with("no vLLM server runs here."));
        let document = Document {
            workers_of_unknown_servers: vec![process(20, 5, "worker", "VLLM::Worker_TP0")],
            ..Document::default()
        };
        assert_eq!(
            draw(&document),
            "server unknown: started by Ray, which does not say for whom\n\
             `- VLLM::Worker_TP0 (pid 20)  worker\n\n"
        );
    }

    #[test]
    fn a_circle_of_parents_is_drawn_to_an_end() {
        let document = Document {
            servers: vec![Server {
                processes: vec![process(5, 6, "worker", "a"), process(6, 5, "worker", "b")],
                ..Server::default()
            }],
            ..Document::default()
        };
        assert!(draw(&document).lines().count() < 4 * LEVELS);
    }
}
