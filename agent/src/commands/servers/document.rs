//! What `servers --json` prints.

use serde::Serialize;

use crate::observe::uuid_text;
use crate::proc::{self, Discovery, Executor, Gpu, Member, Origin, Place, Ranks, Role};
use crate::shim;

/// See docs/discovery.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) version: &'static str,
    /// A process here runs on the simulated CUDA.
    pub(super) simulated: bool,
    pub(super) servers: Vec<Server>,
    /// Workers of Ray whose server cannot be told.
    pub(super) workers_of_unknown_servers: Vec<Process>,
    /// What found no room, in sentences.
    pub(super) left_out: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Server {
    pub(super) id: u32,
    pub(super) origin: &'static str,
    pub(super) model: Option<String>,
    pub(super) served_model_name: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) listening: Vec<String>,
    pub(super) parallel: Parallel,
    pub(super) executor: Option<&'static str>,
    pub(super) container: Option<Container>,
    pub(super) pod: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) processes: Vec<Process>,
}

/// By the arguments; `null` where they do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Parallel {
    pub(super) data: Option<u32>,
    pub(super) pipeline: Option<u32>,
    pub(super) prefill_context: Option<u32>,
    pub(super) tensor: Option<u32>,
    pub(super) decode_context: Option<u32>,
    pub(super) expert: bool,
    pub(super) api_servers: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) runtime: Option<&'static str>,
    pub(super) pod_uid: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// In its own PID namespace.
    pub(super) inner_pid: u32,
    pub(super) parent: u32,
    pub(super) role: &'static str,
    pub(super) title: String,
    pub(super) rank: String,
    pub(super) ranks: Group,
    /// PID of its engine core.
    pub(super) engine_core: Option<u32>,
    /// An engine core that runs the model itself.
    pub(super) works: bool,
    pub(super) gpus: Vec<Device>,
    /// The shim is loaded.
    pub(super) shim: bool,
    pub(super) container: Option<Container>,
}

/// Ranks by group; a group of one is not told by a title.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    pub(super) data: Option<u32>,
    pub(super) pipeline: Option<u32>,
    pub(super) prefill_context: Option<u32>,
    pub(super) tensor: Option<u32>,
    pub(super) decode_context: Option<u32>,
    pub(super) expert: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Device {
    /// The N of `/dev/nvidiaN`, where a descriptor tells it.
    pub(super) minor: Option<u32>,
    pub(super) uuid: Option<String>,
}

impl Document {
    pub(super) fn of(node: &Discovery) -> Self {
        let gpus = proc::gpus();
        let servers: Vec<Server> =
            node.servers().iter().map(|server| Server::of(server, &gpus)).collect();
        let unknown: Vec<Process> = node
            .unknown()
            .iter()
            .map(|member| Process {
                container: node.container_of(member.pid).map(Container::from),
                ..Process::of(member, &gpus)
            })
            .collect();
        let everybody = servers.iter().flat_map(|server| &server.processes).chain(&unknown);
        let simulated = everybody
            .flat_map(|process| &process.gpus)
            .any(|gpu| gpu.uuid.as_deref().is_some_and(|uuid| uuid.starts_with("SIM-")));
        Self {
            schema: "warplens.servers/v1",
            version: env!("CARGO_PKG_VERSION"),
            simulated,
            servers,
            workers_of_unknown_servers: unknown,
            left_out: node.left_out().sentences(),
        }
    }
}

impl Server {
    fn of(server: &proc::Server, gpus: &[Gpu]) -> Self {
        let sizes = server.sizes;
        let Place { container, pod, namespace } = server.place.clone();
        Self {
            id: server.id,
            origin: match server.origin {
                Origin::Command => "command",
                Origin::Script => "script",
                Origin::Orphan => "orphan",
                Origin::Ray => "ray",
            },
            model: server.model.clone(),
            served_model_name: server.served_name.clone(),
            host: server.host.clone(),
            port: server.port,
            listening: server.listening.iter().map(ToString::to_string).collect(),
            parallel: Parallel {
                data: sizes.data,
                pipeline: sizes.pipeline,
                prefill_context: sizes.prefill_context,
                tensor: sizes.tensor,
                decode_context: sizes.decode_context,
                expert: sizes.expert,
                api_servers: sizes.api_servers,
            },
            executor: server.executor.map(|executor| match executor {
                Executor::InEngine => "uni",
                Executor::Processes => "mp",
                Executor::Ray => "ray",
                Executor::Other => "other",
            }),
            container: container.map(Container::from),
            pod,
            namespace,
            processes: server.members.iter().map(|member| Process::of(member, gpus)).collect(),
        }
    }
}

impl From<proc::Container> for Container {
    fn from(container: proc::Container) -> Self {
        let proc::Container { id, runtime, pod } = container;
        Self { id, runtime: Some(runtime).filter(|runtime| !runtime.is_empty()), pod_uid: pod }
    }
}

impl Process {
    fn of(member: &Member, gpus: &[Gpu]) -> Self {
        let uuid = |minor| gpus.iter().find(|gpu| gpu.minor == minor).map(|gpu| gpu.uuid.clone());
        let mut devices: Vec<Device> = member
            .gpus
            .iter()
            .map(|&minor| Device { minor: Some(minor), uuid: uuid(minor) })
            .collect();
        let ring = rings_devices(member);
        for uuid in ring.iter().flatten() {
            // A descriptor told the same one already.
            if !devices.iter().any(|device| device.uuid.as_ref() == Some(uuid)) {
                devices.push(Device { minor: None, uuid: Some(uuid.clone()) });
            }
        }
        let Ranks { data, pipeline, prefill_context, tensor, decode_context, expert } =
            member.ranks;
        Self {
            pid: member.pid,
            inner_pid: member.inner_pid,
            parent: member.parent,
            role: member.role.as_str(),
            title: member.title.clone(),
            rank: member.rank.clone(),
            ranks: Group { data, pipeline, prefill_context, tensor, decode_context, expert },
            engine_core: member.engine,
            works: member.works
                || ring.is_some() && member.role == Role::EngineCore && !member.has_workers,
            gpus: devices,
            shim: ring.is_some(),
            container: None,
        }
    }
}

/// UUIDs of the devices that the process has opened, by its shim; `None` without a shim.
fn rings_devices(member: &Member) -> Option<Vec<String>> {
    let location = shim::find(member.pid).ok().flatten()?;
    // Whoever holds the ring, its statistics are open to all.
    let Ok(memory) = shim::Memory::open(&location, false) else {
        return Some(Vec::new());
    };
    let simulated = shim::status(&memory).simulated;
    let opened = shim::devices(&memory).into_iter().filter(|device| device.opened);
    Some(opened.map(|device| uuid_text(device.uuid, simulated)).collect())
}
