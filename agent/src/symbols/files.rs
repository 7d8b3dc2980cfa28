//! Mapped files, opened once each.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use crate::capture::Frame;
use crate::proc::Mapping;

/// Files kept open. A vLLM worker maps about 200, and workers of one image share them; half of
/// the usual limit of 1024 descriptors.
const FILES_MAX: usize = 512;

/// Largest file whose debug information is read, because it costs memory and time in proportion. vLLM's
/// extension for CPUs has 214 MB, 83 of them `.debug_info`: naming 50 functions all over it takes
/// 0.5 s and 12 MB once, all of it 60 MB.
const DEBUG_INFORMATION_MAX: u64 = 256 << 20;

/// Number of an opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId(usize);

/// An opened file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) id: FileId,
    pub(super) file: File,
    /// Name as its first process maps it.
    pub(super) name: String,
    pub(super) debug_information: bool,
}

impl OpenFile {
    /// All that can be said of code here before it has a name.
    pub(super) fn place(&self, offset: u64) -> Frame {
        let function = format!("{}+0x{offset:x}", self.name);
        Frame { function, module: Some(self.name.clone()), ..Frame::default() }
    }
}

/// Every file that code was seen in.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_inode: HashMap<(u64, u64), Arc<OpenFile>>,
    refused: u64,
}

impl Files {
    /// The file behind a mapping, or `None` (counted) where it cannot be opened.
    pub(super) fn open(&mut self, pid: u32, mapping: &Mapping) -> Option<Arc<OpenFile>> {
        let opened = self.try_open(pid, mapping);
        self.refused += u64::from(opened.is_none());
        opened
    }

    fn try_open(&mut self, pid: u32, mapping: &Mapping) -> Option<Arc<OpenFile>> {
        let (file, metadata) = mapping.open(pid).ok()?;
        let key = (metadata.dev(), metadata.ino());
        if let Some(known) = self.by_inode.get(&key) {
            return Some(Arc::clone(known));
        }
        if self.by_inode.len() >= FILES_MAX {
            return None;
        }
        let opened = Arc::new(OpenFile {
            id: FileId(self.by_inode.len()),
            file,
            name: mapping.file_name().to_owned(),
            debug_information: metadata.len() <= DEBUG_INFORMATION_MAX,
        });
        self.by_inode.insert(key, Arc::clone(&opened));
        Some(opened)
    }

    /// Files that could not be opened.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}
