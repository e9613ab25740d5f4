//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to `path` so that after a crash the file holds either the old content or the new:
/// a temporary file beside it, synced, renamed over it, and the directory synced.
///
/// # Errors
/// Whatever the file system says; the old file is untouched then.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        drop(fs::remove_file(&temporary)); // Best effort: the first error is the one to tell.
        return Err(error);
    }
    fs::rename(&temporary, path)?;
    sync_directory_of(path)
}

/// Makes a rename, creation or deletion in the directory of `path` durable.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Whether an error means that there is no room now, so that trying later makes sense.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
