//! Which servers a user means by `--pod`, `--container` and `--model`.

use std::collections::BTreeSet;

use thiserror::Error;

use super::Discovery;
use super::server::Server;

/// Shortest beginning of a container's id that is taken: what `docker ps` users type least.
const PREFIX_MIN: usize = 4;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `NAMESPACE/NAME`, or the name alone where it is the only one.
    Pod(String),
    /// An id, or the beginning of one; a runtime in front (`docker://`) is passed over.
    Container(String),
    /// The model's path or name, or the name it is served under.
    Model(String),
}

/// Why nothing was selected. Each says what there is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    #[error("no pod `{asked}` runs a vLLM server here; {there}")]
    Pod { asked: String, there: String },
    #[error("pod `{asked}` is in {namespaces}: name one with `--pod NAMESPACE/{asked}`")]
    Namespaces { asked: String, namespaces: String },
    #[error("no container `{asked}` runs a vLLM server here; {there}")]
    Container { asked: String, there: String },
    #[error("`{asked}` is the beginning of several containers' ids: {found}: give more of it")]
    Containers { asked: String, found: String },
    #[error("`{asked}` is too short for a container's id: give at least {PREFIX_MIN} digits")]
    Prefix { asked: String },
    #[error("no vLLM server here serves `{asked}`; {there}")]
    Model { asked: String, there: String },
}

/// What a selector came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Ids of servers.
    pub servers: BTreeSet<u32>,
    /// Workers without a known server that are in the container or pod meant.
    pub workers: BTreeSet<u32>,
}

impl Selector {
    /// The servers meant, at this moment.
    pub fn choose(&self, node: &Discovery) -> Result<Chosen, SelectorError> {
        match self {
            Self::Pod(asked) => pod(asked, node.servers())
                .map(|servers| Chosen { workers: companions(node, &servers), servers }),
            Self::Container(asked) => container(asked, node),
            Self::Model(asked) => model(asked, node.servers())
                .map(|servers| Chosen { servers, workers: BTreeSet::new() }),
        }
    }
}

/// Workers of unknown servers in the pods of `servers`.
fn companions(node: &Discovery, servers: &BTreeSet<u32>) -> BTreeSet<u32> {
    let pods: BTreeSet<String> = node
        .servers()
        .iter()
        .filter(|server| servers.contains(&server.id))
        .filter_map(|server| server.place.container.as_ref()?.pod.clone())
        .collect();
    let in_pod = |pid: &u32| {
        node.container_of(*pid).and_then(|found| found.pod).is_some_and(|pod| pods.contains(&pod))
    };
    node.unknown().iter().map(|worker| worker.pid).filter(in_pod).collect()
}

fn pod(asked: &str, servers: &[Server]) -> Result<BTreeSet<u32>, SelectorError> {
    let (namespace, name) = match asked.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, asked),
    };
    let found: Vec<&Server> = servers
        .iter()
        .filter(|server| server.place.pod.as_deref() == Some(name))
        .filter(|server| namespace.is_none() || server.place.namespace.as_deref() == namespace)
        .collect();
    let namespaces: BTreeSet<&str> =
        found.iter().map(|server| server.place.namespace.as_deref().unwrap_or("?")).collect();
    match namespaces.len() {
        0 => Err(SelectorError::Pod {
            asked: asked.to_owned(),
            there: there("pods", servers.iter().filter_map(pod_name)),
        }),
        1 => Ok(found.iter().map(|server| server.id).collect()),
        _ => Err(SelectorError::Namespaces {
            asked: asked.to_owned(),
            namespaces: namespaces.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// `NAMESPACE/NAME`.
pub(super) fn pod_name(server: &Server) -> Option<String> {
    let namespace = server.place.namespace.as_deref().unwrap_or("?");
    Some(format!("{namespace}/{}", server.place.pod.as_ref()?))
}

fn container(asked: &str, node: &Discovery) -> Result<Chosen, SelectorError> {
    let prefix = asked.split_once("://").map_or(asked, |(_, id)| id);
    if prefix.len() < PREFIX_MIN {
        return Err(SelectorError::Prefix { asked: asked.to_owned() });
    }
    let id_of = |server: &Server| server.place.container.as_ref().map(|found| found.id.clone());
    let worker_id = |pid: u32| node.container_of(pid).map(|found| found.id);
    let servers = node.servers().iter().filter_map(|server| Some((server.id, id_of(server)?)));
    let workers =
        node.unknown().iter().filter_map(|worker| Some((worker.pid, worker_id(worker.pid)?)));
    let matching = |(pid, id): (u32, String)| id.starts_with(prefix).then_some((pid, id));
    let servers: Vec<(u32, String)> = servers.filter_map(matching).collect();
    let workers: Vec<(u32, String)> = workers.filter_map(matching).collect();
    let ids: BTreeSet<&str> = servers.iter().chain(&workers).map(|(_, id)| id.as_str()).collect();
    match ids.len() {
        0 => Err(SelectorError::Container {
            asked: asked.to_owned(),
            there: there(
                "containers",
                node.servers().iter().filter_map(|server| Some(short(&id_of(server)?))),
            ),
        }),
        1 => Ok(Chosen {
            servers: servers.into_iter().map(|(pid, _)| pid).collect(),
            workers: workers.into_iter().map(|(pid, _)| pid).collect(),
        }),
        _ => Err(SelectorError::Containers {
            asked: asked.to_owned(),
            found: ids.into_iter().map(short).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// As `docker ps` shows it.
pub(super) fn short(id: &str) -> String {
    id.get(..12).unwrap_or(id).to_owned()
}

fn model(asked: &str, servers: &[Server]) -> Result<BTreeSet<u32>, SelectorError> {
    let names = |server: &Server| -> Vec<String> {
        server.model.iter().chain(&server.served_name).cloned().collect()
    };
    let among = |fits: &dyn Fn(&str) -> bool| -> BTreeSet<u32> {
        let fitting = |server: &&Server| names(server).iter().any(|name| fits(name));
        servers.iter().filter(fitting).map(|server| server.id).collect()
    };
    let mut found = among(&|name| name == asked);
    if found.is_empty() {
        // `Llama-3.3-70B` for `meta-llama/Llama-3.3-70B`.
        found = among(&|name| {
            name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(asked))
        });
    }
    if found.is_empty() {
        return Err(SelectorError::Model {
            asked: asked.to_owned(),
            there: there("models", servers.iter().filter_map(|server| server.model_name())),
        });
    }
    Ok(found)
}

/// What there is, for an error.
fn there(what: &str, names: impl Iterator<Item = impl Into<String>>) -> String {
    /// Names listed. Arbitrary, keeps an error to a line or two.
    const LISTED: usize = 16;
    let names: BTreeSet<String> = names.map(Into::into).collect();
    if names.is_empty() {
        return format!("{what}: none; `warplens servers` lists what is found");
    }
    let more = names.len().saturating_sub(LISTED);
    let mut listed: Vec<String> = names.into_iter().take(LISTED).collect();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    format!("{what}: {}", listed.join(", "))
}
