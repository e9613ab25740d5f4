//! Conditions, from the first call that shows them to the last.

use std::sync::Arc;
use std::time::Duration;

use lapwing_detection::Settings;
use lapwing_telemetry::{EventTime, Finding, FindingKind, FindingState, Outcome, Signal};

use crate::scenes::{DAY, HOUR, MINUTE, MONDAY, Mesh, SECOND, Shot, settings, steady};

/// Eight days of 60 calls an hour, then what `change` makes of the two hours after noon, then six more hours.
fn scene(change: impl Fn(Vec<Shot>) -> Vec<Shot>) -> Vec<Finding> {
    let noon = MONDAY + 8 * DAY + 12 * HOUR;
    let pair = ("shop/cart", "data/orders");
    let mut shots = steady(MONDAY, noon, 60, pair.0, pair.1);
    shots.extend(change(steady(noon, noon + 2 * HOUR, 60, pair.0, pair.1)));
    shots.extend(steady(noon + 2 * HOUR, noon + 8 * HOUR, 60, pair.0, pair.1));
    shots.sort_by_key(|s| s.received_at);
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&shots, 500);
    mesh.sorted(noon + 8 * HOUR)
}

/// The kinds opened, with how long after noon.
fn opened(findings: &[Finding]) -> Vec<(FindingKind, i64)> {
    let noon = MONDAY + 8 * DAY + 12 * HOUR;
    let open = findings.iter().filter(|f| f.state == FindingState::Open);
    open.map(|f| (f.kind, (f.opened_at.0 - noon) / MINUTE)).collect()
}

fn check(findings: &[Finding], kind: FindingKind, within_minutes: i64) {
    let opened = opened(findings);
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(opened[0].0, kind);
    assert!((0..=within_minutes).contains(&opened[0].1), "{opened:?}");
    let last = findings.last().expect("one was opened");
    assert_eq!((last.state, &last.id), (FindingState::Close, &findings[0].id));
    assert_eq!(
        findings.iter().map(|f| f.revision).collect::<Vec<_>>(),
        (1..=findings.len() as u32).collect::<Vec<_>>()
    );
    for f in findings {
        assert!(f.observed.is_finite() && f.expected.is_finite() && (0.0..=1.0).contains(&f.score));
        assert!(f.explanation.contains("learned over 8 days"), "{}", f.explanation);
    }
}

#[test]
fn an_ordinary_week_and_day_raise_nothing() {
    assert_eq!(scene(|shots| shots), []);
}

#[test]
fn a_burst_is_a_volume_spike() {
    let findings = scene(|shots| {
        let more = shots.iter().flat_map(|s| {
            (0..6).map(|i| Shot {
                at: s.at + i * 7 * SECOND,
                received_at: s.received_at + i * 7 * SECOND,
                ..s.clone()
            })
        });
        more.collect()
    });
    check(&findings, FindingKind::VolumeSpike, 10);
    assert!((1..=5).contains(&findings[0].exemplars.len()));
    assert_eq!(findings[0].exemplars[0].operation.as_deref(), Some("GET /things/{}"));
    assert!(findings[0].expected_high.unwrap() < findings[0].observed);
}

#[test]
fn an_outage_is_a_silence() {
    let findings = scene(|_| Vec::new());
    check(&findings, FindingKind::Silence, 30);
    assert_eq!(findings[0].observed, 0.0);
}

#[test]
fn a_thinned_stream_is_a_volume_drop() {
    check(&scene(|s| s.into_iter().step_by(10).collect()), FindingKind::VolumeDrop, 60);
}

#[test]
fn slow_calls_are_a_latency_shift() {
    let findings = scene(|s| s.into_iter().map(|s| Shot { ms: s.ms + 150, ..s }).collect());
    check(&findings, FindingKind::LatencyShift, 10);
    assert!((150.0..220.0).contains(&findings[0].observed), "{}", findings[0].observed);
    assert_eq!(findings[0].exemplars.len(), 5);
    assert!(findings[0].exemplars.iter().all(|e| e.duration_ms > Some(150)));
}

#[test]
fn failing_calls_are_an_error_shift() {
    let fail = |outcome| move |s: Vec<Shot>| s.into_iter().map(|s| Shot { outcome, ..s }).collect();
    check(&scene(fail(Outcome::ServerError)), FindingKind::ErrorShift, 10);
    check(&scene(fail(Outcome::Refused)), FindingKind::ErrorShift, 10);
    assert_eq!(scene(fail(Outcome::ClientError)), []);
}

#[test]
fn a_young_pair_that_fails_is_an_error_shift() {
    let settings = Settings { learning: Duration::from_secs(30 * 60), ..Settings::default() };
    let mut mesh = Mesh::new(&Arc::new(settings), 1);
    let (from, trouble) = (MONDAY + 20 * MINUTE, MONDAY + 100 * MINUTE);
    let mut shots = steady(from, trouble, 120, "a/b", "c/d");
    let failing = steady(trouble, trouble + 20 * MINUTE, 120, "a/b", "c/d");
    shots.extend(failing.into_iter().map(|s| Shot { outcome: Outcome::ServerError, ..s }));
    mesh.feed(&shots, 100);
    let opened: Vec<Finding> =
        mesh.sorted(trouble + HOUR).into_iter().filter(|f| f.state == FindingState::Open).collect();
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(opened[0].kind, FindingKind::ErrorShift);
    assert!(opened[0].opened_at.0 - trouble <= 11 * MINUTE);
}

/// The hour after noon, in which an update begins; `minutes` long it answers with errors.
fn update(minutes: i64) -> Vec<Finding> {
    let noon = MONDAY + 8 * DAY + 12 * HOUR;
    scene(|shots| {
        let pod = |at: i64| if at < noon + 10 * MINUTE { "cart-1" } else { "cart-2" };
        let fails = |at: i64| (10 * MINUTE..(10 + minutes) * MINUTE).contains(&(at - noon)) && at % 10 < 6;
        let outcome = |at: i64| if fails(at) { Outcome::ServerError } else { Outcome::Ok };
        shots.into_iter().map(|s| Shot { pod: pod(s.at), outcome: outcome(s.at), ..s }).collect()
    })
}

#[test]
fn errors_of_an_update_are_its_own_until_they_last() {
    assert_eq!(update(14), []);
    let findings = update(40);
    let opened = opened(&findings);
    assert_eq!((opened.len(), opened[0].0), (1, FindingKind::ErrorShift));
    assert!((25..=40).contains(&opened[0].1), "{opened:?}");
}

#[test]
fn errors_that_a_caller_passes_on_from_an_update_are_not_its_own() {
    let noon = MONDAY + 8 * DAY + 12 * HOUR;
    let fails = |at: i64| (10 * MINUTE..24 * MINUTE).contains(&(at - noon));
    let mut shots = steady(MONDAY, noon + 8 * HOUR, 60, "shop/cart", "data/orders");
    shots.iter_mut().filter(|s| s.at >= noon + 10 * MINUTE).for_each(|s| s.pod = "orders-2");
    shots.extend(steady(MONDAY, noon + 8 * HOUR, 60, "shop/web", "shop/cart"));
    shots.extend(steady(MONDAY, noon + 8 * HOUR, 60, "edge/gateway", "shop/web"));
    shots.iter_mut().filter(|s| fails(s.at)).for_each(|s| s.outcome = Outcome::ServerError);
    shots.sort_by_key(|s| s.received_at);
    for partitions in [1, 3] {
        let mut mesh = Mesh::new(&settings(), partitions);
        mesh.feed(&shots, 500);
        assert_eq!(mesh.sorted(noon + 8 * HOUR), []);
    }
}

#[test]
fn refusals_have_their_own_kinds() {
    let auth = scene(|s| {
        s.into_iter().map(|s| Shot { authn: Some("expired"), outcome: Outcome::ClientError, ..s }).collect()
    });
    check(&auth, FindingKind::AuthFailures, 10);
    let policy = scene(|s| {
        s.into_iter()
            .map(|s| Shot { authz: Some("denied:none"), outcome: Outcome::ClientError, ..s })
            .collect()
    });
    check(&policy, FindingKind::PolicyDenials, 10);
    let tls = scene(|s| {
        s.into_iter().map(|s| Shot { tls: Some("failed:expired"), outcome: Outcome::Refused, ..s }).collect()
    });
    check(&tls, FindingKind::TlsFailures, 10);
    let plain = scene(|s| s.into_iter().map(|s| Shot { tls: Some("plaintext"), ..s }).collect());
    assert_eq!(opened(&plain)[0].0, FindingKind::TlsDowngrade);
    assert_eq!(scene(|s| s.into_iter().map(|s| Shot { authz: Some("dry_run_denied"), ..s }).collect()), []);
}

#[test]
fn a_new_pair_is_reported_from_its_first_call_and_closes_by_itself() {
    let findings = scene(|mut shots| {
        shots.push(Shot::new(shots[40].at, "ops/reporting", "data/orders"));
        shots
    });
    assert_eq!(opened(&findings), [(FindingKind::CrossNamespace, 40)]);
    let end = findings.last().expect("one was opened");
    assert_eq!(end.state, FindingState::Close);
    let open_minutes = (end.closed_at.unwrap().0 - end.opened_at.0) / MINUTE;
    assert!((60..=61).contains(&open_minutes), "{open_minutes}");
}

#[test]
fn a_source_that_probes_services_is_a_scan_in_one_incident_with_its_pairs() {
    let findings = scene(|mut shots| {
        let at = shots[10].at;
        let probed = ["pay/ledger", "pay/payment", "user/accounts", "user/sessions", "ops/jobs"];
        shots.extend(probed.iter().zip(0..).map(|(to, i)| Shot {
            authz: (i % 2 == 0).then_some("denied:none"),
            ..Shot::new(at + i * 20 * SECOND, "shop/cart", to)
        }));
        shots
    });
    let scans: Vec<&Finding> = findings.iter().filter(|f| f.kind == FindingKind::Scan).collect();
    let first = scans[0];
    assert_eq!(
        (first.state, first.source.as_deref(), &first.destination),
        (FindingState::Open, Some("shop/cart"), &None)
    );
    assert!((1..=5).contains(&first.exemplars.len()));
    assert_eq!(first.origins, ["shop/cart"]);
    assert_eq!(scans.last().expect("it was opened").state, FindingState::Close);
    let opened: Vec<&Finding> = findings.iter().filter(|f| f.state == FindingState::Open).collect();
    assert_eq!(opened.len(), 6, "five pairs and the scan");
    assert!(opened.iter().all(|f| f.incident == opened[0].id));
}

#[test]
fn nothing_is_reported_while_learning() {
    let mut shots = steady(MONDAY, MONDAY + DAY - HOUR, 60, "a/b", "c/d");
    shots.push(Shot { tls: Some("failed:expired"), ..Shot::new(MONDAY + DAY - HOUR, "e/f", "c/d") });
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&shots, 100);
    assert_eq!(mesh.sorted(MONDAY + DAY), []);
}

#[test]
fn a_client_that_goes_away_for_good_is_reported_once() {
    let end = MONDAY + 8 * DAY;
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&steady(MONDAY, end, 60, "a/b", "c/d"), 1_000);
    let findings = mesh.sorted(end + 5 * DAY);
    assert_eq!(findings.iter().filter(|f| f.state == FindingState::Open).count(), 1, "{findings:?}");
    let last = findings.last().expect("one was opened");
    assert_eq!((last.kind, last.state), (FindingKind::Silence, FindingState::Close));
    assert!(last.closed_at.unwrap() <= EventTime(end + 7 * HOUR));
}

#[test]
fn a_lasting_rise_is_reported_and_then_usual() {
    let change = MONDAY + 8 * DAY;
    let mut shots = steady(MONDAY, change, 60, "a/b", "c/d");
    shots.extend(steady(change, change + 3 * DAY, 240, "a/b", "c/d"));
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&shots, 1_000);
    let findings = mesh.sorted(change + 3 * DAY);
    let kinds: Vec<_> = findings.iter().map(|f| (f.kind, f.state)).collect();
    assert_eq!(kinds.first(), Some(&(FindingKind::VolumeSpike, FindingState::Open)));
    assert_eq!(kinds.last(), Some(&(FindingKind::VolumeSpike, FindingState::Close)));
    assert!(findings.last().unwrap().closed_at.unwrap() < EventTime(change + 12 * HOUR));
    let opened: Vec<_> = findings.iter().filter(|f| f.state == FindingState::Open).collect();
    assert_eq!(opened.len(), 1, "{opened:#?}");
}

#[test]
fn both_sides_of_a_hop_are_one_call() {
    let end = MONDAY + 2 * DAY;
    let mut shots = steady(MONDAY, end, 60, "a/b", "c/d");
    let other: Vec<Shot> = shots.iter().map(|s| Shot { signal: Signal::LogClient, ..s.clone() }).collect();
    shots.extend(other);
    shots.sort_by_key(|s| s.received_at);
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&shots, 1_000);
    mesh.quiet(end + HOUR);
    let pairs = mesh.judge.pairs();
    assert_eq!((pairs[0].calls, pairs[0].signal), (48 * 60, Some(Signal::LogServer)));
    assert!((50.0..70.0).contains(&pairs[0].calls_per_hour));
    assert!((15.0..25.0).contains(&pairs[0].latency_ms_p50));
}
