//! Versions of what an issue may be about. Reads files only.

use std::collections::BTreeMap;
use std::fs;

use memchr::memmem;

/// Longest C library that is read, bytes.
const LIBRARY_MAX: u64 = 64 << 20;

/// What could be had; absent: not there.
pub(super) fn versions() -> BTreeMap<&'static str, String> {
    let uname = rustix::system::uname();
    let mut versions = BTreeMap::from([
        ("warplens", env!("CARGO_PKG_VERSION").to_owned()),
        ("wire", wire::WIRE_VERSION.to_string()),
        ("recording", crate::recording::FORMAT_VERSION.to_string()),
        ("kernel", uname.release().to_string_lossy().into_owned()),
        ("machine", uname.machine().to_string_lossy().into_owned()),
    ]);
    let read = |path: &str| fs::read_to_string(path).ok();
    let os = read("/etc/os-release").and_then(|text| os_name(&text));
    versions.extend(os.map(|name| ("os", name)));
    let driver = read("/proc/driver/nvidia/version");
    let driver = driver.and_then(|text| text.lines().next().map(str::to_owned));
    versions.extend(driver.map(|line| ("nvidia_driver", line)));
    versions.extend(glibc().map(|version| ("glibc", version)));
    versions
}

fn os_name(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// Of this machine's usual place: this program may bring its own.
fn glibc() -> Option<String> {
    let path =
        ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"]
            .into_iter()
            .find(|path| fs::metadata(path).is_ok_and(|file| file.len() < LIBRARY_MAX))?;
    release(&fs::read(path).ok()?)
}

/// `2.36` of `GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.`
fn release(bytes: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"release version ";
    let at = memmem::find(bytes, BEFORE)? + BEFORE.len();
    let text = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
    let text: String = text.map(|&byte| char::from(byte)).collect();
    Some(text.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_files_say() {
        assert_eq!(os_name("A=1\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
        assert_eq!(release(b"\0x stable release version 2.36.\nC").as_deref(), Some("2.36"));
        assert_eq!(release(b"nothing"), None);
        assert!(versions().contains_key("kernel"));
    }
}
