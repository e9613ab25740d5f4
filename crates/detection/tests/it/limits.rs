//! What bounds an engine.

use std::sync::Arc;

use lapwing_detection::{Mesh as Judge, Settings, StateError};
use lapwing_telemetry::{FindingKind, FindingState, Outcome, Signal};

use crate::scenes::{DAY, HOUR, MINUTE, MONDAY, Mesh, SECOND, Shot, settings, steady};

#[test]
fn the_state_of_a_busy_pair_is_small() {
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&steady(MONDAY, MONDAY + 8 * DAY, 60, "a/b", "c/d"), 1_000);
    let from = MONDAY + 8 * DAY;
    let outcomes = [Outcome::Ok, Outcome::Ok, Outcome::Ok, Outcome::ServerError];
    let shots: Vec<Shot> = (0..30_000)
        .map(|i| Shot {
            ms: 1 + (i * i) % 3_000,
            signal: Signal::ALL[(i % 2) as usize],
            outcome: outcomes[(i % 4) as usize],
            received_at: from + i * 20_000 + 500_000,
            ..Shot::new(from + i * 20_000, "a/b", "c/d")
        })
        .collect();
    mesh.feed(&shots, 1_000);
    let open = mesh.findings.iter().filter(|f| f.state == FindingState::Open).count();
    let size = mesh.judge.save().len();
    // An open finding is a document of its own.
    assert!(size <= 4_096 + open * 1_800, "{size} bytes with {open} open findings");
}

#[test]
fn a_flood_of_names_is_bounded_and_reported() {
    let settings = Arc::new(Settings { max_pairs: 100, ..Settings::default() });
    let mut mesh = Mesh::new(&settings, 1);
    mesh.feed(&steady(MONDAY, MONDAY + 2 * DAY, 60, "a/b", "c/d"), 1_000);
    let from = MONDAY + 2 * DAY;
    let flood: Vec<Shot> =
        (0..10_000).map(|i| Shot::new(from + i * MINUTE / 10_000, &format!("x/{i}"), "c/d")).collect();
    mesh.feed(&flood, 2_000);
    mesh.quiet(from + 2 * MINUTE);
    let stats = mesh.judge.stats().clone();
    assert_eq!((stats.pairs, stats.overflowed), (100, 9_901));
    // The first window of a path between namespaces, and what comes later on it.
    let new = [FindingKind::CrossNamespace, FindingKind::NewPair]
        .map(|kind| stats.findings.get(&kind).copied().unwrap_or(0));
    assert_eq!(new.iter().sum::<u64>(), 99);
    let flooded: Vec<_> = mesh.findings.iter().filter(|f| f.kind == FindingKind::Cardinality).collect();
    assert_eq!(flooded.len(), 1);
    assert_eq!((flooded[0].source.as_deref(), flooded[0].destination.as_deref()), (Some("*"), None));
    // Names that never became familiar make room again.
    mesh.quiet(from + 3 * DAY);
    assert_eq!(mesh.judge.stats().pairs, 1);
}

#[test]
fn a_call_is_late_by_its_own_arrival_alone() {
    let mut mesh = Mesh::new(&settings(), 1);
    let at = MONDAY + 5 * SECOND;
    let shot = |after: i64| Shot { received_at: at + after, ..Shot::new(at, "a/b", "c/d") };
    // The window ends 5 s later, and is open for 10 s more.
    mesh.feed(&[shot(1), shot(15 * SECOND - 1), shot(15 * SECOND), shot(HOUR)], 4);
    let stats = mesh.judge.stats();
    assert_eq!((stats.calls, stats.late_calls), (2, 2));
}

#[test]
fn calls_without_a_pair_are_counted_apart() {
    let mut mesh = Mesh::new(&settings(), 1);
    let lost = Shot { source: None, ..Shot::new(MONDAY, "", "c/d") };
    let aimless = Shot { destination: None, ..Shot::new(MONDAY, "a/b", "") };
    mesh.feed(&[lost, aimless, Shot::new(MONDAY, "a/b", "c/d")], 3);
    assert_eq!((mesh.judge.stats().unattributed, mesh.judge.stats().calls), (2, 1));
}

#[test]
fn a_state_that_does_not_fit_is_refused_with_the_reason() {
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&steady(MONDAY, MONDAY + HOUR, 60, "a/b", "c/d"), 10);
    let saved = mesh.judge.save();
    let restore = |settings: Settings, bytes: &[u8]| Judge::restore(1, Arc::new(settings), None, bytes).err();
    assert_eq!(restore(Settings::default(), &saved), None);
    assert_eq!(restore(Settings::default(), &[9, 1, 1]), Some(StateError::Version { found: 9 }));
    assert_eq!(restore(Settings::default(), &saved[..40]), Some(StateError::Damaged { size: 40 }));
    let other = Settings { window: std::time::Duration::from_secs(20), ..Settings::default() };
    assert_eq!(restore(other, &saved), Some(StateError::Windows { window_s: 10, lateness_s: 10 }));
}

#[test]
fn features_are_collected_on_request_and_for_learned_pairs() {
    let settings = Arc::new(Settings { collect_features: true, ..Settings::default() });
    let mut mesh = Mesh::new(&settings, 1);
    mesh.feed(&steady(MONDAY, MONDAY + 2 * DAY, 60, "a/b", "c/d"), 1_000);
    mesh.quiet(MONDAY + 2 * DAY + MINUTE);
    let rows = mesh.judge.take_features();
    assert_eq!(rows.len(), 24 * 6);
    assert!(rows.iter().flat_map(|r| r.features).all(f32::is_finite));
    assert!(mesh.judge.take_features().is_empty());
}
