//! What librdkafka tells us beside its answers, brought down to what an operator can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;
use tracing::{debug, warn};

/// Hears librdkafka's log and its errors that belong to no record.
///
/// One broker that is away makes several lines a second; at most one in [`QUIET`] is passed on, with the
/// number of those that were not. All are there at debug level.
#[derive(Clone)]
pub(crate) struct Ears {
    name: Arc<str>,
    limit: Arc<Limit>,
    refusal: Arc<Refusal>,
}

/// The latest refusal of our credentials, if there was one since anything went well: such errors come
/// outside of any record, whose own error is then just "timed out", and librdkafka tells each only once.
#[derive(Debug, Default)]
pub(crate) struct Refusal(AtomicI32);

const QUIET: Duration = Duration::from_secs(30);

impl Ears {
    pub(crate) fn new(name: &str, refusal: Arc<Refusal>) -> Ears {
        Ears { name: name.into(), limit: Arc::new(Limit::new()), refusal }
    }

    fn hear(&self, facility: &str, text: &str) {
        debug!(sink = &*self.name, facility, text, "librdkafka");
        if let Some(unsaid) = self.limit.admit() {
            warn!(sink = &*self.name, facility, text, unsaid, "librdkafka");
        }
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => self.hear(facility, text),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!(sink = &*self.name, facility, text, "librdkafka");
            }
        }
    }

    fn error(&self, error: KafkaError, text: &str) {
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => self.refusal.0.store(code as i32, Ordering::Relaxed),
            // A broker that does not like our certificate says so on an open connection.
            _ if text.contains("SSL alert") || text.contains("certificate") => {
                self.refusal.0.store(RDKafkaErrorCode::SSL as i32, Ordering::Relaxed);
            }
            _ => {}
        }
        self.hear("ERROR", text);
    }
}

impl Refusal {
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// In words, with a hint; `None` if nothing was refused since it was last forgotten.
    pub(crate) fn heard(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            code if code == RDKafkaErrorCode::SSL as i32 => {
                Some("the TLS handshake failed; check the certificates and the brokers' names")
            }
            _ => Some("the brokers refuse our credentials; check user, password and mechanism"),
        }
    }
}

/// Whether an error says that we are not welcome.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

struct Limit {
    started: Instant,
    /// When the next line may pass, in milliseconds after `started`.
    next_ms: AtomicU64,
    unsaid: AtomicU64,
}

impl Limit {
    fn new() -> Limit {
        Limit { started: Instant::now(), next_ms: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    fn admit(&self) -> Option<u64> {
        self.admit_at(self.started.elapsed().as_millis() as u64)
    }

    /// Whether a line may pass now, and how many were held back before it.
    fn admit_at(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let after = now_ms + QUIET.as_millis() as u64;
        let mine = now_ms >= next
            && self.next_ms.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_and_says_how_many_did_not() {
        let limit = Limit::new();
        let said: Vec<_> = [0, 1, 29_999, 30_000, 30_001, 90_000].map(|ms| limit.admit_at(ms)).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn a_refusal_is_remembered_until_it_is_forgotten() {
        let refusal = Arc::new(Refusal::default());
        let ears = Ears::new("kafka", Arc::clone(&refusal));
        ears.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(refusal.heard(), None);
        ears.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "refused");
        ears.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(refusal.heard().unwrap().contains("credentials"));
        refusal.forget();
        assert_eq!(refusal.heard(), None);
        ears.error(KafkaError::Global(RDKafkaErrorCode::SSL), "handshake");
        assert!(refusal.heard().unwrap().contains("certificates"));
        refusal.forget();
        let alert =
            "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42";
        ears.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), alert);
        assert!(refusal.heard().unwrap().contains("certificates"));
    }
}
