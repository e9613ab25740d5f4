//! Live, from a recording and from the archive: the same findings, by id and revision.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_otlp::recording::Recording;
use lapwing_pipeline::feedback::{Feedback, append};
use lapwing_pipeline::replay::{Observer, replay};
use lapwing_pipeline::run::Pipeline;
use lapwing_pipeline::settings::Settings;
use lapwing_pipeline::warm_start::History;
use lapwing_telemetry::{EventTime, Finding, FindingState};
use prost::Message;

use crate::help::{BEGIN, Running, Shot, findings, request, settings, steady};

/// Until then every finding has been made in each run. Calls go on for longer, in every partition, because
/// a live run does not know that it is at the end.
const MINUTES: u64 = 200;
const TAIL_MINUTES: u64 = 10;

/// Keeps what is found.
#[derive(Default)]
struct Kept(Vec<Finding>);

impl Observer for Kept {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.0.extend(findings);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_runs_findings_are_those_of_replay_by_id_and_revision() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = dir.path().join("recorded.otlp");
    record(&recorded);
    let settings = settings(&dir.path().join("data"), &["detectors.learning=30m", "detectors.lateness=60s"]);
    play(&settings, &recorded, 0..u64::MAX, |_, _| {}).await;

    let live = by_revision(&findings(&settings.data_dir.join("findings.ndjson")));
    let states = |state| live.values().filter(|finding| finding.state == state).count();
    assert!(states(FindingState::Open) >= 2, "{} findings opened", states(FindingState::Open));
    assert!(states(FindingState::Close) >= 1, "{} findings closed", states(FindingState::Close));
    for input in [recorded, settings.archive_dir()] {
        let mut kept = Kept::default();
        let summary = replay(&settings, std::slice::from_ref(&input), None, &mut kept).unwrap();
        assert_eq!(summary.calls, shots().len() as u64);
        let replayed = by_revision(&kept.0);
        assert_eq!(replayed.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>());
        same(&replayed, &live);
    }
}

/// Without its state, lapwing goes on from the archive as if nothing had happened; and one that is stopped while it
/// learns has learned nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_finds_what_a_run_without_end_finds_by_id_and_revision() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = dir.path().join("recorded.otlp");
    record(&recorded);
    let sets = ["detectors.learning=30m", "detectors.lateness=60s"];
    let endless = settings(&dir.path().join("endless"), &sets);
    play(&endless, &recorded, 0..u64::MAX, |_, _| {}).await;
    let wanted = by_revision(&findings(&endless.data_dir.join("findings.ndjson")));

    let broken = settings(&dir.path().join("broken"), &sets);
    play(&broken, &recorded, 0..75, |_, _| {}).await;
    let file = broken.data_dir.join("findings.ndjson");
    let before = by_revision(&findings(&file));
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(broken.state_file()).unwrap();

    let history = History::whole(&broken).expect("there is an archive");
    assert!(history.learn(&broken, &tokio::sync::watch::channel(true).1).is_none(), "told to stop");
    assert!(!broken.state_file().exists());

    play(&broken, &recorded, 75..u64::MAX, |_, _| {}).await;
    let after = by_revision(&findings(&file));
    let opened = after.values().filter(|finding| finding.state == FindingState::Open).count();
    assert!(opened >= 1 && !before.is_empty(), "{opened} opened after, {} before", before.len());
    let cut = BEGIN.plus(Duration::from_secs(65 * 60));
    assert!(
        after.values().all(|finding| finding.revised_at() > cut),
        "what was published is not published again"
    );
    let together: BTreeMap<_, _> = before.into_iter().chain(after).collect();
    assert_eq!(together.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    same(&together, &wanted);
}

/// What somebody marks false while lapwing runs is withheld from then on, live and in a replay alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_made_on_the_way_withholds_the_same_live_and_in_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = dir.path().join("recorded.otlp");
    record(&recorded);
    let settings = settings(&dir.path().join("data"), &["detectors.learning=30m", "detectors.lateness=60s"]);
    let minute = |minute: u64| BEGIN.plus(Duration::from_secs(minute * 60)).to_string();
    let said = serde_json::json!({
        "at": minute(45), "from": minute(49), "by": "soc", "id": "lw-before", "verdict": "false", "reason": null,
        "kind": "cross_namespace", "cluster": "default", "source": "web/cron", "destination": "pay/ledger",
        "deviation": 2.0, "window_start": minute(20), "window_end": minute(21),
    });
    let said: Feedback = serde_json::from_value(said).unwrap();
    let file = settings.feedback_file();
    play(&settings, &recorded, 0..u64::MAX, |minute, pipeline| {
        if minute == 45 && !file.exists() {
            append(&file, std::slice::from_ref(&said)).unwrap();
            pipeline.reload();
        }
    })
    .await;
    let live = by_revision(&findings(&settings.findings_file()));
    let strangers: Vec<_> = live.values().filter(|f| f.source.as_deref() == Some("web/cron")).collect();
    assert!(strangers.iter().any(|f| f.destination.as_deref() == Some("shop/cart")), "{strangers:?}");
    assert!(strangers.iter().all(|f| f.destination.as_deref() != Some("pay/ledger")), "{strangers:?}");
    let mut kept = Kept::default();
    replay(&settings, &[settings.archive_dir()], None, &mut kept).unwrap();
    let replayed = by_revision(&kept.0);
    same(&replayed, &live);
}

/// Sends these minutes of the recording through the door, each request when it had arrived, and does something before
/// each. Nobody says that nothing came: on a busy
/// machine that word, by a clock that jumps, can overtake several requests.
async fn play(
    settings: &Settings,
    recorded: &Path,
    minutes: Range<u64>,
    mut before: impl FnMut(u64, &mut Pipeline),
) {
    let mut running = Running::start(settings, false).await;
    for message in Recording::open(&[PathBuf::from(recorded)]).unwrap() {
        let message = message.unwrap();
        let minute = message.arrival.since(BEGIN).as_secs() / 60;
        if minutes.contains(&minute) {
            before(minute, &mut running.pipeline);
            running.hands.set(message.arrival);
            running.sender.send(message.payload, &message.body).await.unwrap();
        }
    }
    running.drain().await;
}

/// A steady mesh in which strangers call now and then, and the stock fails for a while.
fn shots() -> Vec<Shot> {
    let mut shots = steady(1, BEGIN, MINUTES + TAIL_MINUTES);
    let during = |shot: &Shot, from, to| {
        let minute = shot.ended_at.since(BEGIN).as_secs() / 60;
        (from..to).contains(&minute)
    };
    for shot in shots.iter_mut().filter(|shot| shot.destination == "shop/stock") {
        if during(shot, 80, 100) {
            shot.status = 503;
        }
    }
    let strangers = [("web/cron", "pay/ledger"), ("web/bot", "shop/stock"), ("web/cron", "shop/cart")];
    for (i, minute) in [50, 51, 55, 58, 63, 70].into_iter().enumerate() {
        let ended_at = BEGIN.plus(Duration::from_secs(minute * 60 + 1));
        let (source, destination) = strangers[i % 3];
        shots.push(Shot { source, destination, ended_at, ..crate::help::shot(1_000_000 + i as u64) });
    }
    shots.sort_by_key(|shot| shot.ended_at);
    shots
}

/// Writes the calls as the Collector's file exporter does, thirty seconds to a request.
fn record(path: &Path) {
    let mut file = Vec::new();
    for shots in shots().chunk_by(|a, b| seconds(a) / 30 == seconds(b) / 30) {
        let body = request(shots).encode_to_vec();
        file.extend_from_slice(&(body.len() as u32).to_be_bytes());
        file.extend_from_slice(&body);
    }
    std::fs::write(path, file).unwrap();
}

fn seconds(shot: &Shot) -> i64 {
    shot.ended_at.unix_seconds()
}

/// Every word of every revision is the same; says which are not.
fn same(found: &BTreeMap<(String, u32), Finding>, wanted: &BTreeMap<(String, u32), Finding>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, wanted) in wanted {
        let [found, wanted] = [&found[key], wanted].map(|f| serde_json::to_value(f).unwrap());
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(&found[field], value, "{field} of {key:?}, {}", wanted["kind"]);
        }
    }
}

/// The findings revised before the tail, by id and revision; none may come twice.
fn by_revision(findings: &[Finding]) -> BTreeMap<(String, u32), Finding> {
    let end: EventTime = BEGIN.plus(Duration::from_secs(MINUTES * 60));
    let mut found = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.revised_at() < end) {
        let again = found.insert((finding.id.clone(), finding.revision), finding.clone());
        assert!(again.is_none(), "{} revision {} twice", finding.id, finding.revision);
    }
    found
}
