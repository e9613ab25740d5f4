//! The findings topic on librdkafka's own mock brokers. They do not prove what only a real broker can:
//! replication, TLS, credentials and topic limits; `conformance/kafka.sh` is for those.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

use std::time::Duration;

use lapwing_kafka::{Encoding, FindingsTopic, FindingsTopicSettings, KafkaError, Tls};
use lapwing_telemetry::{Finding, FindingSink, PublishError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const TOPIC: &str = "mesh.findings";
const PARTITIONS: i32 = 4;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

/// Settings whose waiting is short.
fn settings(cluster: &Cluster) -> FindingsTopicSettings {
    FindingsTopicSettings {
        delivery_timeout: Duration::from_millis(1_500),
        metadata_timeout: Duration::from_millis(1_500),
        reconnect_pause: Duration::from_millis(50),
        ..FindingsTopicSettings::new("kafka", vec![cluster.bootstrap_servers()], TOPIC)
    }
}

async fn connect(cluster: &Cluster) -> FindingsTopic {
    FindingsTopic::connect(settings(cluster), Encoding::native()).await.unwrap()
}

fn finding(id: &str, revision: u32) -> Finding {
    let sample: Finding = serde_json::from_str(include_str!("../finding.json")).unwrap();
    Finding { id: id.to_owned(), revision, ..sample }
}

/// `count` findings that all differ.
fn distinct(count: u32) -> Vec<Finding> {
    (0..count).map(|i| finding(&format!("lw-{i:04}"), 1)).collect()
}

/// What a record says: key, revision, header names and values, partition.
struct Seen {
    key: String,
    revision: u32,
    headers: Vec<(String, String)>,
    partition: i32,
}

impl Seen {
    fn of(record: &BorrowedMessage<'_>) -> Seen {
        let value: Finding = serde_json::from_slice(record.payload().unwrap()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = record.headers().unwrap().iter();
        Seen {
            key: text(record.key().unwrap()),
            revision: value.revision,
            headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap()))).collect(),
            partition: record.partition(),
        }
    }
}

/// Reads the topic from its start until `count` records have come.
fn read(cluster: &Cluster, count: usize) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut seen = Vec::new();
    while seen.len() < count {
        match consumer.poll(Duration::from_secs(20)) {
            Some(record) => seen.push(Seen::of(&record.unwrap())),
            None => panic!("{} of {count} records came", seen.len()),
        }
    }
    seen
}

/// How many records the topic holds.
fn stored(cluster: &Cluster) -> i64 {
    let servers = cluster.bootstrap_servers();
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let high = |partition| consumer.fetch_watermarks(TOPIC, partition, Duration::from_secs(20)).unwrap().1;
    (0..PARTITIONS).map(high).sum()
}

#[tokio::test]
async fn findings_arrive_keyed_and_with_their_headers() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    topic.publish(&distinct(300)).await.unwrap();
    let mut seen = read(&cluster, 300);
    assert_eq!(stored(&cluster), 300);
    seen.sort_by(|a, b| a.key.cmp(&b.key));
    for (seen, finding) in seen.iter().zip(distinct(300)) {
        assert_eq!(seen.key, finding.id);
        let id = seen.headers.iter().find(|(name, _)| name == "ce_id");
        assert_eq!(id.unwrap().1, finding.event_id());
    }
    let used: std::collections::BTreeSet<_> = seen.iter().map(|seen| seen.partition).collect();
    assert_eq!(used.len(), 4, "keys spread over all partitions");
}

#[tokio::test]
async fn the_revisions_of_a_finding_lie_in_one_partition_in_order() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    let findings: Vec<Finding> =
        (1..=20).flat_map(|revision| ["lw-a", "lw-b", "lw-c"].map(|id| finding(id, revision))).collect();
    topic.publish(&findings).await.unwrap();
    let seen = read(&cluster, 60);
    for id in ["lw-a", "lw-b", "lw-c"] {
        let own: Vec<&Seen> = seen.iter().filter(|seen| seen.key == id).collect();
        assert!(own.iter().all(|seen| seen.partition == own[0].partition));
        assert_eq!(own.iter().map(|seen| seen.revision).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_busy_and_takes_everything_when_it_is_back() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    topic.publish(&distinct(2)).await.unwrap();
    cluster.broker_down(1).unwrap();
    for attempt in 0..2 {
        let error = topic.publish(&distinct(5)).await.unwrap_err();
        assert!(matches!(error, PublishError::Busy { delivered: 0, .. }), "attempt {attempt}: {error:?}");
    }
    cluster.broker_up(1).unwrap();
    let mut tries = 0;
    while let Err(error) = topic.publish(&distinct(5)).await {
        tries += 1;
        assert!(tries < 10 && matches!(error, PublishError::Busy { .. }), "{error:?}");
    }
    assert_eq!(read(&cluster, 7).len(), 7);
}

#[tokio::test]
async fn brokers_that_are_away_at_the_start_are_no_error() {
    let cluster = cluster();
    cluster.broker_down(1).unwrap();
    let mut topic = connect(&cluster).await;
    let error = topic.publish(&distinct(1)).await.unwrap_err();
    assert!(matches!(error, PublishError::Busy { delivered: 0, .. }), "{error:?}");
    cluster.broker_up(1).unwrap();
    while topic.publish(&distinct(1)).await.is_err() {}
    assert_eq!(read(&cluster, 1)[0].key, "lw-0000");
}

#[tokio::test]
async fn a_missing_topic_is_said_at_the_start_with_what_to_do() {
    let cluster = cluster();
    let misspelt = FindingsTopicSettings { topic: "mesh.findigns".to_owned(), ..settings(&cluster) };
    let error = FindingsTopic::connect(misspelt, Encoding::native()).await.err().unwrap();
    assert!(matches!(&error, KafkaError::NoTopic { topic } if topic == "mesh.findigns"), "{error}");
    assert!(error.to_string().contains("create it (lapwing creates no topics)"), "{error}");
}

#[tokio::test]
async fn a_certificate_file_that_is_not_there_is_said_at_the_start() {
    let tls = Tls { ca_file: Some("no-such-file.pem".into()), ..Tls::default() };
    let settings = FindingsTopicSettings { tls: Some(tls), ..settings(&cluster()) };
    let error = FindingsTopic::connect(settings, Encoding::native()).await.err().unwrap();
    let KafkaError::Setting { reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains("ssl.ca.location"), "{reason}");
}

#[tokio::test]
async fn a_topic_that_is_missing_when_the_brokers_come_is_refused_and_not_lost() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.broker_down(1).unwrap();
    let mut topic = connect(&cluster).await;
    cluster.broker_up(1).unwrap();
    let refused = loop {
        match topic.publish(&distinct(1)).await.unwrap_err() {
            PublishError::Busy { .. } => {}
            other => break other,
        }
    };
    assert!(matches!(refused, PublishError::Refused { delivered: 0, .. }), "{refused:?}");
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    topic.publish(&distinct(1)).await.unwrap();
    assert_eq!(read(&cluster, 1).len(), 1);
}

#[tokio::test]
async fn a_topic_that_may_not_be_written_is_refused() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 8]);
    let error = topic.publish(&distinct(1)).await.unwrap_err();
    let PublishError::Refused { reason, delivered: 0 } = error else { panic!("{error:?}") };
    assert!(reason.contains("permit the user to write it"), "{reason}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    while topic.publish(&distinct(1)).await.is_err() {}
    assert_eq!(read(&cluster, 1).len(), 1);
}

#[tokio::test]
async fn errors_that_pass_are_retried_without_a_repeat() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    let passing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    cluster.request_errors(RDKafkaApiKey::Produce, &[passing; 3]);
    topic.publish(&distinct(10)).await.unwrap();
    topic.publish(&[finding("lw-last", 1)]).await.unwrap();
    assert_eq!(stored(&cluster), 11);
}

#[tokio::test]
async fn a_large_finding_passes_and_a_too_large_one_is_rejected_alone() {
    let cluster = cluster();
    let settings = FindingsTopicSettings { record_bytes: 100_000, ..settings(&cluster) };
    let mut topic = FindingsTopic::connect(settings, Encoding::native()).await.unwrap();
    let mut findings = distinct(3);
    findings[0].explanation = "x".repeat(90_000);
    findings[1].explanation = "x".repeat(110_000);
    let error = FindingSink::publish(&mut topic, &findings).await.unwrap_err();
    assert!(matches!(&error, PublishError::Rejected { which, .. } if which == &[1]), "{error:?}");
    let mut keys: Vec<String> = read(&cluster, 2).into_iter().map(|seen| seen.key).collect();
    keys.sort();
    assert_eq!(keys, ["lw-0000", "lw-0002"]);
}

#[tokio::test]
async fn records_whose_batch_the_broker_rejects_are_produced_alone() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    topic.publish(&distinct(20)).await.unwrap();
    assert_eq!(stored(&cluster), 20);

    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let error = topic.publish(&distinct(1)).await.unwrap_err();
    assert!(matches!(&error, PublishError::Rejected { which, .. } if which == &[0]), "{error:?}");
}

#[tokio::test]
async fn a_publication_given_up_half_way_leaves_nothing_under_way() {
    let cluster = cluster();
    let mut topic = connect(&cluster).await;
    cluster.broker_down(1).unwrap();
    let findings = distinct(3);
    tokio::time::timeout(Duration::from_millis(200), topic.publish(&findings)).await.unwrap_err();
    cluster.broker_up(1).unwrap();
    while topic.publish(&[finding("lw-next", 1)]).await.is_err() {}
    assert_eq!((read(&cluster, 1)[0].key.as_str(), stored(&cluster)), ("lw-next", 1));
}
