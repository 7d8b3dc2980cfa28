//! Real files, mutated files and noise.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// The C library of this machine: a real file with many dynamic symbols.
fn libc_path() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line =
        maps.lines().find(|line| line.contains("/libc.so.6")).expect("tests link the C library");
    PathBuf::from(&line[line.find('/').unwrap()..])
}

fn address_of(symbol: &std::ffi::CStr) -> u64 {
    dynamic_address(symbol)
}

/// Where the running process has the symbol, as a file offset by its own memory map.
fn dynamic_address(symbol: &std::ffi::CStr) -> u64 {
    // The addresses of these functions are taken by the linker's own means.
    let address = match symbol.to_bytes() {
        b"getpid" => libc::getpid as *const () as u64,
        b"strtol" => libc::strtol as *const () as u64,
        other => panic!("unknown symbol {other:?}"),
    };
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let offset = fields.nth(1)?;
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            (hex(start)?..hex(end)?)
                .contains(&address)
                .then(|| Some(address - hex(start)? + hex(offset)?))?
        })
        .expect("every function is mapped")
}

#[test]
fn offsets_agree_with_the_memory_map() {
    let found = find(&libc_path(), &["getpid", "strtol", "no_such_symbol"]).unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["getpid", "strtol"]);
    assert_eq!(found["getpid"].offset, address_of(c"getpid"));
    assert_eq!(found["strtol"].offset, address_of(c"strtol"));
    let bytes = fs::read(libc_path()).unwrap();
    assert_eq!(find_in(&bytes, &["getpid", "strtol"]).unwrap(), found);
    let getpid = found["getpid"];
    let start = usize::try_from(getpid.offset).unwrap();
    assert_eq!(getpid.code, bytes[start..start + getpid.code.len()]);
}

#[test]
fn a_symbol_is_defined_or_not() {
    assert!(defines(&libc_path(), "getpid").unwrap());
    assert!(!defines(&libc_path(), wire::shim::SIMULATOR_SYMBOL).unwrap());
}

#[test]
fn what_is_no_executable_says_so() {
    let message = |path: &str| find(Path::new(path), &["x"]).unwrap_err().to_string();
    assert!(message("/etc/passwd").contains("/etc/passwd is not a regular file of an executable"));
    assert!(message("/no/such/file").starts_with("open /no/such/file"));
    assert!(message("/dev/zero").starts_with("open /dev/zero"));
    assert!(message("/proc").starts_with("open /proc"));
}

#[test]
fn every_truncation_of_a_real_file_is_survived() {
    let bytes = fs::read(libc_path()).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 257 + 1) {
        if let Ok(found) = find_in(&bytes[..length], &["getpid"]) {
            assert!(found.len() <= 1);
        }
    }
}

#[test]
fn an_object_tells_its_segments_a_section_and_symbols() {
    let path = libc_path();
    let file = File::open(&path).unwrap();
    let object = sections(&file, "libc", ".text").unwrap();
    let text = object.section.unwrap();
    let segment = object.segments.iter().find(|segment| segment.executable).unwrap();
    assert!((segment.address..).contains(&text.address) && text.size > 1 << 16);
    assert_eq!(sections(&file, "libc", ".no_such_section").unwrap().section, None);
    let found = symbols(&file, "libc", |name| name == "getpid").unwrap();
    assert_eq!(found[0].1.address, find(&path, &["getpid"]).unwrap()["getpid"].address);
    assert!(found[0].1.size > 0);
    // Where it is mapped, it has the address that this process knows.
    let maps = crate::proc::maps(std::process::id()).unwrap();
    let mapping = maps.iter().find(|map| map.executable && map.path.ends_with("/libc.so.6"));
    let mapping = mapping.unwrap();
    let bias = object.bias(mapping.start, mapping.offset).unwrap();
    assert_eq!(bias.wrapping_add(found[0].1.address), libc::getpid as *const () as u64);
    assert_eq!(object.bias(0, u64::MAX), None);
}

proptest! {
    #[test]
    fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(find_in(&bytes, &["getpid"]).is_err());
        prop_assert!(object::sections(&*bytes, ".text").is_err());
        prop_assert!(object::symbols(&*bytes, |_| true).is_err());
    }

    /// Changes headers and section tables, where lengths and offsets are.
    #[test]
    fn mutated_files_are_survived(changes in proptest::collection::vec((any::<u32>(), any::<[u8; 8]>()), 1..24)) {
        let mut bytes = fs::read(libc_path()).unwrap();
        let sections = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap());
        let sections = usize::try_from(sections).unwrap();
        for (place, value) in changes {
            let place = place as usize;
            // One in two in the ELF and program headers, one in two in the section table.
            let at = if place.is_multiple_of(2) { 16 + place % 1024 } else { sections + place % (bytes.len() - sections - 8) };
            bytes[at..at + 8].copy_from_slice(&value);
        }
        if let Ok(found) = find_in(&bytes, &["getpid"]) {
            prop_assert!(found.len() <= 1);
        }
    }
}
