//! A client's answer is the truth: durable, wrong for ever, or "not now".

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_otlp::Payload;
use lapwing_otlp::sender::SendError;
use prost::Message;
use tokio::time::{interval, timeout};
use tonic::Code;
use tonic_types::StatusExt;

use crate::help::{
    Running, Shot, copy_as_a_crash_leaves_it, count_ids, journalled, post, request, send, settings, shot,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_answered_only_after_its_calls_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(&settings(dir.path(), &[]), false).await;
    for round in 0..8 {
        let shots: Vec<Shot> = (0..5).map(|i| shot(1 + round * 5 + i)).collect();
        send(&mut running.sender, &shots).await;
        let left = tempfile::tempdir().unwrap();
        copy_as_a_crash_leaves_it(dir.path(), left.path());
        let mut ids = BTreeMap::new();
        journalled(left.path()).await.iter().for_each(|calls| count_ids(calls, &mut ids));
        let expected: Vec<(u64, usize)> = (1..=(round + 1) * 5).map(|id| (id, 1)).collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), expected);
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_alone_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    // Gathered long enough that good and bad requests come into one group.
    let running = Running::start(&settings(dir.path(), &["log.gather=100ms"]), false).await;
    let good = |id| {
        let mut sender = running.sender.clone();
        async move { send(&mut sender, &[shot(id)]).await }
    };
    let mut cut = request(&[shot(99)]).encode_to_vec();
    cut.truncate(cut.len() - 3);
    let bad = post(running.pipeline.http_address(), "/v1/traces", &cut);
    let ((), (status, answer), ()) = tokio::join!(good(1), bad, good(2));
    assert_eq!(status, 400, "{answer}");
    assert!(!answer.to_lowercase().contains("retry-after"), "{answer}");
    assert_eq!(running.pipeline.gauges.intake.borrow().decode.requests_malformed, 1);
    running.drain().await;
    let mut ids = BTreeMap::new();
    journalled(dir.path()).await.iter().for_each(|calls| count_ids(calls, &mut ids));
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1)]);
}

/// The readers let go of a full journal by themselves, though no call comes that could wake them.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_means_retry_and_once_the_readers_are_past_it_calls_are_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let sets = [
        "log.disk_budget=1MiB",
        "log.segment_size=64KiB",
        "archive.roll_interval=3s",
        "detectors.save_interval=3s",
        "receivers.otlp.limits.retry_after=3250ms",
    ];
    let mut running = Running::start(&settings(dir.path(), &sets), true).await;
    let note = "abcdefgh ".repeat(1_500);
    let mut next = 1;
    let mut big = move || {
        let shots: Vec<Shot> =
            (next..next + 10).map(|id| Shot { note: format!("{id} {note}"), ..shot(id) }).collect();
        next += 10;
        request(&shots).encode_to_vec()
    };
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < 2_000, "the journal never became full");
        match running.sender.send(Payload::Traces, &big()).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    let SendError::Refused(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(retry, Some(Duration::from_millis(3_250)));
    let stats = running.pipeline.gauges.journal.stats();
    assert!(stats.bytes <= stats.disk_budget_bytes, "{stats:?}");

    // A client that tries again, as it was told, though with less patience.
    let mut tries = interval(Duration::from_millis(50));
    let body = big();
    let again = async {
        while running.sender.send(Payload::Traces, &body).await.is_err() {
            tries.tick().await;
        }
    };
    assert!(timeout(Duration::from_secs(40), again).await.is_ok(), "the journal stayed full");
    let archive = running.pipeline.gauges.archive.clone().unwrap();
    running.drain().await;
    assert_eq!(archive.borrow().rows, (accepted + 1) * 10);
}
