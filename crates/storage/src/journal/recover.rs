//! What is found when the journal is opened.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::{JournalError, Segment};
use crate::disk::sync_directory_of;
use crate::frame::{self, Damage, HEADER_BYTES};

pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    pub(super) next: u64,
}

/// Keeps a second process out; released when the file is dropped, also by a crash.
pub(super) fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let disk = |source| JournalError::Disk { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::Disk { path, source }),
    }
}

/// Lists the segments in order and cuts a torn tail off the last one.
pub(super) fn segments(dir: &Path) -> Result<Recovered, JournalError> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |source| JournalError::Disk { path, source }
    };
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(disk(dir))? {
        let path = entry.map_err(disk(dir))?.path();
        if let Some(first) = first_of(&path) {
            let bytes = fs::metadata(&path).map_err(disk(&path))?.len();
            segments.push(Segment { path, first, bytes });
        }
    }
    segments.sort_by_key(|s| s.first);
    let Some(last) = segments.last_mut() else { return Ok(Recovered { segments, next: 0 }) };
    let content = fs::read(&last.path).map_err(disk(&last.path))?;
    let (good, mut next) = scan(&last.path, &content)?;
    next = next.max(last.first);
    if good < last.bytes {
        let file = OpenOptions::new().write(true).open(&last.path).map_err(disk(&last.path))?;
        file.set_len(good).and_then(|()| file.sync_all()).map_err(disk(&last.path))?;
        tracing::warn!(
            segment = %last.path.display(), bytes = last.bytes - good,
            "cut a torn tail off the journal; it was never acknowledged"
        );
        last.bytes = good;
    }
    Ok(Recovered { segments, next })
}

/// The file of the segment that begins with frame `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.journal"))
}

/// Deletes a segment's file.
pub(super) fn delete(segment: &Segment) -> std::io::Result<()> {
    fs::remove_file(&segment.path)?;
    sync_directory_of(&segment.path)
}

fn first_of(path: &Path) -> Option<u64> {
    (path.extension()? == "journal").then(|| path.file_stem()?.to_str()?.parse().ok())?
}

/// Length of the whole frames at the start of `content`, and the number after the last one's.
fn scan(path: &Path, content: &[u8]) -> Result<(u64, u64), JournalError> {
    let (mut at, mut next) = (0, 0);
    while at < content.len() {
        match frame::check(&content[at..]) {
            Ok(header) => {
                at += HEADER_BYTES + header.payload_bytes;
                next = header.position.offset.0 + 1;
            }
            Err(damage) if damage == Damage::Version || whole_frame_after(&content[at + 1..]) => {
                return Err(JournalError::Damaged { path: path.to_owned(), at: at as u64, damage });
            }
            Err(_) => break,
        }
    }
    Ok((at as u64, next))
}

/// A torn write is the last thing in a file; damage in the middle has whole frames after it.
fn whole_frame_after(content: &[u8]) -> bool {
    let mut from = 0;
    while let Some(found) = content[from..].windows(4).position(|w| w == b"LWF1") {
        if frame::check(&content[from + found..]).is_ok() {
            return true;
        }
        from += found + 1;
    }
    false
}
