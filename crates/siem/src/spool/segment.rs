//! Lines, segment files, and what is found of them after a crash.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing_telemetry::{EventTime, Finding};
use tracing::warn;

use super::cursor::Cursor;
use super::{End, SpoolError, SpoolSettings};
use crate::disk::{self, AppendFile};

/// Appends the line of a finding.
pub(super) fn push_line(out: &mut Vec<u8>, finding: &Finding, spooled_at: EventTime) {
    let mut text = String::new();
    write!(text, "{} {}", spooled_at.0, crate::ndjson(finding)).expect("writing to a string cannot fail");
    out.extend_from_slice(format!("{:08x} ", crc32c::crc32c(text.as_bytes())).as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Reads a line without its line break.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_line(line: &[u8]) -> Result<(EventTime, Finding), &'static str> {
    let text = intact(line).ok_or("damaged on disk")?;
    let (micros, json) = text.split_once(' ').ok_or("not a spooled finding")?;
    let spooled_at = micros.parse().map(EventTime).map_err(|_not_a_number| "not a spooled finding")?;
    let finding = serde_json::from_str(json).map_err(|_unknown_shape| "not readable by this version")?;
    Ok((spooled_at, finding))
}

/// What follows the checksum, if it agrees.
fn intact(line: &[u8]) -> Option<&str> {
    let (crc, text) = std::str::from_utf8(line).ok()?.split_at_checked(9)?;
    let crc = u32::from_str_radix(crc.strip_suffix(' ')?, 16).ok()?;
    (crc == crc32c::crc32c(text.as_bytes())).then_some(text)
}

pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.spool"))
}

/// Numbers and sizes of the segments in a folder, in order.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".spool")).map(str::parse);
        if let Some(Ok(number)) = number {
            segments.push((number, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Creates an empty segment whose first finding will have the number `first`.
pub(super) fn create(folder: &Path, first: u64) -> std::io::Result<AppendFile> {
    let segment = AppendFile::open(&path(folder, first))?;
    disk::sync_folder(folder)?;
    Ok(segment)
}

/// A spool as it was found.
pub(super) struct Recovered {
    pub(super) last: AppendFile,
    pub(super) end: End,
    pub(super) cursor: Cursor,
    pub(super) disk_bytes: u64,
}

/// Puts a folder in order after whatever ended the last process: cuts the torn tail, drops delivered
/// segments, and checks that none is missing.
pub(super) fn recover(settings: &SpoolSettings) -> Result<Recovered, SpoolError> {
    let folder = &settings.folder;
    let disk = |action| SpoolError::disk(folder, action);
    let saved = Cursor::load(folder).map_err(disk("read cursor"))?;
    let mut segments = list(folder).map_err(disk("list segments"))?;
    let oldest = segments.first().map_or(0, |(first, _)| *first);
    let mut cursor = saved.unwrap_or(Cursor { segment: oldest, offset: 0, number: oldest, dead_lettered: 0 });

    let (mut last, mut end) = match segments.last_mut() {
        Some((first, bytes)) => {
            let (last, end) = open_last(settings, *first)?;
            *bytes = last.len;
            (last, end)
        }
        None => (create_at(settings, cursor.number)?, End::empty(cursor.number)),
    };
    if segments.is_empty() {
        segments.push((end.segment, 0));
    }
    if end.number < cursor.number {
        // The disk kept the cursor but not the findings before it, all of which were delivered.
        last = create_at(settings, cursor.number)?;
        end = End::empty(cursor.number);
        segments.push((end.segment, 0));
    }
    let at_hand = segments.iter().find(|(first, bytes)| *first == cursor.segment && cursor.offset <= *bytes);
    if at_hand.is_none() {
        // A cursor at the end of a segment that is gone belongs at the start of the next one.
        if segments.iter().all(|(first, _)| *first != cursor.number) {
            return Err(SpoolError::Missing { folder: folder.clone(), number: cursor.number });
        }
        cursor = Cursor { segment: cursor.number, offset: 0, ..cursor };
    }
    let (delivered, kept): (Vec<_>, Vec<_>) =
        segments.into_iter().partition(|(first, _)| *first < cursor.segment);
    if !delivered.is_empty() {
        cursor.save(folder).map_err(disk("save cursor"))?;
        disk::sync_folder(folder).map_err(disk("sync folder"))?;
        for (first, _) in delivered {
            fs::remove_file(path(folder, first)).map_err(disk("delete segment"))?;
        }
    }
    let disk_bytes = kept.iter().map(|(_, bytes)| bytes).sum();
    Ok(Recovered { last, end, cursor, disk_bytes })
}

impl End {
    fn empty(number: u64) -> End {
        End { segment: number, offset: 0, number }
    }
}

fn create_at(settings: &SpoolSettings, first: u64) -> Result<AppendFile, SpoolError> {
    create(&settings.folder, first).map_err(SpoolError::disk(&settings.folder, "create segment"))
}

/// Opens the segment that is appended to, without the torn tail of an append that nobody was told of.
fn open_last(settings: &SpoolSettings, first: u64) -> Result<(AppendFile, End), SpoolError> {
    let folder = &settings.folder;
    let path = path(folder, first);
    let mut last = AppendFile::open(&path).map_err(SpoolError::disk(folder, "open segment"))?;
    let bytes = fs::read(&path).map_err(SpoolError::disk(folder, "read segment"))?;
    let (whole, lines) = whole_prefix(&bytes);
    if (whole as u64) < last.len {
        let torn_bytes = last.len - whole as u64;
        warn!(spool = %folder.display(), torn_bytes, "cut off an unfinished append");
        last.truncate(whole as u64).map_err(SpoolError::disk(folder, "cut torn tail"))?;
    }
    Ok((last, End { segment: first, offset: whole as u64, number: first + lines }))
}

/// Bytes and lines up to the end of the last line that is intact. A damaged line before it stays: it was
/// whole once, and the reader sets it aside.
fn whole_prefix(bytes: &[u8]) -> (usize, u64) {
    let (mut at, mut lines, mut whole) = (0, 0, (0, 0));
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        lines += 1;
        if line.strip_suffix(b"\n").and_then(intact).is_some() {
            whole = (at, lines);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::finding;

    #[test]
    fn a_line_reads_back_and_any_changed_byte_is_noticed() {
        let mut line = Vec::new();
        push_line(&mut line, &finding(), EventTime(1_772_410_107_000_001));
        let line = line.strip_suffix(b"\n").unwrap();
        assert_eq!(read_line(line), Ok((EventTime(1_772_410_107_000_001), finding())));
        for i in 0..line.len() {
            let mut changed = line.to_vec();
            changed[i] ^= 1;
            assert_eq!(read_line(&changed), Err("damaged on disk"), "byte {i}");
        }
        assert_eq!(read_line(b""), Err("damaged on disk"));
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_lines() {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for _ in 0..3 {
            push_line(&mut bytes, &finding(), EventTime(1));
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let lines = ends.iter().rposition(|end| *end <= cut).unwrap();
            assert_eq!(whole_prefix(&bytes[..cut]), (ends[lines], lines as u64), "cut at {cut}");
        }
    }
}
