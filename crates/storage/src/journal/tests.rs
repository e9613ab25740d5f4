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
    file.write_all(b"XXXX").unwrap();
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
