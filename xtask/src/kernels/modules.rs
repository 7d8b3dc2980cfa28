//! In which order modules of the kernel go in: each after those it names as needed.

use std::collections::{BTreeMap, BTreeSet};

/// What a module names in its `.modinfo`: `depends=` and names with commas between.
pub(crate) fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let names: Vec<u8> =
        module[at + KEY.len()..].iter().copied().take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&names)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// `wanted` and what they need, of what there is, the needed first. What is not there is built into the kernel.
pub(crate) fn order(there: &BTreeMap<String, Vec<String>>, wanted: &[&str]) -> Vec<String> {
    let (mut ordered, mut seen) = (Vec::new(), BTreeSet::new());
    for name in wanted {
        visit(there, name, &mut seen, &mut ordered);
    }
    ordered
}

fn visit(
    there: &BTreeMap<String, Vec<String>>,
    name: &str,
    seen: &mut BTreeSet<String>,
    ordered: &mut Vec<String>,
) {
    let Some(needs) = there.get(name) else { return };
    // Seen before what it needs is looked at: a circle ends.
    if !seen.insert(name.to_owned()) {
        return;
    }
    for need in needs {
        visit(there, need, seen, ordered);
    }
    ordered.push(name.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        assert_eq!(
            needs(b"\x7fELF\0license=GPL\0depends=9pnet,net-fs\0x=y\0"),
            ["9pnet", "net_fs"]
        );
        assert_eq!(needs(b"license=GPL\0depends=\0"), Vec::<String>::new());
        assert_eq!(needs(b"nothing"), Vec::<String>::new());
    }

    #[test]
    fn the_needed_go_first_and_once() {
        let there: BTreeMap<String, Vec<String>> = [
            ("9p", vec!["9pnet", "netfs"]),
            ("9pnet", vec![]),
            ("9pnet_virtio", vec!["virtio", "9pnet", "virtio_ring"]),
            ("virtio", vec!["virtio_ring"]),
            ("virtio_ring", vec!["virtio"]),
        ]
        .into_iter()
        .map(|(name, needs)| (name.to_owned(), needs.into_iter().map(str::to_owned).collect()))
        .collect();
        assert_eq!(
            order(&there, &["9pnet_virtio", "9p", "absent"]),
            ["virtio_ring", "virtio", "9pnet", "9pnet_virtio", "9p"]
        );
    }
}
