//! Which TCP ports a process listens on: the table of its network namespace, joined with its open
//! descriptors by inode.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::read;

/// Longest table read, bytes: 6 000 sockets. The kernel puts listening ones first.
const TABLE_MAX: u64 = 1 << 20;

/// The state of a listening socket.
const LISTEN: &str = "0A";

/// Addresses in `pid`'s network namespace on which one of the sockets of `inodes` listens, sorted.
pub(super) fn listening(pid: u32, inodes: &HashSet<u64>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| read::at_most(format!("/proc/{pid}/net/{table}"), TABLE_MAX).ok())
        .flat_map(|text| parse_listening(&String::from_utf8_lossy(&text)))
        .filter(|(_, inode)| inodes.contains(inode))
        .map(|(address, _)| address)
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Listening sockets of a table, with their inodes. Lines that do not parse are left out.
fn parse_listening(text: &str) -> Vec<(SocketAddr, u64)> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace();
    let address = parse_address(fields.nth(1)?)?;
    (fields.nth(1)? == LISTEN).then_some(())?;
    Some((address, fields.nth(5)?.parse().ok()?))
}

/// `0100007F:1F90`: each word of the address as the machine stores it.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    let address: IpAddr = match *words.as_slice() {
        [word] => Ipv4Addr::from(word.to_ne_bytes()).into(),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (chunk, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip([a, b, c, d]) {
                *chunk = word.to_ne_bytes();
            }
            // A socket for both families shows the older one's addresses as mapped.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::descriptors::Descriptors;

    #[test]
    fn listening_sockets_of_both_families() {
        let four = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F41 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
  xx
   2: 0100007F 00000000:0000 0A
";
        assert_eq!(parse_listening(four), [("127.0.0.1:8000".parse().unwrap(), 4711)]);
        let six = "h\n 0: 00000000000000000000000000000000:1F90 0:0 0A 0:0 00:0 0 0 0 99 1\n \
                   1: 0000000000000000FFFF00000100007F:0050 0:0 0A 0:0 00:0 0 0 0 98 1\n";
        assert_eq!(
            parse_listening(six),
            [("[::]:8080".parse().unwrap(), 99), ("127.0.0.1:80".parse().unwrap(), 98)]
        );
    }

    #[test]
    fn a_port_we_open_is_found_and_others_are_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pid = std::process::id();
        let sockets = Descriptors::read(pid).sockets;
        assert!(listening(pid, &sockets).contains(&address));
        assert_eq!(listening(pid, &HashSet::new()), []);
        drop(listener);
        assert!(!listening(pid, &Descriptors::read(pid).sockets).contains(&address));
    }
}
