//! Where a server can be asked: at an address that one of its own sockets listens on, as the kernel tells it, and nowhere
//! else. What a server's arguments say is not an address to go to: anybody can be called `vllm serve --host ...`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;

use crate::proc::read_at_most;

/// Longest table read, bytes: some thousand routes.
const TABLE_MAX: u64 = 1 << 20;

/// Why a server cannot be asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum NoRoute {
    #[error("none of its processes listens on its port {0}")]
    NotListening(u16),
    #[error("it listens on loopback of a network of its own, where nobody else can ask it")]
    OwnLoopback,
    #[error("its network cannot be looked at: process {0} is gone, or CAP_SYS_PTRACE is not held")]
    Unseen(u32),
    #[error("its network has no address that can be reached from outside")]
    NoAddress,
}

/// An address at which process `pid`, one of the server's, takes connections on `port`.
pub(super) fn route(pid: u32, port: u16, listening: &[SocketAddr]) -> Result<SocketAddr, NoRoute> {
    let network = |who: String| fs::read_link(PathBuf::from("/proc").join(who).join("ns/net"));
    let theirs = network(pid.to_string()).map_err(|_gone| NoRoute::Unseen(pid))?;
    let shared = network("self".to_owned()).is_ok_and(|ours| ours == theirs);
    choose(port, listening, shared, || {
        let table = |name: &str| {
            let bytes = read_at_most(format!("/proc/{pid}/net/{name}"), TABLE_MAX);
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        local_v4(&table("fib_trie")).chain(local_v6(&table("if_inet6"))).collect()
    })
}

/// `shared`: it is in our own network; `local`: the addresses that its network has.
fn choose(
    port: u16,
    listening: &[SocketAddr],
    shared: bool,
    local: impl FnOnce() -> Vec<IpAddr>,
) -> Result<SocketAddr, NoRoute> {
    let open: BTreeSet<IpAddr> = listening
        .iter()
        .filter(|address| address.port() == port)
        .map(|address| address.ip().to_canonical())
        .collect();
    if open.is_empty() {
        return Err(NoRoute::NotListening(port));
    }
    let any = open.iter().any(IpAddr::is_unspecified);
    let only_six = any && !open.contains(&Ipv4Addr::UNSPECIFIED.into());
    let address = if shared {
        let loopback: IpAddr =
            if only_six { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let own = open.iter().copied().find(IpAddr::is_loopback);
        own.or_else(|| any.then_some(loopback)).or_else(|| open.first().copied())
    } else {
        if open.iter().all(IpAddr::is_loopback) {
            return Err(NoRoute::OwnLoopback);
        }
        let bound = open.iter().copied().find(|&address| is_reachable(address));
        bound.or_else(|| {
            let fits = |address: &IpAddr| {
                any && is_reachable(*address) && (!only_six || address.is_ipv6())
            };
            // A socket for both families shows itself as one for the newer one alone.
            let all = local();
            let first = all.iter().copied().find(fits);
            first.or_else(|| all.into_iter().find(|&address| any && is_reachable(address)))
        })
    };
    address.map(|address| SocketAddr::new(address, port)).ok_or(NoRoute::NoAddress)
}

/// From another network of this node. Link-local ones are where clouds serve their secrets.
fn is_reachable(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !special
        && match address {
            IpAddr::V4(address) => !address.is_link_local() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        }
}

/// The network's own addresses in `fib_trie`: a leaf `|-- ADDRESS` with the line `/32 host LOCAL` below it.
fn local_v4(text: &str) -> impl Iterator<Item = IpAddr> {
    let mut leaf = None;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found.into_iter().map(IpAddr::from)
}

/// The same in `if_inet6`: 32 hexadecimal digits first.
fn local_v6(text: &str) -> impl Iterator<Item = IpAddr> {
    let address = |line: &str| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok()
    };
    let found: BTreeSet<u128> = text.lines().filter_map(address).collect();
    found.into_iter().map(|bits| IpAddr::from(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listening: &[&str], shared: bool, local: &[&str], expected: Result<&str, NoRoute>) {
        let listening: Vec<SocketAddr> =
            listening.iter().map(|address| address.parse().unwrap()).collect();
        let local = || local.iter().map(|address| address.parse().unwrap()).collect();
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(choose(8000, &listening, shared, local), expected, "{listening:?}");
    }

    #[test]
    fn in_our_own_network() {
        check(&["0.0.0.0:8000"], true, &[], Ok("127.0.0.1:8000"));
        check(&["[::]:8000"], true, &[], Ok("[::1]:8000"));
        check(&["127.0.0.1:8000", "10.0.0.1:9"], true, &[], Ok("127.0.0.1:8000"));
        check(&["10.0.0.1:8000"], true, &[], Ok("10.0.0.1:8000"));
        check(&["0.0.0.0:8001"], true, &[], Err(NoRoute::NotListening(8000)));
    }

    #[test]
    fn in_a_network_of_its_own() {
        let local = ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "fe80::1", "fd00::5"];
        check(&["0.0.0.0:8000"], false, &local, Ok("10.1.2.3:8000"));
        check(&["[::]:8000"], false, &local, Ok("[fd00::5]:8000"));
        check(&["[::]:8000"], false, &local[..3], Ok("10.1.2.3:8000"));
        check(&["10.1.2.3:8000"], false, &[], Ok("10.1.2.3:8000"));
        check(&["127.0.0.1:8000"], false, &local, Err(NoRoute::OwnLoopback));
        check(&["0.0.0.0:8000"], false, &local[..2], Err(NoRoute::NoAddress));
        check(&["169.254.169.254:8000"], false, &local, Err(NoRoute::NoAddress));
    }

    #[test]
    fn addresses_as_the_kernel_lists_them() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n     |-- 10.1.2.0\n        /24 link UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n\
                    |-- 10.1.2.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n nonsense\n";
        let found: Vec<String> = local_v4(trie).map(|address| address.to_string()).collect();
        assert_eq!(found, ["10.1.2.3", "127.0.0.1"]);
        let six = "fd000000000000000000000000000005 02 40 00 80     eth0\nxx\n";
        let found: Vec<String> = local_v6(six).map(|address| address.to_string()).collect();
        assert_eq!(found, ["fd00::5"]);
    }

    #[test]
    fn a_socket_of_ours_is_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = route(std::process::id(), address.port(), &[address]);
        assert_eq!(found, Ok(address));
        assert_eq!(route(u32::MAX, 1, &[address]), Err(NoRoute::Unseen(u32::MAX)));
    }
}
