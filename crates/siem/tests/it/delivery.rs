//! Delivery to targets that are away, slow, full or hostile. Time is paused: pauses cost nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lapwing_siem::{
    DeliveryError, DeliverySettings, SinkState, SpoolReader, SpoolSettings, SpooledSink, deliver, spool,
};
use lapwing_telemetry::{Fate, Fates, Finding, FindingSink, PublishError, Publishing};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{clock, numbered, revisions};

/// What a target does with a publication.
#[derive(Clone, Debug)]
enum Mood {
    Takes,
    Fails(PublishError),
    /// Takes what has an even revision, rejects the rest.
    TakesEven,
    NeverAnswers,
    /// Takes one of three, is busy for another, rejects the third.
    OneByOne,
}

struct Target {
    mood: watch::Receiver<Mood>,
    got: mpsc::Sender<u32>,
    /// Whether it answers for each finding by itself.
    distinct: bool,
    /// How many findings came with the latest publication.
    largest: watch::Sender<usize>,
}

impl FindingSink for Target {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait says so")]
    fn name(&self) -> &str {
        "target"
    }

    fn answers_one_by_one(&self) -> bool {
        self.distinct
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        if self.distinct {
            let mut ids: Vec<&str> = findings.iter().map(|finding| finding.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), findings.len(), "two revisions of a finding at once");
        }
        self.largest.send_modify(|largest| *largest = findings.len());
        Box::pin(async move {
            let mood = self.mood.borrow().clone();
            let (taken, answer) = match mood {
                Mood::Takes => (revisions(findings), Ok(())),
                Mood::Fails(error) => match &error {
                    PublishError::Busy { delivered, .. } | PublishError::Refused { delivered, .. } => {
                        (revisions(&findings[..*delivered]), Err(error))
                    }
                    _ => (Vec::new(), Err(error)),
                },
                Mood::TakesEven => {
                    let (even, odd): (Vec<_>, Vec<_>) =
                        (0..findings.len()).partition(|i| findings[*i].revision.is_multiple_of(2));
                    let reason = "odd".to_owned();
                    let taken = even.iter().map(|i| findings[*i].revision).collect();
                    (taken, Err(PublishError::Rejected { reason, which: odd }))
                }
                Mood::NeverAnswers => std::future::pending().await,
                Mood::OneByOne => {
                    let fate = |i: usize| match i % 3 {
                        0 => Fate::Busy,
                        1 => Fate::Taken,
                        _ => Fate::Rejected(format!("number {}", findings[i].revision)),
                    };
                    let each: Vec<Fate> = (0..findings.len()).map(fate).collect();
                    let taken = (0..findings.len()).filter(|i| each[*i] == Fate::Taken);
                    let taken = taken.map(|i| findings[i].revision).collect();
                    (taken, Fates { each, reason: "full".to_owned(), retry_after: None }.result())
                }
            };
            for revision in taken {
                self.got.send(revision).await.unwrap();
            }
            answer
        })
    }
}

/// A delivery under way.
struct Rig {
    sink: SpooledSink,
    mood: watch::Sender<Mood>,
    got: mpsc::Receiver<u32>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), DeliveryError>>,
    /// How many findings the latest publication had.
    largest: watch::Receiver<usize>,
}

impl Rig {
    fn start(folder: &Path, mood: Mood) -> Rig {
        Rig::start_with(&SpoolSettings::new(folder), DeliverySettings::default(), mood)
    }

    fn start_with(spool: &SpoolSettings, delivery: DeliverySettings, mood: Mood) -> Rig {
        let distinct = matches!(mood, Mood::OneByOne);
        let (sink, reader): (SpooledSink, SpoolReader) = spool::open("target", spool, clock()).unwrap();
        let (mood, watched) = watch::channel(mood);
        let (taken, got) = mpsc::channel(100_000);
        let (stop, stopped) = oneshot::channel::<()>();
        let (sized, largest) = watch::channel(0);
        let target = Box::new(Target { mood: watched, got: taken, distinct, largest: sized });
        let shutdown = async move {
            let _asked_or_dropped = stopped.await;
        };
        let task = tokio::spawn(deliver(reader, target, delivery, shutdown));
        Rig { sink, mood, got, stop: Some(stop), task, largest }
    }

    fn busy(delivered: usize) -> Mood {
        Mood::Fails(PublishError::Busy { reason: "away".to_owned(), delivered })
    }

    async fn got(&mut self, count: usize) -> Vec<u32> {
        let mut got = Vec::new();
        while got.len() < count {
            got.push(self.got.recv().await.unwrap());
        }
        got
    }

    /// Waits until the delivery is in `state`; the waiting is paused time.
    async fn until(&self, what: impl Fn(lapwing_siem::SinkStats) -> bool) {
        let monitor = self.sink.monitor();
        let reached = async {
            while !what(monitor.stats()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_hours(1), reached).await.unwrap();
        let stats = monitor.stats();
        assert_eq!(stats.produced, stats.delivered + stats.spooled + stats.dead_lettered);
    }

    async fn stop(&mut self) -> Result<(), DeliveryError> {
        self.stop.take();
        (&mut self.task).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_delays_no_other_and_gets_everything_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SpoolSettings::new(folder.path().join("dead"));
    let delivery = DeliverySettings { batch_findings: 16, ..DeliverySettings::default() };
    let mut dead = Rig::start_with(&spool, delivery, Rig::busy(0));
    let mut alive = Rig::start(&folder.path().join("alive"), Mood::Takes);
    let findings = numbered(1_000);
    for some in findings.chunks(50) {
        dead.sink.append(some).await.unwrap();
        alive.sink.append(some).await.unwrap();
    }
    assert_eq!(alive.got(1_000).await, revisions(&findings));
    tokio::time::sleep(Duration::from_hours(8)).await;
    let stats = dead.sink.monitor().stats();
    assert_eq!((stats.spooled, stats.delivered, stats.state), (1_000, 0, SinkState::Retrying));
    assert!((900..2_000).contains(&stats.retries), "every 15 to 30 s for a night: {}", stats.retries);

    dead.mood.send_replace(Mood::Takes);
    assert_eq!(dead.got(1_000).await, revisions(&findings), "once and in order");
    dead.until(|stats| stats.spooled == 0 && stats.state == SinkState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_delivered_before_a_restart_is_delivered_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = Rig::start(folder.path(), Mood::Takes);
    before.sink.append(&numbered(3)).await.unwrap();
    assert_eq!(before.got(3).await, [1, 2, 3]);
    before.until(|stats| stats.spooled == 0).await;
    before.mood.send_replace(Rig::busy(0));
    before.sink.append(&numbered(9)[3..]).await.unwrap();
    before.until(|stats| stats.retries > 3).await;
    before.stop().await.unwrap();
    drop(before);

    let mut after = Rig::start(folder.path(), Mood::Takes);
    assert_eq!(after.got(6).await, [4, 5, 6, 7, 8, 9]);
    after.until(|stats| stats.delivered == 9).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_takes_part_of_a_batch_is_not_given_that_part_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Rig::busy(2));
    rig.sink.append(&numbered(5)).await.unwrap();
    rig.until(|stats| stats.delivered == 2).await;
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_a_target_rejects_goes_to_the_dead_letter_file_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Mood::TakesEven);
    rig.sink.append(&numbered(5)).await.unwrap();
    assert_eq!(rig.got(2).await, [2, 4]);
    rig.until(|stats| (stats.delivered, stats.dead_lettered, stats.spooled) == (2, 3, 0)).await;
    let letters = fs::read_to_string(folder.path().join("dead-letter.ndjson")).unwrap();
    let letters: Vec<serde_json::Value> = letters.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let buried: Vec<_> =
        letters.iter().map(|letter| letter["finding"]["revision"].as_u64().unwrap()).collect();
    assert_eq!(buried, [1, 3, 5]);
    assert_eq!(letters[0]["reason"], "odd");
}

#[tokio::test(start_paused = true)]
async fn a_full_dead_letter_file_stops_delivery_until_it_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SpoolSettings { dead_letter_bytes: 1, ..SpoolSettings::new(folder.path()) };
    let delivery = DeliverySettings { batch_findings: 1, ..DeliverySettings::default() };
    let rig = Rig::start_with(&spool, delivery, Mood::TakesEven);
    rig.sink.append(&numbered(3)).await.unwrap();
    rig.until(|stats| stats.state == SinkState::Refused && stats.dead_lettered == 1).await;
    assert_eq!(rig.sink.monitor().stats().spooled, 1);
    fs::rename(folder.path().join("dead-letter.ndjson"), folder.path().join("moved")).unwrap();
    rig.until(|stats| stats.dead_lettered == 2 && stats.state == SinkState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_us_is_asked_seldom_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let refused = PublishError::Refused { reason: "password".to_owned(), delivered: 0 };
    let mut rig = Rig::start(folder.path(), Mood::Fails(refused));
    rig.sink.append(&numbered(5)).await.unwrap();
    tokio::time::sleep(Duration::from_hours(1)).await;
    let stats = rig.sink.monitor().stats();
    assert_eq!((stats.state, stats.spooled), (SinkState::Refused, 5));
    assert!((59..=121).contains(&stats.retries), "every 30 to 60 s for an hour: {}", stats.retries);
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_never_answers_counts_as_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Mood::NeverAnswers);
    rig.sink.append(&numbered(2)).await.unwrap();
    rig.until(|stats| stats.state == SinkState::Retrying).await;
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(2).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_what_can_be_delivered_and_leaves_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(&folder.path().join("alive"), Mood::Takes);
    rig.sink.append(&numbered(2_000)).await.unwrap();
    rig.stop().await.unwrap();
    assert_eq!(rig.sink.monitor().stats().spooled, 0);
    assert_eq!(rig.sink.monitor().stats().state, SinkState::Stopped);

    let mut rig = Rig::start(&folder.path().join("dead"), Rig::busy(0));
    rig.sink.append(&numbered(2_000)).await.unwrap();
    rig.until(|stats| stats.retries > 20).await;
    timeout(Duration::from_millis(10), rig.stop()).await.unwrap().unwrap();
    assert_eq!(rig.sink.monitor().stats().spooled, 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_work_ends_its_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig =
        Rig::start(folder.path(), Mood::Fails(PublishError::Broken { reason: "no output".to_owned() }));
    rig.sink.append(&numbered(1)).await.unwrap();
    let ended = (&mut rig.task).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "sink `target`: no output");
    assert_eq!(rig.sink.monitor().stats().spooled, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_busy_is_published_again_and_what_is_taken_or_rejected_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Mood::OneByOne);
    let findings: Vec<Finding> =
        numbered(6).into_iter().map(|f| Finding { id: format!("lw-{}", f.revision), ..f }).collect();
    rig.sink.append(&findings).await.unwrap();
    // Busy for 1 and 4, then busy for 1 and takes 4, then busy for 1 alone.
    assert_eq!(rig.got(3).await, [2, 5, 4]);
    rig.until(|stats| stats.retries > 3).await;
    let stats = rig.sink.monitor().stats();
    assert_eq!(
        (stats.spooled, stats.delivered, stats.dead_lettered),
        (6, 0, 0),
        "the first holds the cursor"
    );
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(1).await, [1]);
    rig.until(|stats| (stats.delivered, stats.dead_lettered, stats.spooled) == (4, 2, 0)).await;
    let letters = fs::read_to_string(folder.path().join("dead-letter.ndjson")).unwrap();
    let reasons: Vec<String> = letters
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"].to_string())
        .collect();
    assert_eq!(reasons, ["\"number 3\"", "\"number 6\""]);
}

#[tokio::test(start_paused = true)]
async fn revisions_of_one_finding_follow_each_other_where_the_target_answers_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Mood::OneByOne);
    rig.mood.send_replace(Mood::Takes);
    rig.sink.append(&numbered(4)).await.unwrap();
    assert_eq!(rig.got(4).await, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_asked_with_one_finding_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Rig::busy(0));
    rig.sink.append(&numbered(100)).await.unwrap();
    rig.until(|stats| stats.retries == 3).await;
    assert_eq!(*rig.largest.borrow(), 100);
    assert!(!rig.sink.monitor().stats().circuit_open);
    rig.until(|stats| stats.retries > 6).await;
    assert_eq!(*rig.largest.borrow(), 1);
    assert!(rig.sink.monitor().stats().circuit_open);
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(100).await, (1..=100).collect::<Vec<_>>());
    rig.until(|stats| stats.spooled == 0 && !stats.circuit_open).await;
    assert_eq!(*rig.largest.borrow(), 99);
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_refusal_goes_with_the_next_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let refused = PublishError::Refused { reason: "set up wrongly".to_owned(), delivered: 0 };
    let mut rig = Rig::start(folder.path(), Mood::Fails(refused));
    rig.sink.append(&numbered(1)).await.unwrap();
    rig.until(|stats| stats.retries > 8).await;
    rig.sink.append(&numbered(10)[1..]).await.unwrap();
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(10).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(*rig.largest.borrow(), 10);
    assert!(!rig.sink.monitor().stats().circuit_open);
}

#[tokio::test(start_paused = true)]
async fn a_target_is_left_alone_for_as_long_as_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let fates = Fates { retry_after: Some(Duration::from_secs(25)), ..Fates::undecided(1) };
    let mut rig = Rig::start(folder.path(), Mood::Fails(PublishError::OneByOne(fates)));
    rig.sink.append(&numbered(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(101)).await;
    assert_eq!(rig.sink.monitor().stats().retries, 5, "at 0, 25, 50, 75 and 100 s");
    rig.mood.send_replace(Mood::Takes);
    assert_eq!(rig.got(1).await, [1]);
}
