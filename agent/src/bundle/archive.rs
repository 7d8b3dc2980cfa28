//! A bundle in the making: everything in memory or beside it until the manifest is known, then one file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::ROOT;
use super::manifest::{Entry, MANIFEST_JSON, Manifest};
use crate::output::folder::PARTIAL_PREFIX;

/// What lies in it is compressed already, but for texts.
const LEVEL: i32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("make a temporary folder: check TMPDIR and the free space")]
    Staging(#[source] io::Error),
    #[error("write {path}: check its folder and the free space")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("render manifest.json: please report this")]
    Json(#[from] serde_json::Error),
}

/// Files that will be packed.
#[derive(Debug)]
pub struct Archive {
    staging: TempDir,
    files: Vec<Entry>,
}

impl Archive {
    /// Empty.
    pub fn create() -> Result<Self, ArchiveError> {
        let staging = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempdir();
        Ok(Self { staging: staging.map_err(ArchiveError::Staging)?, files: Vec::new() })
    }

    /// Where to write the file that will be `path` in the bundle, before [`Archive::add`].
    pub fn place(&self, path: &str) -> Result<PathBuf, ArchiveError> {
        let place = self.staging.path().join(path);
        let folder = place.parent().unwrap_or(self.staging.path());
        let made = std::fs::create_dir_all(folder);
        made.map_err(|source| ArchiveError::Write { path: place.clone(), source })?;
        Ok(place)
    }

    /// Takes the file that was written at its place.
    pub fn add(&mut self, path: &str, what: &str) -> Result<(), ArchiveError> {
        let place = self.staging.path().join(path);
        let metadata = std::fs::metadata(&place);
        let metadata = metadata.map_err(|source| ArchiveError::Write { path: place, source })?;
        self.files.push(Entry {
            path: path.to_owned(),
            bytes: metadata.len(),
            what: what.to_owned(),
        });
        Ok(())
    }

    /// Writes one whole file and takes it.
    pub fn put(&mut self, path: &str, what: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let place = self.place(path)?;
        std::fs::write(&place, bytes)
            .map_err(|source| ArchiveError::Write { path: place, source })?;
        self.add(path, what)
    }

    pub fn files(&self) -> &[Entry] {
        &self.files
    }

    /// Packs everything into `target`, whole or not at all, readable for its owner alone.
    pub fn pack(self, target: &Path, manifest: &Manifest) -> Result<u64, ArchiveError> {
        let write = |source| ArchiveError::Write { path: target.to_owned(), source };
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // A temporary file is made with mode 600.
        let file = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(folder);
        let file = file.map_err(write)?;
        let mut json = serde_json::to_vec_pretty(manifest)?;
        json.push(b'\n');
        let file = self.stream(file, &json).map_err(write)?;
        let bytes = file.as_file().metadata().map_err(write)?.len();
        file.persist(target).map_err(|error| write(error.error))?;
        Ok(bytes)
    }

    fn stream(&self, file: NamedTempFile, manifest: &[u8]) -> io::Result<NamedTempFile> {
        let mut stream = zstd::Encoder::new(file, LEVEL)?;
        stream.include_checksum(true)?;
        let mut tar = tar::Builder::new(stream);
        append(&mut tar, MANIFEST_JSON, manifest.len() as u64, manifest)?;
        for entry in &self.files {
            let file = File::open(self.staging.path().join(&entry.path))?;
            append(&mut tar, &entry.path, entry.bytes, file)?;
        }
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        Ok(file)
    }
}

/// Without owner, time and whatever else a file system knows.
fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    bytes: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, format!("{ROOT}/{path}"), content.take(bytes))
}
