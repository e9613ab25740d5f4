//! What of the archive is kept: whole hours, deleted oldest first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_telemetry::EventTime;

use crate::disk::sync_directory_of;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Age, from the end of the hour, beyond which an hour is deleted; `None` keeps by age for ever.
    pub max_age: Option<Duration>,
    /// Bytes of the whole archive beyond which the oldest hours are deleted; `None` sets no limit.
    pub max_bytes: Option<u64>,
}

/// One hour of the archive: the directory `received=YYYY-MM-DDTHH`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hour {
    /// The directory.
    pub path: PathBuf,
    /// When the hour began, by the door's clock.
    pub start: EventTime,
    /// Bytes of its files.
    pub bytes: u64,
    /// Number of its files.
    pub files: u64,
}

/// What [`apply`] did: evidence for an auditor.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct RetentionReport {
    /// Hours that were deleted, oldest first.
    pub deleted: Vec<Hour>,
    /// Hours that remain.
    pub kept_hours: u64,
    /// Bytes that remain.
    pub kept_bytes: u64,
}

/// An archive could not be listed or an hour not deleted.
#[derive(Debug, thiserror::Error)]
#[error("archive `{}`: {source}", path.display())]
pub struct RetentionError {
    /// The directory.
    pub path: PathBuf,
    /// What the file system said.
    pub source: io::Error,
}

/// The hours of `listing` (in any order) that the policy does not keep at `now`, oldest first. Never the
/// hour of `now`, which is being written.
pub fn expired(listing: &[Hour], now: EventTime, policy: &RetentionPolicy) -> Vec<Hour> {
    let mut hours: Vec<&Hour> = listing.iter().collect();
    hours.sort_by_key(|hour| hour.start);
    let mut bytes: u64 = hours.iter().map(|hour| hour.bytes).sum();
    let mut out = Vec::new();
    for hour in hours {
        let end = hour.start.plus(HOUR);
        let old = policy.max_age.is_some_and(|age| end.plus(age) <= now);
        let large = policy.max_bytes.is_some_and(|max| bytes > max);
        if end > now || !(old || large) {
            break; // Later hours are younger, and no more bytes need to go.
        }
        bytes -= hour.bytes;
        out.push(hour.clone());
    }
    out
}

/// Lists the hours of an archive; an archive that does not exist yet has none.
///
/// # Errors
/// [`RetentionError`] if a directory cannot be read.
pub fn list(archive: &Path) -> Result<Vec<Hour>, RetentionError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RetentionError { path, source }
    };
    let entries = match fs::read_dir(archive) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(archive)(error)),
    };
    let mut hours = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(archive))?.path();
        let Some(start) = path.file_name().and_then(|n| n.to_str()).and_then(hour_start) else { continue };
        if let Some((files, bytes)) = present(size_of(&path)).map_err(failed(&path))? {
            hours.push(Hour { path, start, bytes, files });
        }
    }
    hours.sort_by_key(|hour| hour.start);
    Ok(hours)
}

/// Deletes what the policy does not keep. An hour disappears for readers at once and whole, because its
/// directory gets a hidden name first; what a crash left of such a directory is deleted too.
///
/// # Errors
/// [`RetentionError`]; what was deleted until then is deleted.
pub fn apply(
    archive: &Path,
    policy: &RetentionPolicy,
    now: EventTime,
) -> Result<RetentionReport, RetentionError> {
    delete_hidden(archive)?;
    let listing = list(archive)?;
    let mut report = RetentionReport::default();
    for hour in expired(&listing, now, policy) {
        let name = hour_name(hour.start);
        let hidden = archive.join(format!("{HIDDEN}{name}"));
        present(fs::rename(&hour.path, &hidden))
            .and_then(|_| present(fs::remove_dir_all(&hidden)))
            .and_then(|_| sync_directory_of(&hour.path))
            .map_err(|source| RetentionError { path: hour.path.clone(), source })?;
        report.deleted.push(hour);
    }
    report.kept_hours = (listing.len() - report.deleted.len()) as u64;
    report.kept_bytes =
        listing.iter().map(|h| h.bytes).sum::<u64>() - report.deleted.iter().map(|h| h.bytes).sum::<u64>();
    Ok(report)
}

/// Deletes what a crash in the midst of [`apply`] left.
fn delete_hidden(archive: &Path) -> Result<(), RetentionError> {
    let failed = |source| RetentionError { path: archive.to_owned(), source };
    for entry in present(fs::read_dir(archive)).map_err(failed)?.into_iter().flatten() {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(HIDDEN.as_bytes())) {
            present(fs::remove_dir_all(&path)).map_err(|source| RetentionError { path, source })?;
        }
    }
    Ok(())
}

/// Number and bytes of the files in a directory.
fn size_of(directory: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for file in fs::read_dir(directory)? {
        if let Some(metadata) = present(file?.metadata())? {
            files += 1;
            bytes += metadata.len();
        }
    }
    Ok((files, bytes))
}

/// `None` for what somebody else has just deleted: another lapwing may apply its policy at the same time.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The directory name of the hour in which `time` lies.
pub(crate) fn hour_name(time: EventTime) -> String {
    format!("received={}", &time.to_string()[..13])
}

fn hour_start(name: &str) -> Option<EventTime> {
    EventTime::parse_rfc3339(&format!("{}:00:00Z", name.strip_prefix("received=")?))
}

const HOUR: Duration = Duration::from_secs(3_600);
const HIDDEN: &str = ".expired-";

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(h: i64, bytes: u64) -> Hour {
        let start = EventTime(h * 3_600_000_000);
        Hour { path: hour_name(start).into(), start, bytes, files: 1 }
    }

    fn check(now_h: i64, max_age_h: Option<u64>, max_bytes: Option<u64>, gone: &[i64]) {
        let listing: Vec<Hour> = [3, 1, 2, 0].iter().map(|h| hour(*h, 10)).collect();
        let policy = RetentionPolicy { max_age: max_age_h.map(|h| HOUR * h as u32), max_bytes };
        let expired = expired(&listing, EventTime(now_h * 3_600_000_000), &policy);
        assert_eq!(expired, gone.iter().map(|h| hour(*h, 10)).collect::<Vec<_>>());
    }

    #[test]
    fn whole_hours_expire_oldest_first_and_never_the_one_being_written() {
        check(4, None, None, &[]);
        check(4, Some(2), None, &[0, 1]);
        check(4, None, Some(25), &[0, 1]);
        check(4, Some(100), Some(40), &[]);
        check(3, None, Some(0), &[0, 1, 2]);
        check(100, Some(1), None, &[0, 1, 2, 3]);
    }

    #[test]
    fn the_policy_depends_on_the_given_time_alone_and_the_names_of_hours_are_read_back() {
        for time in [0, 1, 3_599_999_999, 3_600_000_000, 1_795_310_607_403_852] {
            let start = hour_start(&hour_name(EventTime(time))).unwrap();
            assert_eq!(start.0, time / 3_600_000_000 * 3_600_000_000);
        }
        for name in [
            "received=2026-11-22",
            "received=2026-11-22T25",
            "2026-11-22T01",
            ".expired-received=2026-11-22T01",
        ] {
            assert_eq!(hour_start(name), None, "{name}");
        }
    }

    #[test]
    fn applying_deletes_directories_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        for h in 0..4 {
            let path = dir.path().join(hour(h, 0).path);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("calls.parquet"), [0; 10]).unwrap();
        }
        fs::create_dir(dir.path().join("something else")).unwrap();
        let half = dir.path().join(".expired-received=1969-12-31T23");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("calls.parquet"), "left by a crash").unwrap();
        let policy = RetentionPolicy { max_age: None, max_bytes: Some(20) };
        let report = apply(dir.path(), &policy, EventTime(10 * 3_600_000_000)).unwrap();
        assert_eq!(report.deleted.iter().map(|h| h.start.0 / 3_600_000_000).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((report.kept_hours, report.kept_bytes), (2, 20));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(apply(dir.path(), &policy, EventTime(10 * 3_600_000_000)).unwrap().deleted.is_empty());
        assert!(list(&dir.path().join("nowhere")).unwrap().is_empty());
    }
}
