//! What a crash leaves on disk is enough to go on from. `conformance/crash.sh` kills a real process.

use std::time::Duration;

use lapwing_otlp::Payload;
use lapwing_otlp::sender::Sender;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::help::{Running, archived_ids, copy_as_a_crash_leaves_it, request, send, settings, shot};

/// Answers after which the disk is looked at, each counted from the one before.
const MOMENTS: [usize; 5] = [1, 37, 90, 2, 150];
/// Archive files and saved states come often, so that the moments fall between them in every way.
const OFTEN: [&str; 2] = ["archive.roll_interval=40ms", "detectors.save_interval=30ms"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_call_survives_a_crash_at_any_moment_and_is_archived_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&settings(dir.path(), &OFTEN), true).await;
    let (acknowledged, mut answers) = mpsc::channel(100_000);
    let load: Vec<_> = (1..=4)
        .map(|client| tokio::spawn(send_on(running.sender.clone(), client << 32, acknowledged.clone())))
        .collect();
    let mut known = Vec::new();
    for moment in MOMENTS {
        for _ in 0..moment {
            known.push(timeout(Duration::from_secs(40), answers.recv()).await.unwrap().unwrap());
        }
        while let Ok(id) = answers.try_recv() {
            known.push(id);
        }
        let left = tempfile::tempdir().unwrap();
        copy_as_a_crash_leaves_it(dir.path(), left.path());
        let mut again = Running::start(&settings(left.path(), &OFTEN), true).await;
        send(&mut again.sender, &[shot(7)]).await;
        again.drain().await;
        let ids = archived_ids(&left.path().join("archive"));
        let lost = known.iter().chain(&[7]).filter(|id| !ids.contains_key(id)).count();
        assert_eq!(lost, 0, "of {} acknowledged calls", known.len());
        let repeated = ids.values().filter(|&&times| times > 1).count();
        assert_eq!(repeated, 0, "of {} archived calls", ids.len());
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    running.drain().await;
}

/// Sends one call after the other, each with an id of its own, and says which were acknowledged.
async fn send_on(mut sender: Sender, first: u64, acknowledged: mpsc::Sender<u64>) {
    for id in first.. {
        if sender.send(Payload::Traces, &request(&[shot(id)]).encode_to_vec()).await.is_ok()
            && acknowledged.send(id).await.is_err()
        {
            return;
        }
    }
}
