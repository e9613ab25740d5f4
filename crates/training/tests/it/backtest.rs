//! The scorer: rule by rule on small cases, and as a whole against an independent implementation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_telemetry::{EventTime, FindingState};
use lapwing_training::backtest::{GRACE, Report, Revision, load_revisions, score};
use lapwing_training::{Incident, Labels, Timeline, load_labels};
use serde::Deserialize;

fn path(below_root: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(below_root)
}

// ---- as a whole ----

/// What another program, written from the same rules in another language, says of the same findings.
#[derive(Deserialize)]
struct Expected {
    incidents: usize,
    detected: usize,
    recall: f64,
    right_kind_recall: f64,
    worst_kind_recall: f64,
    precision: f64,
    false_findings: usize,
    false_by_standing_open: usize,
    false_per_day: f64,
    hard_negatives: usize,
    hard_negatives_raised: usize,
    late: usize,
    neutral: usize,
    median_delay_min: f64,
    findings: usize,
    kinds: BTreeMap<String, ExpectedKind>,
    raised: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct ExpectedKind {
    incidents: usize,
    detected: usize,
    right_kind: usize,
    delays_min: Vec<f64>,
}

#[test]
fn an_independent_implementation_of_the_rules_gives_the_same_numbers() {
    let labels = load_labels(&path("datasets/mesh/stretched/labels.json")).unwrap();
    for name in ["a", "b", "c"] {
        let fixture = |file: String| path("crates/training/tests/fixtures").join(file);
        let revisions = load_revisions(&fixture(format!("findings-{name}.ndjson"))).unwrap();
        let expected = std::fs::read(fixture(format!("expected-{name}.json"))).unwrap();
        compare(&score(&labels, &revisions, GRACE), &serde_json::from_slice(&expected).unwrap());
    }
}

fn compare(report: &Report, expected: &Expected) {
    let counts = [
        (report.incidents, expected.incidents),
        (report.detected, expected.detected),
        (report.false_findings, expected.false_findings),
        (report.false_by_standing_open, expected.false_by_standing_open),
        (report.hard_negatives, expected.hard_negatives),
        (report.hard_negatives_raised, expected.hard_negatives_raised),
        (report.late, expected.late),
        (report.neutral, expected.neutral),
        (report.findings, expected.findings),
    ];
    for (n, (got, expected)) in counts.into_iter().enumerate() {
        assert_eq!(got, expected, "count {n}");
    }
    // The other program rounds to the digits shown.
    let shares = [
        (report.recall, expected.recall, 0.0005),
        (report.right_kind_recall, expected.right_kind_recall, 0.0005),
        (report.worst_kind_recall, expected.worst_kind_recall, 0.0005),
        (report.precision, expected.precision, 0.0005),
        (report.false_per_day, expected.false_per_day, 0.005),
        (report.median_delay_min, expected.median_delay_min, 0.05),
    ];
    for (n, (got, expected, rounding)) in shares.into_iter().enumerate() {
        let near = got.is_some_and(|got| (got - expected).abs() <= rounding + 1e-9);
        assert!(near, "share {n}: {got:?} for {expected}");
    }
    assert_eq!(report.kinds.len(), expected.kinds.len());
    for kind in &report.kinds {
        let expected = &expected.kinds[&kind.kind];
        assert_eq!(
            (kind.incidents, kind.detected, kind.right_kind),
            (expected.incidents, expected.detected, expected.right_kind)
        );
        assert_eq!(kind.delays_min.len(), expected.delays_min.len());
        for (got, expected) in kind.delays_min.iter().zip(&expected.delays_min) {
            assert!((got - expected).abs() <= 0.05 + 1e-9, "{}: {got} for {expected}", kind.kind);
        }
    }
    let sorted = |raised: &BTreeMap<String, Vec<String>>| {
        let mut raised = raised.clone();
        for kinds in raised.values_mut() {
            kinds.sort();
        }
        raised
    };
    assert_eq!(sorted(&report.raised), sorted(&expected.raised));
}

#[test]
fn both_parts_of_the_mesh_dataset_have_the_labels_their_readme_says() {
    let count = |part: &str| {
        let labels = load_labels(&path(&format!("datasets/mesh/{part}/labels.json"))).unwrap();
        let alerts = labels.incidents.iter().filter(|incident| incident.expect_alert).count();
        (
            labels.timeline.map(|t| (t.start.to_string(), t.test_days())),
            alerts,
            labels.incidents.len() - alerts,
        )
    };
    assert_eq!(count("raw"), (None, 17, 5));
    assert_eq!(count("stretched"), (Some(("2026-03-02T00:00:00.000000Z".to_owned(), 3.0)), 25, 10));
}

// ---- rule by rule ----

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// When incidents start here, a day into the test part; times in these tests are relative to it.
const TEST: i64 = 1_773_014_400_000_000;

#[test]
fn an_incident_is_detected_once_with_the_delay_of_the_first_answer() {
    let report = check(&[outage()], &[at(20, "silence"), at(12, "volume_drop"), at(14, "error_shift")]);
    assert_eq!((report.detected, report.detected_as_right_kind, report.false_findings), (1, 1, 0));
    assert_eq!(
        (report.median_delay_min, report.precision, report.recall),
        (Some(12.0), Some(1.0), Some(1.0))
    );
    assert_eq!(report.by_incident[0].findings.len(), 3);
}

#[test]
fn a_finding_of_another_kind_detects_but_is_not_the_right_kind() {
    let report = check(&[outage()], &[at(12, "error_shift")]);
    assert_eq!((report.detected, report.detected_as_right_kind), (1, 0));
    let report = check(&[outage()], &[at(12, "tls_latency")]);
    assert_eq!(
        (report.detected, report.false_findings),
        (0, 1),
        "a kind that names two families answers nothing"
    );
}

#[test]
fn a_finding_after_the_grace_is_late_if_it_fits_and_false_if_not_and_always_false_after_two_hours() {
    // The outage lasts an hour, the grace half of one.
    let cases = [
        (90, "silence", (1, 0, 0)),
        (91, "silence", (0, 1, 0)),
        (91, "error_shift", (0, 0, 1)),
        (180, "silence", (0, 1, 0)),
        (181, "silence", (0, 0, 1)),
        (-1, "silence", (0, 0, 1)),
    ];
    for (minute, kind, expected) in cases {
        let report = check(&[outage()], &[at(minute, kind)]);
        assert_eq!((report.detected, report.late, report.false_findings), expected, "{kind} at {minute} min");
    }
}

#[test]
fn a_finding_opened_before_answers_with_what_it_saw_inside() {
    let early = |kind: &str| {
        let open = at(-5, kind);
        let inside = Revision {
            state: Some(FindingState::Update),
            window_start: moment(10 * MINUTE),
            window_end: moment(20 * MINUTE),
            ..open.clone()
        };
        vec![open, inside]
    };
    let report = check(&[outage()], &early("silence"));
    assert_eq!((report.detected, report.median_delay_min), (1, Some(20.0)));
    assert_eq!(check(&[outage()], &early("error_shift")).detected, 0);
    let mut closing = early("silence");
    closing[1].state = Some(FindingState::Close);
    assert_eq!(check(&[outage()], &closing).detected, 0);
}

#[test]
fn a_finding_on_a_collateral_pair_counts_neither_for_nor_against() {
    let beside = Revision {
        source: Some("edge/gateway".into()),
        destination: Some("a/x".into()),
        ..at(12, "silence")
    };
    let elsewhere = Revision { destination: Some("a/y".into()), ..at(13, "silence") };
    let report = check(&[outage()], &[beside, elsewhere]);
    assert_eq!((report.detected, report.neutral, report.false_findings), (0, 1, 1));
}

#[test]
fn a_finding_about_a_source_alone_must_fit() {
    let alone = |kind: &str| Revision { destination: None, ..at(12, kind) };
    assert_eq!(check(&[outage()], &[alone("silence")]).detected, 1);
    assert_eq!(check(&[outage()], &[alone("error_shift")]).detected, 0);
}

#[test]
fn false_findings_of_one_cause_count_once_per_six_hours_and_per_twenty() {
    let on = |minute: i64, n: i64, incident: &str| Revision {
        id: format!("{incident}{minute}.{n}"),
        destination: Some("a/unrelated".into()),
        incident: Some(incident.to_owned()),
        ..at(minute, "error_shift")
    };
    let count = |revisions: Vec<Revision>| check(&[outage()], &revisions).false_findings;
    assert_eq!(count((0..20).map(|n| on(0, n, "one")).collect()), 1);
    assert_eq!(count((0..21).map(|n| on(0, n, "one")).collect()), 2);
    assert_eq!(count(vec![on(0, 0, "one"), on(6 * 60, 1, "one")]), 1);
    assert_eq!(count(vec![on(0, 0, "one"), on(6 * 60 + 1, 1, "one")]), 2);
    assert_eq!(count(vec![on(0, 0, "one"), on(0, 1, "two")]), 2);
}

#[test]
fn standing_open_costs_while_nothing_is_the_matter() {
    let standing = |hours: i64| {
        let open = at(12, "silence");
        let last = Revision { window_end: moment(12 * MINUTE + hours * HOUR), ..open.clone() };
        check(&[outage()], &[open, last])
    };
    // The incident ends at 1 h and excuses until 3 h; six idle hours later, at 9 h, the first is due.
    let by_hours = [8, 9, 14, 15].map(|hours| standing(hours).false_by_standing_open);
    assert_eq!(by_hours, [0, 1, 1, 2]);
    assert_eq!(standing(9).detected, 1, "what it found still counts");
}

#[test]
fn a_hard_negative_is_raised_by_a_kind_that_can_be_about_it() {
    let mut growth = outage();
    growth.expect_alert = false;
    growth.kind = "organic_growth".into();
    let mut deploy = growth.clone();
    (deploy.id, deploy.kind, deploy.end) = ("deploy".into(), "deploy".into(), moment(HOUR / 2));
    deploy.occurrences = vec![(deploy.start, deploy.end)];

    let report = check(&[growth.clone()], &[at(12, "volume_spike"), at(13, "error_shift")]);
    assert_eq!((report.hard_negatives, report.hard_negatives_raised, report.false_findings), (1, 1, 2));
    assert_eq!(report.raised["i"], ["volume_spike"]);
    let report = check(&[growth, deploy], &[at(12, "volume_spike")]);
    assert_eq!(report.raised.keys().collect::<Vec<_>>(), ["deploy"], "the shortest one");
    assert_eq!((report.recall, report.precision), (None, Some(0.0)), "there is nothing to recall");
}

#[test]
fn what_is_opened_in_the_training_days_or_after_the_end_is_not_scored() {
    let report = check(&[outage()], &[at(-2_000, "silence"), at(4 * 24 * 60, "silence"), at(5, "silence")]);
    assert_eq!((report.findings, report.detected, report.false_findings), (1, 1, 0));
}

#[test]
fn without_days_everything_is_scored_and_nothing_is_counted_by_day() {
    let labels = Labels { timeline: None, incidents: vec![outage()] };
    let report = score(&labels, &[at(-1_000, "silence"), at(5, "silence")], GRACE);
    assert_eq!((report.findings, report.detected, report.false_findings), (2, 1, 1));
    assert_eq!(report.false_per_day, None);
}

#[test]
fn a_label_without_observed_pairs_is_looked_for_wherever_its_named_services_are() {
    let find = |source: &str, destination: &str| {
        let incident = Incident {
            observed_pairs: None,
            source: source.into(),
            destination: destination.into(),
            ..outage()
        };
        score(&Labels { timeline: None, incidents: vec![incident] }, &[at(5, "silence")], GRACE).detected
    };
    let named = [("a/x", "b/y"), ("edge", "b/y"), ("a/x", "*"), ("a/other", "b/y"), ("edge", "b/other")];
    assert_eq!(named.map(|(source, destination)| find(source, destination)), [1, 1, 1, 0, 0]);
}

#[test]
fn a_certificate_with_a_wrong_name_may_be_found_on_the_pair_it_shows() {
    let mut wrong = outage();
    wrong.kind = "cert_validation_failure".into();
    wrong.presented_identity = Some("spiffe://cluster.local/ns/default/sa/default".into());
    let finding = Revision { source: Some("sa:default/default".into()), ..at(5, "tls_failures") };
    assert_eq!(check(&[wrong.clone()], std::slice::from_ref(&finding)).detected, 0);
    wrong.variant = Some("wrong_san".into());
    assert_eq!(check(&[wrong], &[finding]).detected_as_right_kind, 1);
}

#[test]
fn the_report_is_a_table_for_people_and_json_for_machines() {
    let mut growth = Incident { id: "growth".into(), expect_alert: false, ..outage() };
    growth.kind = "organic_growth".into();
    let storm = Incident { id: "storm".into(), kind: "retry_storm".into(), source: "a/z".into(), ..outage() };
    let storm = Incident { observed_pairs: Some(Vec::new()), ..storm };
    let elsewhere = Revision { id: "f".into(), destination: Some("a/y".into()), ..at(12, "error_shift") };
    let report = check(&[outage(), storm, growth], &[at(12, "silence"), at(13, "volume_spike"), elsewhere]);
    insta::assert_snapshot!(report.to_table());
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

fn check(incidents: &[Incident], revisions: &[Revision]) -> Report {
    let day = Duration::from_hours(24);
    let timeline = Timeline {
        start: moment(0).minus(8 * day),
        test_start: moment(0).minus(day),
        test_end: moment(0).plus(2 * day),
    };
    score(&Labels { timeline: Some(timeline), incidents: incidents.to_vec() }, revisions, GRACE)
}

/// An hour without calls from `a/x` to `b/y`, which `edge/gateway` to `a/x` feels.
fn outage() -> Incident {
    let (start, end) = (moment(0), moment(HOUR));
    let pair = ("a/x".to_owned(), "b/y".to_owned());
    Incident {
        id: "i".into(),
        kind: "volume_drop".into(),
        expect_alert: true,
        test: true,
        start,
        end,
        occurrences: vec![(start, end)],
        source: pair.0.clone(),
        destination: pair.1.clone(),
        description: String::new(),
        observed_pairs: Some(vec![pair]),
        collateral_pairs: vec![("edge/gateway".into(), "a/x".into())],
        variant: None,
        presented_identity: None,
    }
}

/// A finding on the outage's pair, opened at a minute on the ten before it.
fn at(minute: i64, kind: &str) -> Revision {
    Revision {
        id: format!("{kind} {minute}"),
        state: Some(FindingState::Open),
        kind: kind.to_owned(),
        source: Some("a/x".to_owned()),
        destination: Some("b/y".to_owned()),
        window_start: moment((minute - 10) * MINUTE),
        window_end: moment(minute * MINUTE),
        opened_at: moment(minute * MINUTE),
        incident: None,
    }
}

fn moment(after: i64) -> EventTime {
    EventTime(TEST + after)
}
