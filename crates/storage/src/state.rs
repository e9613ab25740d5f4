//! Saved state: one file, replaced atomically, checked when it is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{is_full, write_atomically};

const MAGIC: &[u8; 8] = b"LWSTATE1";
const HEADER: usize = 12;

/// State could not be saved or loaded. *Broken*, unless the disk is full.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refused.
    #[error("state file `{}`: {source}", file.display())]
    Disk {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not saved state of this version, or has been damaged.
    #[error("state file `{}` {what}; restore it from a backup, or delete it to learn anew from the archive", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl StateError {
    /// Whether the disk is full, so that trying again later makes sense.
    pub fn is_busy(&self) -> bool {
        matches!(self, StateError::Disk { source, .. } if is_full(source))
    }
}

/// Saves `bytes` with a magic number and a CRC-32C before them.
///
/// # Errors
/// [`StateError::Disk`]; the old file is untouched then.
pub fn save(file: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut content = Vec::with_capacity(HEADER + bytes.len());
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
    content.extend_from_slice(bytes);
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| write_atomically(file, &content))
        .map_err(|source| StateError::Disk { file: file.to_owned(), source })
}

/// Loads what [`save`] saved; `None` if there is no such file.
///
/// # Errors
/// [`StateError`]: the file cannot be read, or is not what was saved.
pub fn load(file: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let mut content = match fs::read(file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Disk { file: file.to_owned(), source }),
    };
    body(file, &content)?;
    content.drain(..HEADER);
    Ok(Some(content))
}

/// What was saved, of the whole content of a file.
///
/// # Errors
/// [`StateError::Damaged`] if it is not what was saved.
pub fn body<'a>(file: &Path, content: &'a [u8]) -> Result<&'a [u8], StateError> {
    let damaged = |what| StateError::Damaged { file: file.to_owned(), what };
    if content.len() < HEADER || &content[..8] != MAGIC {
        return Err(damaged("is not lapwing's state, or of another version"));
    }
    let crc = u32::from_be_bytes([content[8], content[9], content[10], content[11]]);
    if crc32c::crc32c(&content[HEADER..]) != crc {
        return Err(damaged("has been damaged: its checksum does not match"));
    }
    Ok(&content[HEADER..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_busy_and_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("detect.state");
        save(&file, b"old").unwrap();
        // Writing to this device says that there is no space left.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("detect.state.tmp")).unwrap();
        assert!(save(&file, b"new").unwrap_err().is_busy());
        assert_eq!(load(&file).unwrap().unwrap(), b"old");
        save(&file, b"new").unwrap();
        assert_eq!(load(&file).unwrap().unwrap(), b"new");
    }

    #[test]
    fn state_comes_back_as_it_was_saved_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/er/detect.state");
        assert!(load(&file).unwrap().is_none());
        save(&file, b"one").unwrap();
        save(&file, b"two").unwrap();
        assert_eq!(load(&file).unwrap().unwrap(), b"two");
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).unwrap();
            assert!(matches!(load(&file), Err(StateError::Damaged { .. })), "flipped byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert!(load(&file).is_err(), "cut at {at}");
        }
    }
}
