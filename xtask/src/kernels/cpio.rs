//! An archive in cpio's "newc" format, which the kernel unpacks into its first file system: a header of
//! hexadecimal numbers and the name, then the contents, each padded to four bytes
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
/// Ends the archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. All of it belongs to root.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A folder; before what lies in it.
    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    pub(crate) fn file(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, FILE, contents);
    }

    /// A file that can be executed.
    pub(crate) fn program(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, PROGRAM, contents);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        // No file here comes near 4 GiB, the format's limit.
        let length = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, user, group, links, time, length, device and special device, name's length, no checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says_byte_by_byte() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.program("bin/a", b"12345");
        let header = |inode, mode, links, length, name_length| {
            let zero = "00000000";
            format!(
                "070701{inode}{mode}{zero}{zero}{links}{zero}{length}{zero}{zero}{zero}{zero}{name_length}{zero}"
            )
        };
        let expected = [
            header("00000001", "000041ED", "00000001", "00000000", "00000004"),
            "bin\0\0\0".to_owned(),
            header("00000002", "000081ED", "00000001", "00000005", "00000006"),
            "bin/a\x0012345\0\0\0".to_owned(),
            header("00000003", "00000000", "00000001", "00000000", "0000000B"),
            "TRAILER!!!\0\0\0\0".to_owned(),
        ]
        .concat();
        assert_eq!(String::from_utf8(archive.finish()).unwrap(), expected);
    }
}
