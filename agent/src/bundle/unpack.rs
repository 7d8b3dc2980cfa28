//! Opens a bundle that somebody sent: every entry is checked before a byte of it is written, and nothing is written
//! where it was not meant to be.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::ROOT;

/// Largest zstd window accepted, log2 bytes: 8 MiB is what any standard level writes.
const WINDOW_LOG_MAX: u32 = 23;

/// Folders within each other.
const DEPTH: usize = 3;

/// What a bundle may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    /// Of everything in it, unpacked.
    pub bytes: u64,
}

impl Default for Limits {
    /// Ten dumps of a busy node, with room.
    fn default() -> Self {
        Self { entries: 256, bytes: 2 << 30 }
    }
}

/// Why a file is no bundle to be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("{path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: not a bundle, or damaged on its way: have it sent again")]
    Damaged {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: refused: its entry `{entry}` {why}; `warplens bundle` makes no such thing")]
    Hostile { path: PathBuf, entry: String, why: &'static str },
    #[error("{path}: refused: more than {limit} {what} in it")]
    TooMuch { path: PathBuf, limit: u64, what: &'static str },
    #[error("write {path}: check the free space of its file system")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Unpacks the bundle at `path` into `folder`, which is empty and ours alone. The paths of its files, below `folder`.
/// After an error what was unpacked until then is still there: remove the folder.
pub fn unpack(path: &Path, folder: &Path, limits: Limits) -> Result<Vec<PathBuf>, UnpackError> {
    let open = |source| UnpackError::Open { path: path.to_owned(), source };
    let damaged = |source| UnpackError::Damaged { path: path.to_owned(), source };
    // The kind is checked before opening: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(open)?.is_file() {
        return Err(open(io::Error::other("it is not a regular file")));
    }
    let mut stream = zstd::Decoder::new(File::open(path).map_err(open)?).map_err(damaged)?;
    stream.window_log_max(WINDOW_LOG_MAX).map_err(damaged)?;
    // One byte more than may be there shows that there is more. Headers and padding come on top.
    let room = limits.bytes.saturating_add(1024 * (limits.entries as u64 + 2));
    let mut tar = tar::Archive::new(stream.take(room.saturating_add(1)));
    let (mut seen, mut total) = (BTreeSet::new(), 0_u64);
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if seen.len() >= limits.entries {
            let limit = limits.entries as u64;
            return Err(UnpackError::TooMuch { path: path.to_owned(), limit, what: "entries" });
        }
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let hostile =
            |why| UnpackError::Hostile { path: path.to_owned(), entry: shown.clone(), why };
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(hostile("is no plain file"));
        }
        let name = inside(&shown).map_err(&hostile)?;
        if !seen.insert(name.clone()) {
            return Err(hostile("is there twice"));
        }
        total = total.saturating_add(entry.size());
        if total > limits.bytes {
            let limit = limits.bytes;
            return Err(UnpackError::TooMuch { path: path.to_owned(), limit, what: "bytes" });
        }
        let target = folder.join(&name);
        let write = |source| UnpackError::Write { path: target.clone(), source };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(write)?;
        }
        // Never over something that is there.
        let mut file = File::create_new(&target).map_err(write)?;
        let size = entry.size();
        let copied = io::copy(&mut entry, &mut file).map_err(damaged)?;
        if copied != size {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    // What follows the last entry is padding, and behind it the checksum of all.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    if rest.limit() == 0 {
        let limit = limits.bytes;
        return Err(UnpackError::TooMuch { path: path.to_owned(), limit, what: "bytes" });
    }
    Ok(seen.into_iter().collect())
}

/// The path below the bundle's folder, if it is one that `warplens bundle` writes.
fn inside(path: &str) -> Result<PathBuf, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !path.chars().all(plain) {
        return Err("has a name with odd characters");
    }
    let mut below = PathBuf::new();
    let mut components = Path::new(path).components();
    if components.next() != Some(Component::Normal(ROOT.as_ref())) {
        return Err("lies outside the bundle's folder");
    }
    for component in components {
        match component {
            Component::Normal(name) => below.push(name),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => return Err("lies outside the bundle's folder"),
        }
    }
    match below.components().count() {
        0 => Err("has no name"),
        1..=DEPTH => Ok(below),
        _ => Err("lies too deep"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::bundle::{Archive, Manifest, SCHEMA};

    const SMALL: Limits = Limits { entries: 4, bytes: 10_000 };

    fn packed(folder: &Path, build: impl FnOnce(&mut tar::Builder<&mut Vec<u8>>)) -> PathBuf {
        let mut bytes = Vec::new();
        let mut tar = tar::Builder::new(&mut bytes);
        build(&mut tar);
        tar.into_inner().unwrap();
        let path = folder.join("x.tar.zst");
        fs::write(&path, zstd::encode_all(bytes.as_slice(), 3).unwrap()).unwrap();
        path
    }

    /// A header with any name at all: the library refuses to write most of these.
    fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o4777);
        header.set_cksum();
        header
    }

    fn refused(build: impl FnOnce(&mut tar::Builder<&mut Vec<u8>>)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = packed(folder.path(), build);
        let inside = folder.path().join("in");
        fs::create_dir(&inside).unwrap();
        let error = unpack(&path, &inside, SMALL).unwrap_err();
        assert!(!folder.path().join("evil").exists() && !Path::new("/tmp/evil").exists());
        error.to_string()
    }

    #[test]
    fn what_is_packed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::create().unwrap();
        archive.put("1/report.md", "a report", b"text").unwrap();
        archive.put("doctor.json", "checks", b"{}").unwrap();
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            warplens: "0".to_owned(),
            anonymous: false,
            files: archive.files().to_vec(),
            redacted: std::collections::BTreeMap::new(),
            missing: Vec::new(),
        };
        let path = folder.path().join("b.tar.zst");
        archive.pack(&path, &manifest).unwrap();
        let inside = folder.path().join("in");
        fs::create_dir(&inside).unwrap();
        let files = unpack(&path, &inside, SMALL).unwrap();
        assert_eq!(files, ["1/report.md", "doctor.json", "manifest.json"].map(PathBuf::from));
        assert_eq!(fs::read(inside.join("1/report.md")).unwrap(), b"text");
        let read: Manifest =
            serde_json::from_slice(&fs::read(inside.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(read, manifest);
        // Cut anywhere: refused.
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..length]).unwrap();
            let inside = tempfile::tempdir().unwrap();
            assert!(unpack(&path, inside.path(), SMALL).is_err(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn entries_that_lead_elsewhere_are_refused() {
        let regular = tar::EntryType::Regular;
        for (name, part) in [
            ("../evil", "outside"),
            ("/tmp/evil", "outside"),
            ("warplens-bundle/../../evil", "outside"),
            ("other/x", "outside"),
            ("warplens-bundle/", "no name"),
            ("warplens-bundle/a/b/c/d", "too deep"),
            ("warplens-bundle/a b", "odd characters"),
            ("warplens-bundle/\u{1b}[31m", "odd characters"),
        ] {
            let error = refused(|tar| tar.append(&header(name, regular, 1), &b"x"[..]).unwrap());
            assert!(error.contains(part), "{name}: {error}");
        }
        for kind in [
            tar::EntryType::Symlink,
            tar::EntryType::Link,
            tar::EntryType::Fifo,
            tar::EntryType::Char,
            tar::EntryType::Block,
            tar::EntryType::Directory,
        ] {
            let mut link = header("warplens-bundle/l", kind, 0);
            link.as_mut_bytes()[157..162].copy_from_slice(b"/evil");
            link.set_cksum();
            let error = refused(|tar| tar.append(&link, io::empty()).unwrap());
            assert!(error.contains("no plain file"), "{kind:?}: {error}");
        }
        let twice = refused(|tar| {
            for _ in 0..2 {
                tar.append(&header("warplens-bundle/a", regular, 1), &b"x"[..]).unwrap();
            }
        });
        assert!(twice.contains("twice"), "{twice}");
    }

    #[test]
    fn bombs_are_refused() {
        let regular = tar::EntryType::Regular;
        let large = refused(|tar| {
            let zeros = io::repeat(0).take(20_000);
            tar.append(&header("warplens-bundle/a", regular, 20_000), zeros).unwrap();
        });
        assert!(large.contains("more than 10000 bytes"), "{large}");
        let many = refused(|tar| {
            for number in 0..9 {
                let name = format!("warplens-bundle/{number}");
                tar.append(&header(&name, regular, 0), io::empty()).unwrap();
            }
        });
        assert!(many.contains("more than 4 entries"), "{many}");
        // A header without an end: gigabytes of zeros behind it are not read.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeros");
        let mut stream = zstd::Encoder::new(File::create(&path).unwrap(), 1).unwrap();
        stream.write_all(header("warplens-bundle/a", regular, 1 << 40).as_bytes()).unwrap();
        io::copy(&mut io::repeat(0).take(100 << 20), &mut stream).unwrap();
        stream.finish().unwrap();
        let error = unpack(&path, &folder.path().join("in"), SMALL).unwrap_err().to_string();
        assert!(error.contains("more than 10000 bytes"), "{error}");
        fs::write(&path, b"PK\x03\x04").unwrap();
        assert!(unpack(&path, folder.path(), SMALL).is_err());
    }
}
