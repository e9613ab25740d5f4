//! What the file sinks and the spool need from a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file that grows at its end by whole blocks of bytes, each durable or not there.
#[derive(Debug)]
pub(crate) struct AppendFile {
    file: File,
    /// Length of what is known to be whole.
    pub(crate) len: u64,
}

/// Why a block did not become durable.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The disk is full; the file is as it was before.
    Full(io::Error),
    /// The file is in an unknown state.
    Broken(io::Error),
}

impl AppendFile {
    /// Opens or creates `path` for its owner and group alone: findings are not for everybody.
    pub(crate) fn open(path: &Path) -> io::Result<AppendFile> {
        let file = OpenOptions::new().append(true).read(true).create(true).mode(0o640).open(path)?;
        let len = file.metadata()?.len();
        Ok(AppendFile { file, len })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Cuts the file to its first `len` bytes.
    pub(crate) fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_data()?;
        self.len = len;
        Ok(())
    }

    /// Appends `block` and syncs it. On a full disk the part that got in is taken out again.
    pub(crate) fn append(&mut self, block: &[u8]) -> Result<(), WriteError> {
        let written = self.file.write_all(block).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.len += block.len() as u64;
                Ok(())
            }
            Err(error) if is_full(&error) => match self.truncate(self.len) {
                Ok(()) => Err(WriteError::Full(error)),
                Err(worse) => Err(WriteError::Broken(worse)),
            },
            // After a failed sync the kernel may have dropped the pages: nothing is known any more.
            Err(error) => Err(WriteError::Broken(error)),
        }
    }
}

/// Whether an error says that the disk, the quota or the size limit is reached.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Makes created, renamed and removed names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
