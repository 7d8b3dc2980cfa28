//! Which container and pod a process is in, from the paths of `/proc/PID/cgroup`. Every runtime has
//! its own way to write an id of 64 hexadecimal digits into them; where containers are nested (a
//! cluster in a container), the innermost counts.

/// A container as its cgroup names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`; empty where the path does not tell.
    pub runtime: &'static str,
    /// UID of its pod, with dashes, where it is in one.
    pub pod: Option<String>,
}

const ID_DIGITS: usize = 64;

/// What an id has before it in the name of a systemd scope, and whose it is.
const SCOPES: [(&str, &str); 4] = [
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
];

/// From the text of `cgroup`; `None`: in no container that is known.
pub fn parse_cgroup(text: &str) -> Option<Container> {
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // Version 1 has a path per controller, and some of them may be the root's.
    paths.find_map(in_path)
}

fn in_path(path: &str) -> Option<Container> {
    let mut found: Option<Container> = None;
    let mut pod = None;
    let mut runtime = "";
    for component in path.split('/') {
        if let Some(uid) = pod_uid(component) {
            pod = Some(uid);
        }
        match component {
            "docker" => runtime = "docker",
            "libpod_parent" => runtime = "podman",
            _ => {}
        }
        let Some((id, named)) = container_id(component) else {
            continue;
        };
        let runtime = if named.is_empty() { runtime } else { named };
        found = Some(Container { id, runtime, pod: pod.clone() });
    }
    found
}

/// The id in one component, and its runtime where that has a name.
fn container_id(component: &str) -> Option<(String, &'static str)> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    // systemd's driver of containerd without a systemd cgroup: `SLICE:cri-containerd:ID`.
    if let Some((rest, id)) = name.rsplit_once(':') {
        let runtime = if rest.ends_with(":cri-containerd") { "containerd" } else { "" };
        return id_of(id).map(|id| (id, runtime));
    }
    for (prefix, runtime) in SCOPES {
        if let Some(id) = name.strip_prefix(prefix) {
            // `crio-conmon-ID` is the container's monitor, not the container.
            return id_of(id).map(|id| (id, runtime));
        }
    }
    id_of(name).map(|id| (id, ""))
}

fn id_of(text: &str) -> Option<String> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == ID_DIGITS && text.bytes().all(hexadecimal)).then(|| text.to_owned())
}

/// The UID in `podUID` or `kubepods-burstable-podUID.slice`, where systemd wants `_` for `-`.
fn pod_uid(component: &str) -> Option<String> {
    // `SLICE:cri-containerd:ID` holds the slice.
    let name = component.split(':').next().unwrap_or(component);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = name.rsplit_once("pod")?;
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&byte| byte == b'-').count();
    // Pods from files have a hash without dashes.
    let fits = digits == 32 && digits + dashes == uid.len() && matches!(dashes, 0 | 4);
    fits.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "1a2b3c4d-0000-4111-8222-0123456789ab";

    fn check(path: &str, runtime: &str, pod: Option<&str>) {
        let path = path
            .replace("SYSTEMD-UUID", &UID.replace('-', "_"))
            .replace("UUID", UID)
            .replace("INNER", INNER)
            .replace("ID", ID);
        for text in [format!("0::{path}\n"), format!("2:cpu:/\n1:name=systemd:{path}\n0::/\n")] {
            let found = parse_cgroup(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.runtime, found.pod.as_deref()), (runtime, pod), "{text}");
            assert_eq!(found.id, if path.contains(INNER) { INNER } else { ID }, "{text}");
        }
    }

    #[test]
    fn the_paths_of_every_runtime() {
        check("/docker/ID", "docker", None);
        check("/system.slice/docker-ID.scope", "docker", None);
        check("/machine.slice/libpod-ID.scope/container", "podman", None);
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "podman",
            None,
        );
        check("/libpod_parent/libpod-ID", "podman", None);
        check("/ecs/cluster/task/ID", "", None);
    }

    #[test]
    fn pods_of_every_class_and_driver() {
        check("/kubepods/burstable/podUUID/ID", "", Some(UID));
        check("/kubepods/podUUID/ID", "", Some(UID));
        check(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSYSTEMD-UUID.slice/cri-containerd-ID.scope",
            "containerd",
            Some(UID),
        );
        check("/kubepods.slice/kubepods-podSYSTEMD-UUID.slice/crio-ID.scope", "cri-o", Some(UID));
        check(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSYSTEMD-UUID.slice/docker-ID.scope",
            "docker",
            Some(UID),
        );
        check(
            "/system.slice/containerd.service/kubepods-burstable-podSYSTEMD-UUID.slice:cri-containerd:ID",
            "containerd",
            Some(UID),
        );
        // A pod from a file, and an agent in a cgroup namespace of its own.
        let hash = "0123456789abcdef0123456789abcdef";
        check(&format!("/kubepods/besteffort/pod{hash}/ID"), "", Some(hash));
        check(
            "/../../kubepods-pod-x/../kubepods-burstable-podSYSTEMD-UUID.slice/cri-containerd-ID.scope",
            "containerd",
            Some(UID),
        );
    }

    #[test]
    fn the_innermost_of_nested_containers() {
        check(
            "/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podSYSTEMD-UUID.slice/cri-containerd-INNER.scope",
            "containerd",
            Some(UID),
        );
        check("/kubepods/podUUID/ID/docker/INNER", "docker", Some(UID));
    }

    #[test]
    fn what_is_no_container() {
        for text in [
            "",
            "0::/",
            "0::/init.scope",
            "0::/user.slice/user-0.slice/session-1.scope",
            "4:memory:/process_api/37ea9a12a3817712304ca7f85b5433c7",
            "nonsense",
            ":::",
        ] {
            assert_eq!(parse_cgroup(text), None, "{text}");
        }
        for monitor in ["crio-conmon", "libpod-conmon"] {
            assert_eq!(parse_cgroup(&format!("0::/system.slice/{monitor}-{ID}.scope")), None);
        }
        assert_eq!(parse_cgroup(&format!("0::/docker/{}", ID.to_uppercase())), None);
    }
}
