//! The spool on a disk: crashes, limits, damage.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use lapwing_siem::spool::{self, Waiting};
use lapwing_siem::{SpoolError, SpoolReader, SpoolSettings, SpooledSink};
use lapwing_telemetry::{Finding, FindingSink, PublishError};
use proptest::prelude::*;

use crate::{clock, numbered, revisions};

fn open(folder: &Path) -> (SpooledSink, SpoolReader) {
    open_with(&SpoolSettings::new(folder))
}

fn open_with(settings: &SpoolSettings) -> (SpooledSink, SpoolReader) {
    // A test beside this one may be starting a program (the snapshots ask cargo for the workspace), and the
    // child holds a copy of the lock until it has become that program.
    for _ in 0..10_000 {
        match spool::open("siem", settings, clock()) {
            Err(SpoolError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
    panic!("the spool stays in use")
}

async fn waiting(reader: &mut SpoolReader) -> Vec<Finding> {
    match reader.peek(usize::MAX, usize::MAX).await.unwrap() {
        Waiting::Findings(batch) => batch.findings,
        Waiting::Nothing => Vec::new(),
        Waiting::Damaged(damaged) => panic!("{}", damaged.reason),
    }
}

/// Takes up to `count` findings off the spool.
async fn take(reader: &mut SpoolReader, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match reader.peek(count - taken.len(), usize::MAX).await.unwrap() {
            Waiting::Findings(batch) => {
                reader.passed(&batch, batch.findings.len(), 0).await.unwrap();
                taken.extend(revisions(&batch.findings));
            }
            Waiting::Nothing | Waiting::Damaged(_) => break,
        }
    }
    taken
}

/// The segment files, in order.
fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "spool")).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn findings_come_back_whole_and_in_order_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (sink, mut reader) = open(folder.path());
        sink.append(&numbered(10)).await.unwrap();
        assert_eq!(take(&mut reader, 4).await, [1, 2, 3, 4]);
    }
    let (sink, mut reader) = open(folder.path());
    assert_eq!(waiting(&mut reader).await, numbered(10)[4..]);
    let stats = sink.monitor().stats();
    assert_eq!((stats.produced, stats.delivered, stats.spooled), (10, 4, 6));
    assert_eq!(stats.oldest_spooled_at, Some(clock()()));
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let second = spool::open("siem", &SpoolSettings::new(folder.path()), clock());
    assert!(matches!(second.err(), Some(SpoolError::InUse(_))));
}

#[tokio::test]
async fn a_full_spool_is_busy_until_the_target_has_taken_some() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        SpoolSettings { budget_bytes: 40_000, segment_bytes: 5_000, ..SpoolSettings::new(folder.path()) };
    let (mut sink, mut reader) = open_with(&settings);
    let findings = numbered(1_000);
    let mut taken = 0;
    let refused = loop {
        match sink.publish(&findings[taken..=taken]).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, PublishError::Busy { delivered: 0, .. }), "{refused:?}");
    let stats = sink.monitor().stats();
    assert!(stats.spool_bytes <= 40_000 && stats.spool_bytes > 38_000, "{}", stats.spool_bytes);
    let on_disk: u64 = segments(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(stats.spool_bytes, on_disk);

    let half = u32::try_from(taken / 2).unwrap();
    assert_eq!(take(&mut reader, taken / 2).await, (1..=half).collect::<Vec<_>>());
    sink.publish(&findings[taken..=taken]).await.unwrap();
    let rest = u32::try_from(taken + 1).unwrap();
    assert_eq!(take(&mut reader, usize::MAX).await, (half + 1..=rest).collect::<Vec<_>>());
    let stats = sink.monitor().stats();
    assert_eq!((stats.delivered, stats.spooled), (u64::from(rest), 0));
    assert_eq!(segments(folder.path()).len(), 1, "delivered segments are deleted");
}

#[tokio::test]
async fn an_append_larger_than_the_budget_passes_when_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        SpoolSettings { budget_bytes: 1_000, segment_bytes: 1_000, ..SpoolSettings::new(folder.path()) };
    let (sink, mut reader) = open_with(&settings);
    sink.append(&numbered(20)).await.unwrap();
    assert!(matches!(sink.append(&numbered(1)).await, Err(SpoolError::Full { .. })));
    assert_eq!(take(&mut reader, usize::MAX).await.len(), 20);
    sink.append(&numbered(20)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_line_is_shown_and_those_around_it_survive() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (sink, _reader) = open(folder.path());
        sink.append(&numbered(3)).await.unwrap();
    }
    let path = segments(folder.path()).swap_remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 100;
    bytes[second] ^= 1;
    fs::write(&path, bytes).unwrap();

    let (_sink, mut reader) = open(folder.path());
    assert_eq!(take(&mut reader, usize::MAX).await, [1]);
    let Waiting::Damaged(damaged) = reader.peek(9, 9).await.unwrap() else { panic!("not noticed") };
    assert_eq!(damaged.reason, "damaged on disk");
    reader.set_aside(&damaged).await.unwrap();
    assert_eq!(take(&mut reader, usize::MAX).await, [3]);
    let stats = reader.monitor().stats();
    assert_eq!((stats.produced, stats.delivered, stats.dead_lettered, stats.spooled), (3, 2, 1, 0));
}

#[tokio::test]
async fn a_missing_segment_is_an_error_and_not_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { segment_bytes: 1, ..SpoolSettings::new(folder.path()) };
    {
        let (sink, _reader) = open_with(&settings);
        for finding in numbered(3) {
            sink.append(&[finding]).await.unwrap();
        }
    }
    fs::write(folder.path().join("cursor.json"), r#"{"segment":0,"offset":0,"number":0,"dead_lettered":0}"#)
        .unwrap();
    fs::remove_file(segments(folder.path()).swap_remove(0)).unwrap();
    let opened = spool::open("siem", &settings, clock());
    assert!(matches!(opened.err(), Some(SpoolError::Missing { number: 0, .. })));
}

#[tokio::test]
async fn without_its_cursor_a_spool_is_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (sink, mut reader) = open(folder.path());
        sink.append(&numbered(3)).await.unwrap();
        take(&mut reader, 2).await;
    }
    fs::write(folder.path().join("cursor.json"), "").unwrap();
    let (_sink, mut reader) = open(folder.path());
    assert_eq!(take(&mut reader, usize::MAX).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_cursor_beyond_what_the_disk_kept_does_not_repeat_or_reuse_numbers() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (sink, mut reader) = open(folder.path());
        sink.append(&numbered(5)).await.unwrap();
        take(&mut reader, 5).await;
    }
    // The power went, and the disk had kept the cursor but not the segment.
    fs::write(segments(folder.path()).swap_remove(0), "").unwrap();
    let (sink, mut reader) = open(folder.path());
    assert_eq!(waiting(&mut reader).await, []);
    sink.append(&numbered(1)).await.unwrap();
    assert_eq!(take(&mut reader, usize::MAX).await, [1]);
    assert_eq!(sink.monitor().stats().produced, 6);
}

#[tokio::test]
async fn a_dropped_append_still_happens_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, mut reader) = open(folder.path());
    {
        let findings = numbered(5);
        let mut append = std::pin::pin!(sink.append(&findings));
        assert!(futures_poll(append.as_mut()).is_pending());
    }
    reader.wait().await;
    assert_eq!(waiting(&mut reader).await.len(), 5);
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Appends, takes and restarts in any order, and one crash that cuts the last segment anywhere: what was
    /// acknowledged and not taken is there, in order.
    #[test]
    fn a_spool_cut_at_any_byte_keeps_every_whole_finding(
        steps in proptest::collection::vec((1_u32..6, 0_usize..6), 1..12),
        segment_bytes in 500_u64..6_000,
        cut in 0.0_f64..1.0,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { segment_bytes, ..SpoolSettings::new(folder.path()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut next, mut expect) = (1, Vec::new());
            for (append, taking) in steps {
                let (sink, mut reader) = open_with(&settings);
                let all = numbered(next + append - 1);
                sink.append(&all[next as usize - 1..]).await.unwrap();
                expect.extend(next..next + append);
                next += append;
                for revision in take(&mut reader, taking).await {
                    assert_eq!(expect.remove(0), revision);
                }
                let stats = sink.monitor().stats();
                assert_eq!(stats.produced, stats.delivered + stats.spooled + stats.dead_lettered);
                assert_eq!(stats.spooled, expect.len() as u64);
            }
            // One more append is under way when the machine stops.
            let last = {
                let (sink, _reader) = open_with(&settings);
                let last = segments(folder.path()).pop().unwrap();
                let whole = fs::metadata(&last).unwrap().len();
                sink.append(&numbered(next)[next as usize - 1..]).await.unwrap();
                let grown = segments(folder.path()).pop().unwrap();
                (if grown == last { whole } else { 0 }, grown)
            };
            let bytes = fs::read(&last.1).unwrap();
            let tail = (bytes.len() as u64 - last.0) as f64;
            fs::write(&last.1, &bytes[..last.0 as usize + (tail * cut) as usize]).unwrap();
            let (_sink, mut reader) = open_with(&settings);
            assert_eq!(take(&mut reader, usize::MAX).await, expect);
        });
    }
}

/// Run by [`a_killed_process_loses_nothing_that_it_acknowledged`] as a process of its own; alone it does
/// nothing but show that the folder variable is unset.
#[tokio::test]
async fn appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os("LAPWING_TEST_SPOOL") else {
        return;
    };
    let settings = SpoolSettings { segment_bytes: 20_000, ..SpoolSettings::new(folder) };
    let (sink, mut reader) = open_with(&settings);
    for i in 1.. {
        sink.append(&numbered(i)[i as usize - 1..]).await.unwrap();
        if i % 7 == 0 {
            take(&mut reader, 5).await;
        }
        writeln!(std::io::stdout(), "acknowledged {i}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=3 {
        // Each round begins at revision 1 again; what counts are the numbers of the spool.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::appends_until_it_is_killed", "--nocapture"])
            .env("LAPWING_TEST_SPOOL", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        acknowledged += lines.filter(|line| line.contains("acknowledged")).take(40 * round).count() as u64;
        child.kill().unwrap();
        child.wait().unwrap();
        let (sink, mut reader) = open(folder.path());
        let stats = sink.monitor().stats();
        assert!(stats.produced >= acknowledged, "{} of {acknowledged}", stats.produced);
        assert_eq!(stats.produced, stats.delivered + stats.spooled);
        assert_eq!(take(&mut reader, usize::MAX).await.len() as u64, stats.spooled);
        acknowledged = stats.produced;
    }
}

/// Run by [`a_disk_that_is_full_in_the_middle_of_an_append_keeps_what_was_acknowledged`] as a process of its
/// own, in which no file may grow beyond a limit.
#[tokio::test]
async fn appends_until_the_disk_is_full() {
    let Some(folder) = std::env::var_os("LAPWING_TEST_FULL_DISK") else {
        return;
    };
    let (mut sink, mut reader) = open(Path::new(&folder));
    let mut acknowledged = 0;
    let busy = loop {
        let some = numbered(acknowledged + 3).split_off(acknowledged as usize);
        match sink.publish(&some).await {
            Ok(()) => acknowledged += 3,
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, PublishError::Busy { delivered: 0, .. }), "{busy:?}");
    assert!(acknowledged > 0);
    let again = sink.publish(&numbered(3)).await;
    assert!(matches!(again, Err(PublishError::Busy { .. })), "{again:?}");
    let expect: Vec<u32> = (1..=acknowledged).collect();
    assert_eq!(take(&mut reader, usize::MAX).await, expect);
    writeln!(std::io::stdout(), "held {acknowledged}").unwrap();
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_an_append_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // 24 blocks of 512 bytes; with the signal ignored, a longer write ends short and then with an error.
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 24; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "spool::appends_until_the_disk_is_full", "--nocapture"])
        .env("LAPWING_TEST_FULL_DISK", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("held "), "{text}");
    let segment = fs::metadata(segments(folder.path()).swap_remove(0)).unwrap().len();
    assert!(segment < 24 * 512, "the part that got in was taken out again: {segment}");
}
