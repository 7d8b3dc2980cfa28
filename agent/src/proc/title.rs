//! What a process is in a vLLM server, from its title. setproctitle wipes arguments and environment
//! and the kernel cuts `comm` at 15 characters, so the title in `cmdline` is what there is.

use super::command::{self, Entry};

/// Longest title kept, bytes: what a line of a report can carry.
const TITLE_MAX: usize = 80;

/// What a process does in its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `vllm serve` itself: parent of all others.
    Frontend,
    /// A Python program that made its engine with `LLM()`.
    Script,
    ApiServer,
    /// Balances requests between data-parallel engines.
    Coordinator,
    EngineCore,
    Worker,
    /// Anything else: helpers of a server, and every process that is none of vLLM's.
    #[default]
    Process,
}

impl Role {
    pub const ALL: [Self; 7] = [
        Self::Frontend,
        Self::Script,
        Self::ApiServer,
        Self::Coordinator,
        Self::EngineCore,
        Self::Worker,
        Self::Process,
    ];

    /// The spelling in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Script => "script",
            Self::ApiServer => "api_server",
            Self::Coordinator => "coordinator",
            Self::EngineCore => "engine_core",
            Self::Worker => "worker",
            Self::Process => "process",
        }
    }
}

/// A process as it calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Title {
    /// Without arguments: they may carry secrets.
    pub text: String,
    pub role: Role,
    /// Rank text, such as `DP0_TP1`; empty when there is none.
    pub rank: String,
}

impl Title {
    /// From the words of `cmdline` and from `comm`.
    pub fn parse(arguments: &[&str], comm: &str) -> Self {
        let of = |text: &str, role, rank: &str| Self {
            text: clip(text),
            role,
            rank: clip(rank.strip_prefix('_').unwrap_or(rank)),
        };
        match arguments {
            // Without arguments there is only the name that the kernel cut: its rank is not whole.
            [] => of(comm, cut_role(comm), ""),
            // A title is one word; what has arguments is a program.
            [title] if let Some((role, rank)) = titled(title) => of(title.trim_end(), role, rank),
            [program, ..] => match command::entry(arguments) {
                Some((entry, _)) => of(entry.as_str(), role_of(entry), ""),
                None => of(file_name(program), Role::Process, ""),
            },
        }
    }
}

/// `(title, role, rank)` from the words of `cmdline` and `comm`.
pub fn parse_title(arguments: &[&str], comm: &str) -> (String, String, String) {
    let Title { text, role, rank } = Title::parse(arguments, comm);
    (text, role.as_str().to_owned(), rank)
}

fn role_of(entry: Entry) -> Role {
    match entry {
        Entry::Serve | Entry::Batch => Role::Frontend,
        Entry::Rust => Role::ApiServer,
    }
}

/// Names after `PREFIX::` and what they are. The prefix is the operator's to choose.
const NAMES: [(&str, Role); 4] = [
    ("Worker", Role::Worker),
    ("EngineCore", Role::EngineCore),
    ("APIServer", Role::ApiServer),
    ("DPCoordinator", Role::Coordinator),
];

/// Ray names its actors itself, too: by the class of vLLM's that runs in them.
const RAY_CLASSES: [&str; 2] = ["RayWorkerProc", "RayWorkerWrapper"];

/// Role and rank text of a whole title.
fn titled(title: &str) -> Option<(Role, &str)> {
    let (prefix, name) = title.trim_end().split_once("::")?;
    if prefix.is_empty() || prefix.contains('/') {
        return None;
    }
    if prefix == "ray" {
        let class = name.split(['.', ':', '(']).next().unwrap_or(name);
        return RAY_CLASSES.contains(&class).then_some((Role::Worker, ""));
    }
    NAMES.iter().find_map(|&(known, role)| {
        let rank = name.strip_prefix(known)?;
        (rank.is_empty() || rank.starts_with('_')).then_some((role, rank))
    })
}

/// Role of a name of at most 15 characters.
fn cut_role(comm: &str) -> Role {
    let Some((prefix, name)) = comm.split_once("::") else {
        return Role::Process;
    };
    let named = NAMES.iter().find(|(known, _)| {
        name.strip_prefix(known).is_some_and(|rank| rank.is_empty() || rank.starts_with('_'))
            // Cut inside the name; one letter could be anybody.
            || comm.len() == 15 && name.len() > 2 && known.starts_with(name)
    });
    named.filter(|_| !prefix.is_empty()).map_or(Role::Process, |&(_, role)| role)
}

/// Which rank in which group a rank text tells; a group of one is not told at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    pub data: Option<u32>,
    pub pipeline: Option<u32>,
    /// Of prefill's and of decode's context parallelism.
    pub prefill_context: Option<u32>,
    pub decode_context: Option<u32>,
    pub tensor: Option<u32>,
    pub expert: Option<u32>,
}

impl Ranks {
    /// From text as in [`Title::rank`]; parts that no vLLM writes are passed over.
    pub fn parse(text: &str) -> Self {
        let mut ranks = Self::default();
        for part in text.split('_') {
            let digits = part.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
            let (group, number) = (&part[..part.len() - digits.len()], digits.parse().ok());
            match group {
                "DP" => ranks.data = number,
                "PP" => ranks.pipeline = number,
                "PCP" => ranks.prefill_context = number,
                "TP" => ranks.tensor = number,
                "DCP" => ranks.decode_context = number,
                "EP" => ranks.expert = number,
                _ => {}
            }
        }
        ranks
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn clip(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TITLE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], comm: &str, expected: (&str, Role, &str)) {
        let Title { text, role, rank } = Title::parse(arguments, comm);
        assert_eq!((text.as_str(), role, rank.as_str()), expected, "{arguments:?} {comm}");
    }

    #[test]
    fn titles_of_vllm_processes() {
        for (title, role, rank) in [
            ("VLLM::Worker_TP0", Role::Worker, "TP0"),
            ("VLLM::Worker_DP0_TP1_EP1", Role::Worker, "DP0_TP1_EP1"),
            ("VLLM::Worker_DP1_PP0_PCP1_TP3_DCP1_EP7", Role::Worker, "DP1_PP0_PCP1_TP3_DCP1_EP7"),
            ("VLLM::Worker", Role::Worker, ""),
            ("VLLM::EngineCore", Role::EngineCore, ""),
            ("VLLM::APIServer_0", Role::ApiServer, "0"),
            ("VLLM::APIServer_DP1", Role::ApiServer, "DP1"),
            ("VLLM::DPCoordinator", Role::Coordinator, ""),
        ] {
            check(&[title], "", (title, role, rank));
        }
    }

    #[test]
    fn the_prefix_is_the_operators() {
        check(
            &["prod-7::EngineCore_DP1"],
            "prod-7::EngineC",
            ("prod-7::EngineCore_DP1", Role::EngineCore, "DP1"),
        );
        check(&["::Worker"], "", ("::Worker", Role::Process, ""));
    }

    #[test]
    fn names_that_only_begin_like_vllms_are_others() {
        check(&["pool::WorkerPool"], "", ("pool::WorkerPool", Role::Process, ""));
        check(&["std::move"], "", ("std::move", Role::Process, ""));
        check(&["a::Worker", "--token", "x"], "", ("a::Worker", Role::Process, ""));
        check(&["/opt/a::Worker"], "", ("a::Worker", Role::Process, ""));
    }

    #[test]
    fn a_name_the_kernel_cut_has_a_role_and_no_rank() {
        check(&[], "VLLM::EngineCor", ("VLLM::EngineCor", Role::EngineCore, ""));
        // `VLLM::Worker_TP12`, or `VLLM::Worker_TP0`.
        check(&[], "VLLM::Worker_TP", ("VLLM::Worker_TP", Role::Worker, ""));
        check(&[], "my-long-nam::Wo", ("my-long-nam::Wo", Role::Process, ""));
        check(&[], "a::W", ("a::W", Role::Process, ""));
        check(&[], "kworker/0:1", ("kworker/0:1", Role::Process, ""));
    }

    #[test]
    fn ray_gives_its_actors_titles_of_its_own() {
        check(
            &["ray::RayWorkerProc.run"],
            "ray::RayWorkerP",
            ("ray::RayWorkerProc.run", Role::Worker, ""),
        );
        check(&["ray::IDLE"], "ray::IDLE", ("ray::IDLE", Role::Process, ""));
        check(&["ray::Trainer.fit"], "", ("ray::Trainer.fit", Role::Process, ""));
    }

    #[test]
    fn a_frontend_keeps_its_secrets() {
        let arguments = ["/usr/bin/python3", "/usr/bin/vllm", "serve", "m", "--api-key", "s3cret"];
        check(&arguments, "vllm", ("vllm serve", Role::Frontend, ""));
        check(&["/opt/app/train", "--token", "s3cret"], "train", ("train", Role::Process, ""));
    }

    #[test]
    fn ranks_by_group() {
        assert_eq!(
            Ranks::parse("DP1_PP0_PCP1_TP3_DCP2_EP7"),
            Ranks {
                data: Some(1),
                pipeline: Some(0),
                prefill_context: Some(1),
                tensor: Some(3),
                decode_context: Some(2),
                expert: Some(7),
            }
        );
        assert_eq!(Ranks::parse(""), Ranks::default());
        assert_eq!(Ranks::parse("0"), Ranks::default());
        assert_eq!(Ranks::parse("TP_ÄP3_TP99999999999"), Ranks::default());
    }
}
