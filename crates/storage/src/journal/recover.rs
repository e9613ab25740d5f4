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
            segments.push(Segment { path, first, next: first, bytes });
        }
    }
    segments.sort_by_key(|s| s.first);
    // Which numbers an older segment really holds, its reader finds out.
    for i in 1..segments.len() {
        segments[i - 1].next = segments[i].first;
    }
    let Some(last) = segments.last_mut() else { return Ok(Recovered { segments, next: 0 }) };
    let content = fs::read(&last.path).map_err(disk(&last.path))?;
    let (good, next) = scan(last, &content)?;
    if good < last.bytes {
        let file = OpenOptions::new().write(true).open(&last.path).map_err(disk(&last.path))?;
        file.set_len(good).and_then(|()| file.sync_all()).map_err(disk(&last.path))?;
        tracing::warn!(
            segment = %last.path.display(), bytes = last.bytes - good,
            "cut a torn tail off the journal; it was never acknowledged"
        );
        last.bytes = good;
    }
    last.next = next;
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

/// Length of the whole frames at the start of a segment, and the number after the last one's.
fn scan(segment: &Segment, content: &[u8]) -> Result<(u64, u64), JournalError> {
    let (mut at, mut next) = (0, segment.first);
    while at < content.len() {
        let damage = match frame::check(&content[at..]) {
            Ok(header) if header.position.offset.0 == next => {
                at += HEADER_BYTES + header.payload_bytes;
                next += 1;
                continue;
            }
            Ok(_) => Damage::OutOfOrder,
            Err(damage) => damage,
        };
        let certain = matches!(damage, Damage::Version | Damage::OutOfOrder);
        if certain || later_group_follows(&content[at + 1..], next) {
            return Err(JournalError::Damaged { path: segment.path.clone(), at: at as u64, damage });
        }
        break;
    }
    Ok((at as u64, next))
}

/// Whether a frame follows that was written after frame `damaged` had been synced. Frames of its own group
/// prove nothing: after a power cut the disk may hold any part of what was not synced.
fn later_group_follows(content: &[u8], damaged: u64) -> bool {
    let mut from = 0;
    while let Some(found) = content[from..].windows(4).position(|w| w == frame::MAGIC) {
        let frame = &content[from + found..];
        let begins_later =
            |h: frame::Header| h.position.offset.0.saturating_sub(u64::from(h.place)) > damaged;
        if frame::header(frame).is_ok_and(begins_later) && frame::check(frame).is_ok() {
            return true;
        }
        from += found + 1;
    }
    false
}
