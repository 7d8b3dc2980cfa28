//! Where a server runs: container, pod, namespace. From its cgroup first, which it cannot forge; names
//! come from its environment and file system, because nothing else on the node has them.

use crate::proc::cgroup::{Container, parse_cgroup};
use crate::proc::environment::{Environment, object_name};
use crate::proc::read::{self, LINE_MAX};
use crate::proc::root::{From, read_in_root};

/// Longest text of a cgroup read, bytes: a dozen paths of at most 4 KiB.
const CGROUP_MAX: u64 = 64 << 10;

/// Where Kubernetes tells a pod its namespace, unless the pod asked not to be told.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// See the module's text; `None` where it is not known or there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub container: Option<Container>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

/// The container of a process.
pub(super) fn container(pid: u32) -> Option<Container> {
    let text = read::at_most(format!("/proc/{pid}/cgroup"), CGROUP_MAX).ok()?;
    parse_cgroup(&String::from_utf8_lossy(&text))
}

/// The place of a server by its first process, whose environment is whole.
pub(super) fn read(pid: u32) -> Place {
    let container = container(pid);
    let environment = read::at_most(format!("/proc/{pid}/environ"), LINE_MAX).unwrap_or_default();
    let environment = Environment::parse(&environment);
    let asked = container.as_ref().is_some_and(|container| container.pod.is_some());
    let mut files = Files::default();
    if asked && environment.pod.is_none() && environment.hostname.is_none() {
        files.hostname = read_in_root(pid, From::Root, "/etc/hostname").ok();
    }
    if (asked || environment.pod.is_some()) && environment.namespace.is_none() {
        files.namespace = read_in_root(pid, From::Root, NAMESPACE_FILE).ok();
    }
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    place(container, environment, &files, &node)
}

/// What files of the container say.
#[derive(Clone, Debug, Default)]
struct Files {
    hostname: Option<String>,
    namespace: Option<String>,
}

fn place(
    container: Option<Container>,
    environment: Environment,
    files: &Files,
    node: &str,
) -> Place {
    let in_pod = container.as_ref().is_some_and(|container| container.pod.is_some());
    let hostname = environment
        .hostname
        .or_else(|| files.hostname.as_deref().and_then(object_name))
        // A pod on the host's network has the node's name.
        .filter(|hostname| in_pod && hostname != node);
    let pod = environment.pod.or(hostname);
    let namespace = environment
        .namespace
        .or_else(|| files.namespace.as_deref().and_then(object_name))
        .filter(|_| in_pod || pod.is_some());
    Place { container, pod, namespace }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pod() -> Container {
        Container { id: "c".repeat(64), runtime: "containerd", pod: Some("uid".to_owned()) }
    }

    fn check(
        container: Option<Container>,
        variables: &[u8],
        files: [Option<&str>; 2],
        expected: [Option<&str>; 2],
    ) {
        let [hostname, namespace] = files.map(|text| text.map(str::to_owned));
        let files = Files { hostname, namespace };
        let found = place(container, Environment::parse(variables), &files, "node-1");
        assert_eq!([found.pod.as_deref(), found.namespace.as_deref()], expected);
    }

    #[test]
    fn a_pods_name_and_namespace() {
        let none = [None, None];
        let both = [Some("llm-0"), Some("serving")];
        check(Some(in_pod()), b"POD_NAME=llm-0\0POD_NAMESPACE=serving\0HOSTNAME=x\0", none, both);
        check(Some(in_pod()), b"HOSTNAME=llm-0\0", [None, Some("serving\n")], both);
        check(Some(in_pod()), b"", [Some("llm-0\n"), Some("serving")], both);
        check(Some(in_pod()), b"", none, none);
    }

    #[test]
    fn the_nodes_name_is_no_pods() {
        check(
            Some(in_pod()),
            b"HOSTNAME=node-1\0",
            [None, Some("serving")],
            [None, Some("serving")],
        );
    }

    #[test]
    fn a_host_name_outside_a_pod_is_no_pods() {
        check(None, b"HOSTNAME=llm-0\0", [None, None], [None, None]);
        let docker = Container { pod: None, ..in_pod() };
        check(Some(docker), b"HOSTNAME=llm-0\0", [None, None], [None, None]);
    }

    #[test]
    fn files_that_hold_no_name_are_not_believed() {
        check(Some(in_pod()), b"", [Some("root:S3cret:/"), Some("A\nB")], [None, None]);
    }
}
