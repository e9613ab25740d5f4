//! Canaries go through a live pipeline: nothing of them is readable, nothing real is touched, and when redaction
//! is broken on purpose there is a finding.

use std::path::Path;
use std::time::Duration;

use lapwing_pipeline::health::CanarySnapshot;
use lapwing_pipeline::replay::{Observer, replay};
use lapwing_pipeline::settings::Settings;
use lapwing_telemetry::{CANARY_CLUSTER, EventTime, Finding, FindingKind, FindingState, Severity};

use crate::help::{BEGIN, Running, archived, eventually, findings, journalled, send, settings, shot};

const ON: &str = "redaction.canary.interval=1h";

fn snapshot(running: &Running) -> CanarySnapshot {
    running.pipeline.gauges.canary.as_ref().unwrap().borrow().clone()
}

fn checked(running: &Running, place: &str) -> u64 {
    snapshot(running).checked.get(place).copied().unwrap_or_default()
}

fn findings_of(settings: &Settings) -> Vec<Finding> {
    let file = settings.data_dir.join("findings.ndjson");
    if file.exists() { findings(&file) } else { Vec::new() }
}

/// Settings with a rule file of these lines.
fn loose(dir: &Path, rules: &str) -> Settings {
    let file = dir.join("rules.yaml");
    std::fs::write(&file, format!("version: 1\n{rules}")).unwrap();
    let rules = format!("redaction.rules=[{}]", file.display());
    settings(&dir.join("data"), &[ON, "archive.roll_interval=1s", &rules])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_pipeline_proves_itself_every_interval_and_touches_nothing_real() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &[ON, "archive.roll_interval=1s"]);
    let mut running = Running::start(&settings, true).await;
    send(&mut running.sender, &[shot(1), shot(2)]).await;
    eventually("the first canary is in the archive", || checked(&running, "archive") == 1).await;
    assert_eq!(checked(&running, "journal"), 1);
    running.hands.set(BEGIN.plus(Duration::from_secs(3_600)));
    eventually("the second one is, too", || checked(&running, "archive") == 2).await;
    let seen = snapshot(&running);
    assert_eq!((seen.sent, seen.missing, seen.leaked.len()), (2, 0, 0), "{seen:?}");
    assert!(seen.last_success > Some(BEGIN));
    let gauges = running.pipeline.gauges.clone();
    let page = gauges.text();
    assert!(page.contains("lapwing_canary_checked_total{place=\"archive\"} 2"), "{page}");
    assert!(page.contains("lapwing_receiver_accepted_calls_total{signal=\"span_client\"} 2\n"), "{page}");
    assert!(
        page.contains("lapwing_detect_calls_total 2\n") && page.contains("lapwing_baseline_pairs 1\n"),
        "{page}"
    );
    assert!(gauges.details().is_empty() && gauges.intake.borrow().redactions.is_empty());
    running.drain().await;
    assert!(findings_of(&settings).is_empty());

    // They are in the archive, redacted, and a replay of it knows of the real calls alone.
    let archive = archived(&settings.archive_dir());
    let canaries: usize = archive.iter().map(|calls| calls.canaries().len()).sum();
    assert_eq!(canaries, 4, "a span and a log each");
    let mut nobody = Nobody;
    let summary = replay(&settings, &[settings.archive_dir()], None, &mut nobody).unwrap();
    assert_eq!((summary.calls, summary.pairs.len()), (2, 1));
}

struct Nobody;

impl Observer for Nobody {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        if findings.is_empty() { Ok(()) } else { Err("there was nothing to find".into()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_switched_off_is_a_critical_finding_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = loose(dir.path(), "builtin:\n  disable: [email]\n");
    let mut running = Running::start(&settings, true).await;
    eventually("the first canary is in the archive", || checked(&running, "archive") == 1).await;
    let seen = snapshot(&running);
    assert_eq!(seen.leaking, ["archive", "journal"]);
    assert!(seen.leaked.keys().all(|(_, kind)| *kind == "email") && seen.last_success.is_none(), "{seen:?}");
    assert!(running.pipeline.gauges.details()[0].contains("archive"));
    // The rule comes back, by SIGHUP; the next canary closes the findings.
    std::fs::write(dir.path().join("rules.yaml"), "version: 1\n").unwrap();
    running.pipeline.reload();
    running.hands.set(BEGIN.plus(Duration::from_secs(3_600)));
    eventually("the second one is clean", || snapshot(&running).last_success.is_some()).await;
    eventually("nothing leaks", || snapshot(&running).leaking.is_empty()).await;
    running.drain().await;

    let found = findings_of(&settings);
    let about = |place: &str| -> Vec<(FindingState, Severity)> {
        let place = format!("lapwing/{place}");
        let of_place = found.iter().filter(|f| f.destination.as_ref() == Some(&place));
        of_place.map(|f| (f.state, f.severity)).collect()
    };
    let life = [(FindingState::Open, Severity::Critical), (FindingState::Close, Severity::Critical)];
    assert_eq!((about("journal"), about("archive")), (life.to_vec(), life.to_vec()), "{found:?}");
    assert!(found.iter().all(|f| f.kind == FindingKind::RedactionLeak && f.cluster == CANARY_CLUSTER));
    assert!(found[0].explanation.contains("(email)"), "{}", found[0].explanation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_an_allow_list_spares_and_names_that_are_never_scanned_are_found() {
    for (rules, kind) in [
        ("allow:\n  - { rule: email, suffix: .example.org }\n", "email"),
        ("never_scan: [passport_number]\n", "passport"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(&loose(dir.path(), rules), true).await;
        eventually("the canary is back", || checked(&running, "journal") == 1).await;
        let leaked: Vec<_> = snapshot(&running).leaked.into_keys().map(|(_, kind)| kind).collect();
        assert!(leaked.contains(&kind), "{rules}: {leaked:?}");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_an_operator_lets_pass_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = loose(dir.path(), "builtin:\n  disable: [username]\n");
    settings.canary.as_mut().unwrap().except = vec!["username".into()];
    let running = Running::start(&settings, true).await;
    eventually("the canary is in the archive", || checked(&running, "archive") == 1).await;
    assert!(snapshot(&running).leaked.is_empty());
    running.drain().await;
}

/// Whoever names the canaries' cluster is judged all the same, under the default one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hides_in_the_cluster_of_canaries() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &[]);
    let mut running = Running::start(&settings, false).await;
    let mut request = crate::help::request(&[shot(1)]);
    let resource = request.resource_spans[0].resource.as_mut().unwrap();
    resource.attributes.push(crate::help::text("k8s.cluster.name", CANARY_CLUSTER));
    let body = prost::Message::encode_to_vec(&request);
    running.sender.send(lapwing_otlp::Payload::Traces, &body).await.unwrap();
    running.drain().await;
    let frames = journalled(dir.path()).await;
    assert!(frames.iter().all(|calls| !calls.has_canaries()));
    assert_eq!(frames[0].columns().cluster().get(0), Some("default"));
    assert!(EventTime(frames[0].columns().received_at()[0]) >= BEGIN);
}
