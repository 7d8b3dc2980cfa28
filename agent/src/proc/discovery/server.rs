//! A server as users meet it: what it serves, where, and its processes.

use std::net::SocketAddr;

use analysis::event::{ProcessInfo, Service};

use super::glance::Glance;
use super::group::Origin;
use super::place::Place;
use crate::proc::command::{Executor, Options, Sizes};
use crate::proc::descriptors::Descriptors;
use crate::proc::title::{Ranks, Role};

/// The port of a server that was told none.
const DEFAULT_PORT: u16 = 8000;

/// One process of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub pid: u32,
    pub start: u64,
    pub parent: u32,
    /// Its number in its own PID namespace, as its own log has it.
    pub inner_pid: u32,
    pub role: Role,
    pub title: String,
    /// As the title spells it.
    pub rank: String,
    pub ranks: Ranks,
    /// The engine core above it, or itself.
    pub engine: Option<u32>,
    /// It is an engine core with workers of its own.
    pub has_workers: bool,
    /// It is an engine core that runs the model itself.
    pub works: bool,
    /// Minor numbers of the GPUs it has open for CUDA.
    pub gpus: Vec<u32>,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// PID of the first process: what `ProcessInfo::server` holds.
    pub id: u32,
    pub origin: Origin,
    pub model: Option<String>,
    pub served_name: Option<String>,
    pub host: Option<String>,
    /// Where it serves HTTP; `None`: nowhere on this node, or not known.
    pub port: Option<u16>,
    /// Where its front processes listen.
    pub listening: Vec<SocketAddr>,
    pub sizes: Sizes,
    pub executor: Option<Executor>,
    pub place: Place,
    /// By PID.
    pub members: Vec<Member>,
}

impl Server {
    /// The name metrics use for the model: as clients see it.
    pub fn model_name(&self) -> Option<&str> {
        self.served_name.as_deref().or(self.model.as_deref())
    }

    pub fn member(&self, pid: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.pid == pid)
    }

    /// What reports and metrics say of a member's surroundings.
    pub(super) fn service(&self, member: &Member) -> Service {
        let Place { container, pod, namespace } = self.place.clone();
        Service {
            model: self.model_name().unwrap_or_default().to_owned(),
            engine: self.engine_of(member),
            container: container.map(|container| container.id).unwrap_or_default(),
            pod: pod.unwrap_or_default(),
            namespace: namespace.unwrap_or_default(),
        }
    }

    /// vLLM's own label: the data-parallel rank, `0` of the only engine; empty for who serves all.
    fn engine_of(&self, member: &Member) -> String {
        let Some(engine) = member.engine else {
            return String::new();
        };
        let engine = self.member(engine);
        let rank = engine.and_then(|engine| engine.ranks.data).or(member.ranks.data);
        rank.unwrap_or(0).to_string()
    }

    pub(super) fn info(&self, member: &Member) -> ProcessInfo {
        ProcessInfo {
            pid: member.pid,
            title: member.title.clone(),
            role: member.role.as_str().to_owned(),
            rank: member.rank.clone(),
            server: self.id,
            service: self.service(member),
        }
    }
}

/// The port that a server serves on.
pub(super) fn port(origin: Origin, options: &Options, listening: &[SocketAddr]) -> Option<u16> {
    if origin != Origin::Command || options.headless {
        return None;
    }
    let listens = |port: u16| listening.iter().any(|address| address.port() == port);
    let mut ports: Vec<u16> = listening.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    match (options.port.filter(|&port| port != 0), ports.as_slice()) {
        (Some(port), _) => Some(port),
        // Told none or 0, it took one: which of several is not known.
        (None, [port]) => Some(*port),
        (None, _) if options.port.is_none() && (ports.is_empty() || listens(DEFAULT_PORT)) => {
            Some(DEFAULT_PORT)
        }
        (None, _) => None,
    }
}

/// Whether the engine core itself runs the model: it has no workers below it and uses CUDA, or
/// nothing else can be by its arguments.
pub(super) fn works(
    role: Role,
    has_workers: bool,
    options: &Options,
    descriptors: &Descriptors,
) -> bool {
    role == Role::EngineCore
        && !has_workers
        && (options.executor == Some(Executor::InEngine)
            || descriptors.cuda && options.executor != Some(Executor::Ray))
}

/// A member by what was read of it; what others say of it comes later.
pub(super) fn member(
    pid: u32,
    role: Role,
    glance: &Glance,
    engine: Option<u32>,
    inner_pid: u32,
) -> Member {
    // A child without a title of its own shows its parent's: neither that nor its rank is its own.
    let own = glance.title.role == role || role == Role::Script;
    let (title, rank) = if own {
        (glance.title.text.clone(), glance.title.rank.clone())
    } else {
        (format!("{} (child)", glance.title.text), String::new())
    };
    Member {
        pid,
        start: glance.start,
        parent: glance.parent,
        inner_pid,
        role,
        title,
        ranks: Ranks::parse(&rank),
        rank,
        engine,
        has_workers: false,
        works: false,
        gpus: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, listening: &[&str], expected: Option<u16>) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let options = Options::parse(&words);
        let listening: Vec<SocketAddr> =
            listening.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(port(Origin::Command, &options, &listening), expected, "{line} {listening:?}");
    }

    #[test]
    fn the_port_by_arguments_and_sockets() {
        check("m --port 8001", &[], Some(8001));
        check("m --port 8001", &["127.0.0.1:9"], Some(8001));
        check("m", &[], Some(8000));
        check("m", &["0.0.0.0:8000", "127.0.0.1:41000"], Some(8000));
        check("m --port 0", &["0.0.0.0:41000", "[::]:41000"], Some(41000));
        check("m --port 0", &["0.0.0.0:41000", "0.0.0.0:42000"], None);
        check("m --port 0", &[], None);
        check("m", &["0.0.0.0:41000", "0.0.0.0:42000"], None);
        check("m --headless", &["0.0.0.0:8000"], None);
        assert_eq!(port(Origin::Script, &Options::default(), &[]), None);
    }

    #[test]
    fn an_engine_core_that_is_its_own_worker() {
        let cuda = Descriptors { cuda: true, ..Descriptors::default() };
        let plain = Descriptors::default();
        let options = |line: &str| Options::parse(&line.split(' ').collect::<Vec<_>>());
        let check = |role, has_workers, line, descriptors, expected| {
            assert_eq!(works(role, has_workers, &options(line), descriptors), expected, "{line}");
        };
        check(Role::EngineCore, false, "m", &cuda, true);
        check(Role::EngineCore, false, "m", &plain, false);
        check(Role::EngineCore, true, "m", &cuda, false);
        check(Role::Worker, false, "m", &cuda, false);
        check(Role::EngineCore, false, "m --distributed-executor-backend uni", &plain, true);
        check(Role::EngineCore, false, "m --distributed-executor-backend ray", &cuda, false);
    }
}
