//! The end in order, and what comes after it.

use std::collections::BTreeSet;
use std::time::Duration;

use lapwing_otlp::Payload;
use lapwing_storage::retention::list;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::help::{Running, archived_ids, files, findings, request, send, settings, shot, steady};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_under_load_archives_every_acknowledged_call_within_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &["service.shutdown_timeout=20s"]);
    let running = Running::start(&settings, false).await;
    let (acknowledged, mut answers) = mpsc::channel(100_000);
    let load: Vec<_> = (1..=4_u64)
        .map(|client| {
            let (mut sender, acknowledged) = (running.sender.clone(), acknowledged.clone());
            tokio::spawn(async move {
                // Until the door refuses.
                for id in client << 32.. {
                    let body = request(&[shot(id)]).encode_to_vec();
                    if sender.send(Payload::Traces, &body).await.is_err() {
                        return;
                    }
                    acknowledged.send(id).await.unwrap();
                }
            })
        })
        .collect();
    drop(acknowledged);
    let mut known = Vec::new();
    for _ in 0..100 {
        known.push(answers.recv().await.unwrap());
    }
    timeout(Duration::from_secs(20), running.drain()).await.unwrap();
    for client in load {
        client.await.unwrap();
    }
    while let Some(id) = answers.recv().await {
        known.push(id);
    }
    let ids = archived_ids(&settings.archive_dir());
    assert_eq!(known.iter().filter(|id| !ids.contains_key(id)).count(), 0, "of {}", known.len());
    assert!(ids.values().all(|&times| times == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_goes_on_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &[]);
    let shots = steady(1, crate::help::BEGIN, 12);
    let mut wanted = BTreeSet::new();
    for part in shots.chunks(shots.len() / 3) {
        let mut running = Running::start(&settings, false).await;
        for shots in part.chunks(10) {
            running.hands.set(shots.last().unwrap().ended_at);
            send(&mut running.sender, shots).await;
            wanted.extend(shots.iter().map(|shot| (shot.id, 1)));
        }
        running.drain().await;
        assert_eq!(archived_ids(&settings.archive_dir()).into_iter().collect::<BTreeSet<_>>(), wanted);
    }
    // The log's numbers go on as well: the files name their first and last, and no two overlap.
    let mut after = None;
    let archive = files(&settings.archive_dir());
    for file in archive.iter().filter(|file| file.extension().is_some_and(|e| e == "parquet")) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let numbers: Vec<u64> = name.split('-').skip(1).map(|n| n.parse().unwrap()).collect();
        assert_eq!(after.map_or(0, |last| last + 1), numbers[0], "{name}");
        after = Some(numbers[1]);
    }
    assert_eq!(list(&settings.archive_dir()).unwrap().len(), 1, "all in one hour");
    let found = findings(&dir.path().join("findings.ndjson"));
    let distinct: BTreeSet<_> = found.iter().map(|f| (f.id.clone(), f.revision)).collect();
    assert_eq!(distinct.len(), found.len(), "no revision twice");
}
