use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapwing_telemetry::{AppendError, Calls, EventTime, LogEvent, LogReader, LogWriter, Offset, Partition};

use super::*;
use crate::frame::tests::{calls, position};

/// A directory that holds a file `full` runs out of space half-way through each write.
pub(super) fn run_out_of_space(dir: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if dir.join("full").exists() {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

fn settings(dir: &Path) -> JournalSettings {
    JournalSettings {
        dir: dir.to_owned(),
        disk_budget_bytes: 1 << 20,
        segment_bytes: 16 << 10,
        consumers: vec!["detect".into(), "archive".into()],
    }
}

fn group(seed: i64) -> Vec<(Partition, Calls)> {
    vec![(Partition(0), calls(seed * 100 + 1, 8)), (Partition(2), calls(seed * 100 + 51, 3))]
}

/// Reads to the end of what is there; the journal must be closed.
async fn rest(reader: &mut JournalReader) -> Vec<(u64, Calls)> {
    let mut frames = Vec::new();
    while let Some(event) = reader.next().await.unwrap() {
        if let LogEvent::Frame { position, calls } = event {
            frames.push((position.offset.0, calls));
        }
    }
    frames
}

fn last_segment(dir: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "journal"));
    paths.sort();
    paths.pop().unwrap()
}

#[tokio::test]
async fn what_is_appended_is_read_in_order_over_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = Vec::new();
    for restart in 0..3 {
        let (mut writer, _journal) = Journal::open(settings(dir.path())).unwrap();
        for i in 0..5 {
            let group = group(restart * 5 + i);
            wanted.extend(group.iter().map(|(_, calls)| calls.clone()));
            writer.append(group).await.unwrap();
        }
    }
    let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
    assert!(journal.stats().segments > 2);
    assert_eq!(journal.stats().lag_frames["detect"], 30);
    let mut reader = journal.reader("detect", None).unwrap();
    drop(writer);
    let frames = rest(&mut reader).await;
    assert_eq!(frames.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..30).collect::<Vec<u64>>());
    assert_eq!(frames.into_iter().map(|(_, calls)| calls).collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_what_becomes_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    let waiting = tokio::spawn(async move { (reader.next().await.unwrap().is_some(), reader) });
    tokio::task::yield_now().await;
    writer.append(group(1)).await.unwrap();
    let (found, mut reader) = waiting.await.unwrap();
    assert!(found);
    drop(writer);
    assert_eq!(rest(&mut reader).await.len(), 1, "then the rest, then the end");
}

#[tokio::test]
async fn a_reader_at_the_end_says_how_far_the_log_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let (_writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let clock: Clock = Arc::new(|| EventTime(60_000_000));
    let mut reader = journal.reader("detect", Some((clock, Duration::from_secs(5)))).unwrap();
    let Some(LogEvent::Quiet { up_to }) = reader.next().await.unwrap() else { panic!("not quiet") };
    assert_eq!(up_to, EventTime(55_000_000));
}

#[tokio::test]
async fn segments_go_when_every_consumer_is_past_them_and_a_full_journal_says_busy_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalSettings { disk_budget_bytes: 100 << 10, ..settings(dir.path()) };
    let (mut writer, journal) = Journal::open(small).unwrap();
    let mut appended = 0;
    let busy = loop {
        match writer.append(group(appended)).await {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, AppendError::Busy { .. }), "{busy}");
    assert!(appended > 3);
    let last = journal.stats().next - 1;
    let mut readers = ["detect", "archive"].map(|name| journal.reader(name, None).unwrap());
    readers[0].commit(&[position(last)]).await.unwrap();
    assert!(writer.append(group(0)).await.is_err(), "one consumer alone frees nothing");
    readers[1].commit(&[position(last)]).await.unwrap();
    writer.append(group(0)).await.unwrap();
    assert!(journal.stats().bytes < 50 << 10, "{:?}", journal.stats());
    let gone = journal.reader("detect", None).unwrap().resume_after(Some(Offset(0)));
    assert!(matches!(gone, Err(JournalError::Gone { .. })));
}

#[tokio::test]
async fn a_full_disk_is_busy_and_leaves_no_torn_frame() {
    let dir = tempfile::tempdir().unwrap();
    let large = JournalSettings { segment_bytes: 1 << 20, ..settings(dir.path()) };
    let (mut writer, journal) = Journal::open(large).unwrap();
    writer.append(group(1)).await.unwrap();
    fs::write(dir.path().join("full"), "").unwrap();
    let before = fs::metadata(last_segment(dir.path())).unwrap().len();
    for _ in 0..3 {
        assert!(matches!(writer.append(group(2)).await, Err(AppendError::Busy { .. })));
        assert_eq!(fs::metadata(last_segment(dir.path())).unwrap().len(), before);
    }
    fs::remove_file(dir.path().join("full")).unwrap();
    writer.append(group(3)).await.unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    drop(writer);
    assert_eq!(rest(&mut reader).await.len(), 4);
}

#[tokio::test]
async fn cut_at_any_byte_the_journal_recovers_a_prefix_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let large = JournalSettings { segment_bytes: 1 << 20, ..settings(dir.path()) };
    let (mut writer, _journal) = Journal::open(large).unwrap();
    writer.append(vec![(Partition(0), calls(1, 2))]).await.unwrap();
    writer.append(vec![(Partition(1), calls(9, 2))]).await.unwrap();
    drop(writer);
    let path = last_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let mut ends = Vec::new();
    let mut at = 0;
    while let Ok(header) = crate::frame::check(&whole[at..]) {
        at += crate::frame::HEADER_BYTES + header.payload_bytes;
        ends.push(at);
        if at == whole.len() {
            break;
        }
    }
    for cut in (0..whole.len()).step_by(101) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(path.file_name().unwrap()), &whole[..cut]).unwrap();
        let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        writer.append(vec![(Partition(0), calls(500, 1))]).await.unwrap();
        let mut reader = journal.reader("archive", None).unwrap();
        drop(writer);
        assert_eq!(rest(&mut reader).await.len(), kept + 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_told_with_its_place_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let large = JournalSettings { segment_bytes: 1 << 20, ..settings(dir.path()) };
    let (mut writer, _journal) = Journal::open(large).unwrap();
    writer.append(vec![(Partition(0), calls(1, 2))]).await.unwrap();
    writer.append(vec![(Partition(1), calls(9, 2))]).await.unwrap();
    drop(writer);
    let path = last_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Journal::open(settings(dir.path())).map(|_| ()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { at: 0, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn damage_in_an_older_segment_stops_the_reader_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    for i in 0..6 {
        writer.append(group(i)).await.unwrap();
    }
    let first = dir.path().join(format!("{:020}.journal", 0));
    let mut file = OpenOptions::new().write(true).open(first).unwrap();
    file.write_all(b"hurt").unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    let error = reader.next().await.unwrap_err();
    assert!(error.reason.contains("damaged at byte 0"), "{error}");
    drop(writer);
}

#[test]
fn two_processes_cannot_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (_writer, _journal) = Journal::open(settings(dir.path())).unwrap();
    assert!(matches!(Journal::open(settings(dir.path())), Err(JournalError::InUse { .. })));
}

#[tokio::test]
async fn a_reader_goes_on_after_what_it_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    writer.append(group(1)).await.unwrap();
    writer.append(group(2)).await.unwrap();
    journal.reader("detect", None).unwrap().commit(&[position(1)]).await.unwrap();
    drop((writer, journal));
    let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    drop(writer);
    assert_eq!(rest(&mut reader).await.iter().map(|(o, _)| *o).collect::<Vec<_>>(), [2, 3]);
    assert!(matches!(journal.reader("nobody", None), Err(JournalError::UnknownConsumer { .. })));
}

fn offsets(frames: &[(u64, Calls)]) -> Vec<u64> {
    frames.iter().map(|(offset, _)| *offset).collect()
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "journal"));
    paths.sort();
    paths
}

/// A closed journal of ten frames in five groups, each in a segment of its own.
async fn five_segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let (mut writer, _journal) =
        Journal::open(JournalSettings { segment_bytes: 1, ..settings(dir) }).unwrap();
    for i in 0..5 {
        writer.append(group(i)).await.unwrap();
    }
    drop(writer);
    segments(dir)
}

#[tokio::test]
async fn a_segment_moved_away_is_passed_over_and_its_frames_are_counted_as_missing() {
    for (moved, left) in [
        (0, vec![2, 3, 4, 5, 6, 7, 8, 9]),
        (2, vec![0, 1, 2, 3, 6, 7, 8, 9]),
        (4, vec![0, 1, 2, 3, 4, 5, 6, 7]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let paths = five_segments(dir.path()).await;
        fs::rename(&paths[moved], dir.path().join("elsewhere")).unwrap();
        let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
        let mut reader = journal.reader("detect", None).unwrap();
        if moved == 0 {
            reader.resume_after(None).unwrap(); // Nobody has committed, so nothing was deleted by us.
        }
        drop(writer);
        assert_eq!(offsets(&rest(&mut reader).await), left);
        let missing = if moved == 2 || moved == 0 { 2 } else { 0 };
        assert_eq!(journal.stats().consumers["detect"].missing_frames, missing, "moved {moved}");
    }
}

#[tokio::test]
async fn numbering_goes_on_after_saved_state_when_the_journal_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut ahead = journal.reader("detect", None).unwrap();
    ahead.resume_after(Some(Offset(41))).unwrap();
    let mut behind = journal.reader("archive", None).unwrap();
    behind.resume_after(Some(Offset(39))).unwrap();
    writer.append(group(1)).await.unwrap();
    drop(writer);
    assert_eq!(offsets(&rest(&mut ahead).await), [42, 43], "nothing new hides behind the state");
    assert_eq!(offsets(&rest(&mut behind).await), [42, 43]);
    let stats = journal.stats();
    assert_eq!(stats.consumers["detect"].missing_frames, 0);
    assert_eq!(stats.consumers["archive"].missing_frames, 2, "frames 40 and 41 were deleted unread");
    drop((ahead, behind, journal));
    let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
    drop(writer);
    assert_eq!(journal.stats().next, 44);
}

#[tokio::test]
async fn damage_anywhere_in_an_older_segment_is_told_and_never_waited_on_or_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let paths = five_segments(dir.path()).await;
    let whole = fs::read(&paths[1]).unwrap();
    for at in (0..36).chain((36..whole.len()).step_by(997)) {
        for bit in [0, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&paths[1], &bytes).unwrap();
            let (_writer, journal) = Journal::open(settings(dir.path())).unwrap();
            let mut reader = journal.reader("detect", None).unwrap();
            reader.resume_after(Some(Offset(2))).unwrap(); // The damaged frame may be one to be skipped.
            let error = reader.next().await.unwrap_err();
            assert!(error.reason.contains(paths[1].to_str().unwrap()), "{error}");
            assert!(error.reason.contains("is damaged at byte"), "flipped bit {bit} of byte {at}: {error}");
        }
    }
}

#[tokio::test]
async fn an_older_segment_that_was_cut_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let paths = five_segments(dir.path()).await;
    let whole = fs::read(&paths[1]).unwrap();
    fs::write(&paths[1], &whole[..whole.len() - 9]).unwrap();
    let (_writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    for _ in 0..3 {
        assert!(reader.next().await.unwrap().is_some());
    }
    assert!(reader.next().await.unwrap_err().reason.contains("cut short"));
}

#[tokio::test]
async fn a_power_cut_may_keep_any_part_of_the_last_group() {
    let dir = tempfile::tempdir().unwrap();
    let large = JournalSettings { segment_bytes: 1 << 20, ..settings(dir.path()) };
    let (mut writer, _journal) = Journal::open(large).unwrap();
    writer.append(group(1)).await.unwrap();
    let acknowledged = fs::metadata(last_segment(dir.path())).unwrap().len() as usize;
    writer.append(group(2)).await.unwrap();
    drop(writer);
    let path = last_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    // The second frame of the last group reached the disk, a page of the first one did not.
    bytes[acknowledged..acknowledged + 4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    drop(writer);
    assert_eq!(offsets(&rest(&mut reader).await), [0, 1]);
    drop((reader, journal));

    bytes[0..4096].fill(0); // The same in a group that had been acknowledged is damage.
    fs::write(&path, &bytes).unwrap();
    let error = Journal::open(settings(dir.path())).map(|_| ()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { at: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_consumer_that_is_new_or_returns_begins_at_the_oldest_segment() {
    let dir = tempfile::tempdir().unwrap();
    let with = |consumers: &[&str]| JournalSettings {
        segment_bytes: 1,
        consumers: consumers.iter().map(|c| (*c).to_owned()).collect(),
        ..settings(dir.path())
    };
    let (mut writer, journal) = Journal::open(with(&["detect", "archive"])).unwrap();
    writer.append(group(0)).await.unwrap();
    journal.reader("archive", None).unwrap().commit(&[position(0)]).await.unwrap();
    drop((writer, journal));

    let (mut writer, journal) = Journal::open(with(&["detect"])).unwrap();
    writer.append(group(1)).await.unwrap();
    journal.reader("detect", None).unwrap().commit(&[position(3)]).await.unwrap();
    writer.append(group(2)).await.unwrap();
    writer.append(group(3)).await.unwrap();
    assert_eq!(segments(dir.path()).len(), 2, "nothing is kept for a consumer that is switched off");
    drop((writer, journal));

    let (writer, journal) = Journal::open(with(&["detect", "archive"])).unwrap();
    let mut reader = journal.reader("archive", None).unwrap();
    reader.resume_after(Some(Offset(1))).unwrap(); // What its files hold, from before.
    drop(writer);
    assert_eq!(offsets(&rest(&mut reader).await), [4, 5, 6, 7]);
    assert_eq!(journal.stats().consumers["archive"].missing_frames, 2);
}

#[tokio::test]
async fn a_commit_that_finds_the_disk_full_still_frees_segments() {
    let dir = tempfile::tempdir().unwrap();
    let paths = five_segments(dir.path()).await;
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    for consumer in ["detect", "archive"] {
        // Writing to this device says that there is no space left.
        let temporary = dir.path().join("consumers").join(format!("{consumer}.tmp"));
        std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
        journal.reader(consumer, None).unwrap().commit(&[position(7)]).await.unwrap();
        assert!(!dir.path().join("consumers").join(consumer).exists());
    }
    writer.append(group(9)).await.unwrap();
    assert_eq!(segments(dir.path()), [paths[4].clone()], "the last one takes the new group");
    drop((writer, journal));

    let (writer, journal) = Journal::open(settings(dir.path())).unwrap();
    let mut reader = journal.reader("detect", None).unwrap();
    reader.resume_after(Some(Offset(8))).unwrap();
    drop(writer);
    assert_eq!(offsets(&rest(&mut reader).await), [9, 10, 11]);
}

#[tokio::test]
async fn a_journal_whose_one_segment_is_all_read_never_stays_busy() {
    let dir = tempfile::tempdir().unwrap();
    let tight =
        JournalSettings { disk_budget_bytes: 20 << 10, segment_bytes: 1 << 20, ..settings(dir.path()) };
    let (mut writer, journal) = Journal::open(tight).unwrap();
    for i in 0..20 {
        writer.append(group(i)).await.unwrap();
        assert!(journal.stats().bytes <= 20 << 10);
        for consumer in ["detect", "archive"] {
            let last = journal.stats().next - 1;
            journal.reader(consumer, None).unwrap().commit(&[position(last)]).await.unwrap();
        }
    }
    let large: Vec<_> = (0..4).map(|i| (Partition(i), calls(5_000, 60))).collect();
    writer.append(large.clone()).await.unwrap();
    assert!(journal.stats().bytes > 20 << 10, "larger than the budget, and alone");
    assert!(matches!(writer.append(large).await, Err(AppendError::Busy { .. })));
}

#[tokio::test]
async fn stats_tell_how_far_each_consumer_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, journal) = Journal::open(settings(dir.path())).unwrap();
    for i in 0..3 {
        writer.append(group(i)).await.unwrap();
    }
    let bytes = journal.stats().bytes;
    let unread = ConsumerStats { unread_frames: 6, unread_bytes: bytes, ..ConsumerStats::default() };
    assert_eq!(journal.stats().consumers["detect"], unread);
    let mut reader = journal.reader("detect", None).unwrap();
    reader.next().await.unwrap();
    let some = journal.stats().consumers["detect"].clone();
    assert_eq!((some.unread_frames, some.unread_since), (5, Some(EventTime(8))));
    assert!(some.unread_bytes < bytes && some.unread_bytes > bytes / 2, "{some:?} of {bytes}");
    drop(writer);
    rest(&mut reader).await;
    assert_eq!(journal.stats().consumers["detect"], ConsumerStats::default());
    assert_eq!(journal.stats().consumers["archive"], unread);
}
