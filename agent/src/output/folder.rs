//! An output folder that appears whole or not at all.
//!
//! Everything is written beside (or, where the folder exists, inside) the place it is going to,
//! on the same file system, and moved in by rename at the end.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Start of the names of unfinished files and folders; what a killed run leaves is told by it.
pub const PARTIAL_PREFIX: &str = ".warplens-partial-";

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("write to output folder {folder}: choose another with `--out`")]
    Create {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write to output folder {folder}: it is a file: choose another with `--out`")]
    NotAFolder { folder: PathBuf },
    #[error("write {path}: check the free space of its file system")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("move the finished outputs to {folder}: check that it can still be written to")]
    Commit {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// An output folder in the making. Dropped without [`OutputFolder::commit`], it leaves nothing.
#[derive(Debug)]
pub struct OutputFolder {
    target: PathBuf,
    staging: TempDir,
    exists: bool,
}

impl OutputFolder {
    /// Checks that `target` can be written before any work is done for it.
    pub fn create(target: &Path) -> Result<Self, FolderError> {
        let create = |source| FolderError::Create { folder: target.to_owned(), source };
        let exists = match std::fs::metadata(target) {
            Ok(metadata) if metadata.is_dir() => true,
            Ok(_) => {
                return Err(FolderError::NotAFolder { folder: target.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(create(error)),
        };
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // A folder that exists may be a mount of its own, beside which nothing can be renamed.
        let place = if exists { target } else { parent };
        if !exists {
            std::fs::create_dir_all(parent).map_err(create)?;
        }
        let staging = tempfile::Builder::new()
            .prefix(PARTIAL_PREFIX)
            // The umask takes its part, as for any folder.
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)
            .map_err(create)?;
        Ok(Self { target: target.to_owned(), staging, exists })
    }

    /// Where the outputs will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where to write the file that will be called `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    /// Writes one whole file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        std::fs::write(self.path(name), bytes)
            .map_err(|source| FolderError::Write { path: self.target.join(name), source })
    }

    /// Moves everything into place; files of the same names are replaced, others stay.
    pub fn commit(self) -> Result<PathBuf, FolderError> {
        let Self { target, staging, exists } = self;
        let moved = if exists {
            move_files(staging.path(), &target)
        } else {
            // Whoever created the target meanwhile keeps what is in it: a rename onto a filled
            // folder fails, and the files go in one by one.
            std::fs::rename(staging.path(), &target).or_else(|cause| {
                if target.is_dir() { move_files(staging.path(), &target) } else { Err(cause) }
            })
        };
        match moved {
            Ok(()) => Ok(target),
            Err(source) => Err(FolderError::Commit { folder: target, source }),
        }
    }
}

fn move_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_made_meanwhile_keeps_its_files_and_gets_ours() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let folder = OutputFolder::create(&target).unwrap();
        folder.write("report.md", b"ours").unwrap();
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("theirs"), b"theirs").unwrap();
        folder.commit().unwrap();
        assert_eq!(std::fs::read(target.join("report.md")).unwrap(), b"ours");
        assert_eq!(std::fs::read(target.join("theirs")).unwrap(), b"theirs");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
