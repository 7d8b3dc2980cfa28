//! The vLLM servers of this node, as they come and go.
//!
//! A node has tens of thousands of processes and a handful of servers, so most processes are looked at
//! once and then only when something says that they changed: a new inode in the listing of `/proc`
//! (another process of that number), an `exec` that the kernel told of, their turn in a slow round.
//! Members of servers and young processes, which set their titles late, are looked at each time.

mod glance;
mod group;
mod place;
mod seen;
mod selector;
mod server;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use analysis::event::{ProcessInfo, Service};

use super::cgroup::Container;
use super::command::{Options, from_config};
use super::descriptors::Descriptors;
use super::root::{From, read_in_root};
use super::sockets;
use super::title::Role;
pub(crate) use glance::Glance;
pub use group::Origin;
use group::{Groups, group};
pub(crate) use group::{Line, line};
pub use place::Place;
use seen::{PROCESSES_MAX, Seen};
pub use selector::{Chosen, Selector, SelectorError};
pub use server::{Member, Server};

/// How long what was learnt of a server's sockets, GPUs and place counts as fresh.
const FRESH: Duration = Duration::from_secs(10);

/// Servers described. A node has eight GPUs; more than this is not vLLM serving but somebody's joke.
const SERVERS_MAX: usize = 256;

/// Members kept of one server. A worker's data loaders are among them; a hostile server could fork
/// without end.
const MEMBERS_MAX: usize = 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Discovery {
    seen: Seen,
    servers: Vec<Server>,
    /// Workers of Ray whose server is not known.
    unknown: Vec<Member>,
    /// By PID and start: what costs more than a glance.
    details: HashMap<(u32, u64), Details>,
    left_out: LeftOut,
}

/// What found no room at the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub processes: usize,
    pub servers: usize,
    pub members: usize,
}

impl LeftOut {
    /// For the user. Without numbers, which differ at each look.
    pub fn sentences(self) -> Vec<String> {
        let Self { processes, servers, members } = self;
        [
            (processes, format!("Only {PROCESSES_MAX} processes of this node are looked at.")),
            (servers, format!("Only {SERVERS_MAX} vLLM servers of this node are observed.")),
            (members, format!("Only {MEMBERS_MAX} processes of a vLLM server are observed.")),
        ]
        .into_iter()
        .filter_map(|(count, sentence)| (count > 0).then_some(sentence))
        .collect()
    }
}

/// What was learnt of one process, and when.
#[derive(Clone, Debug)]
struct Details {
    at: Instant,
    descriptors: Descriptors,
    inner_pid: u32,
    segments: BTreeSet<shared::Segment>,
    /// Of a server's first process.
    place: Place,
    file: Options,
    /// Of a front process.
    listening: Vec<SocketAddr>,
}

impl Discovery {
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at everything that may have changed.
    pub fn look(&mut self, now: Instant) {
        self.left_out = LeftOut { processes: self.seen.look(now), ..LeftOut::default() };
        let mut groups = group(self.seen.glances());
        self.bound(&mut groups);
        self.learn(&groups, now);
        self.adopt(&mut groups);
        self.seen.pin(
            groups.servers.values().flat_map(BTreeMap::keys).chain(groups.unknown.keys()).copied(),
        );
        self.describe_all(&groups);
    }

    /// The kernel told that `pid` runs another program. `true`: it is a vLLM server, which the next
    /// look should not wait for.
    pub fn on_exec(&mut self, pid: u32) -> bool {
        self.seen.on_exec(pid)
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Workers whose server cannot be told.
    pub fn unknown(&self) -> &[Member] {
        &self.unknown
    }

    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Processes that were new or had changed at the last look: whoever looks for a ring in a process
    /// need not look at the others.
    pub fn changed(&self) -> &[u32] {
        self.seen.changed()
    }

    pub fn find(&self, pid: u32) -> Option<(&Server, &Member)> {
        self.servers.iter().find_map(|server| Some((server, server.member(pid)?)))
    }

    /// The process as reports show it. Call it with what [`Discovery::look`] has met.
    pub fn describe(&self, pid: u32) -> ProcessInfo {
        if let Some((server, member)) = self.find(pid) {
            return server.info(member);
        }
        if let Some(member) = self.unknown.iter().find(|member| member.pid == pid) {
            return ProcessInfo {
                pid,
                title: member.title.clone(),
                role: member.role.as_str().to_owned(),
                rank: member.rank.clone(),
                server: 0,
                service: Service {
                    container: place::container(pid).map(|found| found.id).unwrap_or_default(),
                    ..Service::default()
                },
            };
        }
        super::describe(pid)
    }

    /// PIDs of the engine cores above `pid` in its server.
    pub fn engine_cores_above(&self, pid: u32) -> Vec<u32> {
        let engine = self.find(pid).and_then(|(_, member)| member.engine);
        engine.filter(|&engine| engine != pid).into_iter().collect()
    }

    fn bound(&mut self, groups: &mut Groups) {
        while groups.servers.len() > SERVERS_MAX {
            self.left_out.servers += 1;
            drop(groups.servers.pop_last());
        }
        for members in groups.servers.values_mut() {
            // Helpers go first.
            for role in [Role::Process, Role::Worker] {
                let spare = members.len().saturating_sub(MEMBERS_MAX);
                let out: Vec<u32> = members
                    .iter()
                    .filter(|(_, found)| **found == role)
                    .map(|(&pid, _)| pid)
                    .take(spare)
                    .collect();
                self.left_out.members += out.len();
                members.retain(|pid, _| !out.contains(pid));
            }
        }
    }

    /// Reads what costs more than a glance, of members only and not each time.
    fn learn(&mut self, groups: &Groups, now: Instant) {
        let mut kept = HashMap::new();
        let ray = !groups.unknown.is_empty();
        let members = groups.servers.iter().flat_map(|(&root, members)| {
            members.iter().map(move |(&pid, &role)| (pid, role, pid == root))
        });
        let unknown = groups.unknown.iter().map(|(&pid, &role)| (pid, role, false));
        for (pid, role, first) in members.chain(unknown) {
            let Some(glance) = self.seen.glances().get(&pid) else {
                continue;
            };
            let key = (pid, glance.start);
            let known = self.details.remove(&key);
            let details = match known {
                Some(known) if now.saturating_duration_since(known.at) < FRESH => known,
                // A file that changed does not change the server that read it.
                known => {
                    let file = known.map(|known| known.file);
                    Details::read(pid, role, first, ray, glance, now, file)
                }
            };
            kept.insert(key, details);
        }
        self.details = kept;
    }

    fn details(&self, pid: u32) -> Option<&Details> {
        let start = self.seen.glances().get(&pid)?.start;
        self.details.get(&(pid, start))
    }

    /// Gives workers of Ray to the server whose memory they share.
    fn adopt(&self, groups: &mut Groups) {
        if groups.unknown.is_empty() {
            return;
        }
        let mut owners: BTreeMap<&shared::Segment, u32> = BTreeMap::new();
        for (&root, members) in &groups.servers {
            for details in members.keys().filter_map(|&pid| self.details(pid)) {
                owners.extend(details.segments.iter().map(|segment| (segment, root)));
            }
        }
        let mut adopted = Vec::new();
        for (&pid, &role) in &groups.unknown {
            let Some(details) = self.details(pid) else {
                continue;
            };
            let roots: BTreeSet<u32> = details
                .segments
                .iter()
                .filter_map(|segment| owners.get(segment).copied())
                .collect();
            // Two owners would be two guesses.
            if let (1, Some(&root)) = (roots.len(), roots.first()) {
                adopted.push((pid, role, root));
            }
        }
        for (pid, role, root) in adopted {
            groups.unknown.remove(&pid);
            groups.servers.entry(root).or_default().insert(pid, role);
        }
    }

    fn describe_all(&mut self, groups: &Groups) {
        let servers = groups.servers.iter().map(|(&root, members)| {
            let origin = groups.origins.get(&root).copied().unwrap_or(Origin::Orphan);
            self.server(root, origin, members)
        });
        let unknown =
            groups.unknown.iter().filter_map(|(&pid, &role)| self.member(pid, role, None));
        (self.servers, self.unknown) = (servers.collect(), unknown.collect());
    }

    fn server(&self, root: u32, origin: Origin, roles: &BTreeMap<u32, Role>) -> Server {
        let glance = |pid| self.seen.glances().get(&pid);
        // The Rust frontend's arguments have everything resolved; the first process's come first.
        let options = std::iter::once(&root)
            .chain(roles.keys())
            .filter_map(|&pid| glance(pid)?.command.as_deref())
            .map(|(_, options)| options.clone())
            .chain(self.details(root).map(|details| details.file.clone()))
            .fold(Options::default(), Options::or);
        let mut listening: Vec<SocketAddr> = roles
            .keys()
            .filter_map(|&pid| self.details(pid))
            .flat_map(|details| details.listening.iter().copied())
            .collect();
        listening.sort();
        listening.dedup();
        let mut members: Vec<Member> = roles
            .iter()
            .filter_map(|(&pid, &role)| {
                let line = line(pid, glance);
                let above = line.and_then(|line| line.engines().next());
                let engine = if role == Role::EngineCore { Some(pid) } else { above };
                self.member(pid, role, engine)
            })
            .collect();
        let engines: Vec<u32> = members
            .iter()
            .filter(|member| member.role == Role::EngineCore)
            .map(|member| member.pid)
            .collect();
        if let [only] = engines.as_slice() {
            // Ray's workers stand below no engine core.
            for worker in members.iter_mut().filter(|member| member.role == Role::Worker) {
                worker.engine = worker.engine.or(Some(*only));
            }
        }
        let busy: BTreeSet<u32> = members
            .iter()
            .filter(|member| member.role == Role::Worker)
            .filter_map(|member| member.engine)
            .collect();
        for member in &mut members {
            let descriptors = self.details(member.pid).map(|details| &details.descriptors);
            member.has_workers = busy.contains(&member.pid);
            member.works = descriptors.is_some_and(|found| {
                server::works(member.role, member.has_workers, &options, found)
            });
        }
        Server {
            id: root,
            origin,
            port: server::port(origin, &options, &listening),
            listening,
            place: self.details(root).map(|details| details.place.clone()).unwrap_or_default(),
            members,
            model: options.model,
            served_name: options.served_name,
            host: options.host,
            sizes: options.sizes,
            executor: options.executor,
        }
    }

    fn member(&self, pid: u32, role: Role, engine: Option<u32>) -> Option<Member> {
        let glance = self.seen.glances().get(&pid)?;
        let details = self.details(pid);
        let inner_pid = details.map_or(pid, |details| details.inner_pid);
        let mut member = server::member(pid, role, glance, engine, inner_pid);
        if let Some(details) = details.filter(|details| details.descriptors.cuda) {
            member.gpus = details.descriptors.gpus.iter().copied().collect();
        }
        Some(member)
    }

    /// The container of a server or of a worker that stands for itself.
    pub fn container_of(&self, pid: u32) -> Option<Container> {
        self.find(pid)
            .and_then(|(server, _)| server.place.container.clone())
            .or_else(|| place::container(pid))
    }
}

impl Details {
    fn read(
        pid: u32,
        role: Role,
        first: bool,
        ray: bool,
        glance: &Glance,
        now: Instant,
        file: Option<Options>,
    ) -> Self {
        let front = matches!(role, Role::Frontend | Role::ApiServer);
        let engine = matches!(role, Role::EngineCore | Role::Worker | Role::Script);
        let descriptors =
            if front || engine { Descriptors::read(pid) } else { Descriptors::default() };
        let listening =
            if front { sockets::listening(pid, &descriptors.sockets) } else { Vec::new() };
        let segments = if ray && engine { shared::segments(pid) } else { BTreeSet::new() };
        Self {
            at: now,
            descriptors,
            inner_pid: crate::proc::inner_number(pid).unwrap_or(pid),
            segments,
            place: if first { place::read(pid) } else { Place::default() },
            file: file.unwrap_or_else(|| config_file(pid, glance)),
            listening,
        }
    }
}

/// What the file of `--config` says.
fn config_file(pid: u32, glance: &Glance) -> Options {
    let path = glance.command.as_deref().and_then(|(_, options)| options.config.as_deref());
    path.and_then(|path| read_in_root(pid, From::Current, path).ok())
        .map(|text| from_config(&text))
        .unwrap_or_default()
}
