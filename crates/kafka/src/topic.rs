//! Publishing to the topic, with a report for each record.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use lapwing_telemetry::{Finding, FindingSink, PublishError, Publishing};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tracing::{error, warn};

use crate::context::{Ears, Refusal, is_refusal};
use crate::record::{self, Encoding};
use crate::settings::FindingsTopicSettings;

/// The findings topic.
///
/// Durable means: every in-sync replica has the record. Revisions of one finding lie in one partition, in
/// order; a publication that failed in part may leave a record twice.
pub struct FindingsTopic {
    settings: FindingsTopicSettings,
    encoding: Encoding,
    /// `None` until first used, and after a fatal error or a publication that was given up half-way: a new
    /// producer has nothing of the old one under way.
    producer: Option<Client>,
    /// Whether the topic was seen since the latest failure.
    seen: bool,
    refusal: Arc<Refusal>,
}

/// Why the topic cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// *Broken*: a setting does not do. Correct it.
    #[error("kafka setting `{property}`: {reason}")]
    Setting {
        /// librdkafka's name of the setting.
        property: String,
        /// What is wrong with it, without its value.
        reason: String,
    },
    /// *Broken*: the brokers answer and have no such topic, or do not show it to us. Create it or permit it.
    #[error(
        "topic `{topic}` does not exist or is not shown to us; create it (lapwing creates no topics) or permit \
         the user to describe and write it"
    )]
    NoTopic {
        /// The topic.
        topic: String,
    },
}

impl FindingsTopic {
    /// Makes a producer and looks for the topic.
    ///
    /// Brokers that cannot be reached are no error: they may be back by the time there is a finding, and
    /// the topic is then looked for before the first publication.
    ///
    /// # Errors
    /// [`KafkaError::Setting`], [`KafkaError::NoTopic`]: what an operator must correct.
    pub async fn connect(settings: FindingsTopicSettings, encoding: Encoding) -> Result<Self, KafkaError> {
        let mut topic = FindingsTopic {
            settings,
            encoding,
            producer: None,
            seen: false,
            refusal: Arc::new(Refusal::default()),
        };
        let client = topic.client().await?;
        match topic.look_for_topic(&client).await {
            Ok(()) => {}
            Err(NotSeen::Missing) => return Err(KafkaError::NoTopic { topic: topic.settings.topic }),
            Err(NotSeen::Unknown(reason)) => {
                let sink = &topic.settings.name;
                if let Some(hint) = topic.refusal.heard() {
                    error!(sink, hint, "brokers refuse us; findings are kept");
                } else {
                    warn!(sink, reason, "brokers cannot be reached yet");
                }
            }
        }
        topic.producer = Some(client);
        Ok(topic)
    }

    /// Publishes findings; resolves when there is a delivery report for each.
    ///
    /// # Errors
    /// See [`FindingSink::publish`]. Findings larger than the settings or the topic allow are rejected; a
    /// missing topic, permission or credential is refused.
    pub async fn publish(&mut self, findings: &[Finding]) -> Result<(), PublishError> {
        if findings.is_empty() {
            return Ok(());
        }
        // Taken out while in use: if this future is dropped, so is the producer, with all it has under way.
        let client = match self.producer.take() {
            Some(client) => client,
            None => {
                self.client().await.map_err(|error| PublishError::Broken { reason: error.to_string() })?
            }
        };
        if !self.seen
            && let Err(not_seen) = self.look_for_topic(&client).await
        {
            self.producer = Some(client);
            return Err(self.not_seen(not_seen));
        }
        let mut rejected = Vec::new();
        let mut start = 0;
        while start < findings.len() {
            let end = start + distinct_ids(&findings[start..]);
            let mut reports = self.produce(&client, &findings[start..end]).await;
            // A broker rejects a batch whole. Alone, each of its records shows what it is.
            let together = end - start > 1;
            for (report, at) in reports.iter_mut().zip(start..).filter(|_| together) {
                if *report == Report::Rejected {
                    *report = self.produce(&client, &findings[at..=at]).await.remove(0);
                }
            }
            if let Some(error) = sort_out(&reports, start, &mut rejected) {
                // A fatal error ends an idempotent producer; the next publication makes a new one.
                if client.fatal_error().is_none() {
                    self.producer = Some(client);
                }
                self.seen = false;
                return Err(self.unfinished(&error, rejected.first().copied()));
            }
            start = end;
        }
        self.producer = Some(client);
        if rejected.is_empty() {
            return Ok(());
        }
        let reason = format!("topic `{}` takes no record of that size or form", self.settings.topic);
        Err(PublishError::Rejected { reason, which: rejected })
    }

    /// Produces findings with distinct ids and waits for the report of each.
    async fn produce(&self, client: &Client, findings: &[Finding]) -> Vec<Report> {
        let mut pending = Vec::with_capacity(findings.len());
        for finding in findings {
            let value = (self.encoding.encode)(finding);
            let headers = record::headers(finding, &self.encoding);
            let record = FutureRecord::to(&self.settings.topic)
                .key(&finding.id)
                .payload(&value)
                .timestamp(finding.revised_at().unix_millis())
                .headers(record::owned(&headers));
            let sent = client.producer().send_result(record).map_err(|(error, _record)| Report::of(&error));
            pending.push(async move {
                match sent {
                    Ok(report) => match report.await {
                        Ok(Ok(_place)) => Report::Delivered,
                        Ok(Err((error, _record))) => Report::of(&error),
                        Err(_cancelled) => Report::Failed(RDKafkaErrorCode::Fail),
                    },
                    Err(report) => report,
                }
            });
        }
        join_all(pending).await
    }

    async fn client(&self) -> Result<Client, KafkaError> {
        let config = self.settings.client_config();
        let ears = Ears::new(&self.settings.name, Arc::clone(&self.refusal));
        // Reads certificate files and starts threads.
        let made = tokio::task::spawn_blocking(move || config.create_with_context::<_, Inner>(ears)).await;
        match made {
            Ok(Ok(producer)) => Ok(Client { producer: Some(producer) }),
            Ok(Err(error)) => Err(setting_error(error)),
            Err(_ended) => Err(KafkaError::Setting {
                property: "client".to_owned(),
                reason: "the thread that makes it has ended".to_owned(),
            }),
        }
    }

    /// Asks for all topics, because asking for one would create it on a broker that is set to do so.
    async fn look_for_topic(&mut self, client: &Client) -> Result<(), NotSeen> {
        let (producer, wanted) = (client.producer().clone(), self.settings.topic.clone());
        let limit = self.settings.metadata_timeout;
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(None, limit)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == wanted);
            Ok::<_, ClientError>(found.is_some_and(|topic| topic.error().is_none()))
        });
        match asked.await {
            Ok(Ok(true)) => {
                self.seen = true;
                self.refusal.forget();
                Ok(())
            }
            Ok(Ok(false)) => Err(NotSeen::Missing),
            Ok(Err(error)) => Err(NotSeen::Unknown(code_text(error.rdkafka_error_code()))),
            Err(_ended) => Err(NotSeen::Unknown("the thread that asks has ended".to_owned())),
        }
    }

    fn not_seen(&self, not_seen: NotSeen) -> PublishError {
        let brokers = self.settings.brokers.join(",");
        match (not_seen, self.refusal.heard()) {
            (NotSeen::Missing, _) => {
                let error = KafkaError::NoTopic { topic: self.settings.topic.clone() };
                PublishError::Refused { reason: error.to_string(), delivered: 0 }
            }
            (NotSeen::Unknown(_), Some(hint)) => {
                PublishError::Refused { reason: format!("kafka at {brokers}: {hint}"), delivered: 0 }
            }
            (NotSeen::Unknown(reason), None) => {
                PublishError::Busy { reason: format!("kafka at {brokers}: {reason}"), delivered: 0 }
            }
        }
    }

    fn unfinished(&self, failure: &Failure, first_rejected: Option<usize>) -> PublishError {
        // A rejected finding must come up again, to be set aside.
        let delivered = first_rejected.map_or(failure.at, |rejected| rejected.min(failure.at));
        let topic = &self.settings.topic;
        match self.refusal.heard() {
            _ if is_refusal(failure.code) => {
                let text = code_text(Some(failure.code));
                let reason = format!("topic `{topic}`: {text}; create it or permit the user to write it");
                PublishError::Refused { reason, delivered }
            }
            Some(hint) => PublishError::Refused { reason: format!("topic `{topic}`: {hint}"), delivered },
            None => {
                let text = code_text(Some(failure.code));
                PublishError::Busy { reason: format!("topic `{topic}`: {text}"), delivered }
            }
        }
    }
}

impl FindingSink for FindingsTopic {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(FindingsTopic::publish(self, findings))
    }
}

type Inner = FutureProducer<Ears>;

/// A producer that is put away on a thread where waiting is allowed: it takes back what is under way, which
/// can take half a second.
struct Client {
    producer: Option<Inner>,
}

impl Client {
    fn producer(&self) -> &Inner {
        self.producer.as_ref().expect("it is taken out in drop alone")
    }

    fn fatal_error(&self) -> Option<RDKafkaErrorCode> {
        self.producer().client().fatal_error().map(|(code, _text)| code)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let producer = self.producer.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}

/// Why the topic was not seen.
enum NotSeen {
    Missing,
    Unknown(String),
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Delivered,
    /// The topic will never take it.
    Rejected,
    Failed(RDKafkaErrorCode),
}

impl Report {
    fn of(error: &ClientError) -> Report {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => Report::Rejected,
            code => Report::Failed(code.unwrap_or(RDKafkaErrorCode::Fail)),
        }
    }
}

struct Failure {
    /// Index of the first finding that is neither delivered nor rejected.
    at: usize,
    code: RDKafkaErrorCode,
}

/// Collects rejections; says where the first failure is, if there is one.
fn sort_out(reports: &[Report], start: usize, rejected: &mut Vec<usize>) -> Option<Failure> {
    let mut failure = None;
    for (report, at) in reports.iter().zip(start..) {
        match report {
            Report::Delivered => {}
            Report::Rejected => rejected.push(at),
            Report::Failed(code) => {
                failure.get_or_insert(Failure { at, code: *code });
            }
        }
    }
    failure
}

/// How many findings from the start have ids of their own: no revision is produced before the one ahead
/// of it is at the broker, so a failure cannot turn their order around.
fn distinct_ids(findings: &[Finding]) -> usize {
    let mut ids = BTreeSet::new();
    findings.iter().take_while(|finding| ids.insert(&finding.id)).count()
}

fn code_text(code: Option<RDKafkaErrorCode>) -> String {
    code.map_or_else(|| "no answer".to_owned(), |code| code.to_string())
}

/// Keeps the setting's value out: it may be a password.
fn setting_error(error: ClientError) -> KafkaError {
    match error {
        ClientError::ClientConfig(_, reason, property, _value) => KafkaError::Setting { property, reason },
        ClientError::ClientCreation(reason) => KafkaError::Setting { property: "client".to_owned(), reason },
        other => KafkaError::Setting {
            property: "client".to_owned(),
            reason: code_text(other.rdkafka_error_code()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_where_the_first_record_is_missing() {
        use Report::{Delivered, Failed, Rejected};
        let timed_out = Failed(RDKafkaErrorCode::MessageTimedOut);
        let mut rejected = Vec::new();
        let failure =
            sort_out(&[Delivered, Rejected, Delivered, timed_out, Delivered, timed_out], 10, &mut rejected);
        assert_eq!(failure.unwrap().at, 13);
        assert_eq!(rejected, [11]);
        assert!(sort_out(&[Delivered, Rejected], 20, &mut rejected).is_none());
        assert_eq!(rejected, [11, 21]);
    }

    #[test]
    fn two_revisions_of_a_finding_are_never_under_way_at_once() {
        let sample: Finding = serde_json::from_str(include_str!("../tests/finding.json")).unwrap();
        let with_ids = |ids: &[&str]| -> Vec<Finding> {
            ids.iter().map(|id| Finding { id: (*id).to_owned(), ..sample.clone() }).collect()
        };
        for (ids, expect) in [(&["a", "b", "a", "c"][..], 2), (&["a"], 1), (&["a", "a"], 1), (&["a", "b"], 2)]
        {
            assert_eq!(distinct_ids(&with_ids(ids)), expect, "{ids:?}");
        }
    }

    #[test]
    fn an_error_about_a_setting_does_not_show_its_value() {
        let config = rdkafka::ClientConfig::new().set("sasl.mechanism", "x").set("acks", "hunter2").clone();
        let error = setting_error(config.create_native_config().map(drop).unwrap_err());
        assert!(error.to_string().contains("acks"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
