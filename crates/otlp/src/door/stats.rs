//! What the door counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Refusal;

/// Counters since the door opened, and three gauges. Reading them never waits.
#[derive(Debug, Default)]
pub struct DoorStats {
    /// Requests over gRPC, whatever became of them.
    pub grpc_requests: AtomicU64,
    /// Requests over HTTP, whatever became of them.
    pub http_requests: AtomicU64,
    /// Requests answered with success.
    pub accepted: AtomicU64,
    /// Accepted requests that were answered with a `partial_success`.
    pub partly_accepted: AtomicU64,
    /// Spans and log records that accepted requests were told were left out.
    pub rejected_items: AtomicU64,
    /// Body bytes as they came over the wire.
    pub wire_bytes: AtomicU64,
    /// Body bytes handed on, after decompression.
    pub body_bytes: AtomicU64,
    /// Gauge: what admitted bodies occupy now, at most `max_in_flight_bytes`.
    pub in_flight_bytes: AtomicU64,
    /// Gauge: requests admitted and not answered yet, at most `max_in_flight_requests`.
    pub in_flight_requests: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Gauge: connections open now, at most `max_connections`.
    pub open_connections: AtomicU64,
    /// Connections closed unserved because `max_connections` was reached.
    pub connections_refused: AtomicU64,
    /// Connections closed because no whole request header came in time.
    pub connections_silent: AtomicU64,
    /// Times that the system had no connection to give: usually out of file descriptors.
    pub accept_failures: AtomicU64,
    /// TLS handshakes that failed: no or a wrong client certificate, plain text, or too slow.
    pub tls_failures: AtomicU64,
    /// Times that changed TLS files were taken into use.
    pub tls_reloads: AtomicU64,
    /// Times that changed TLS files were unusable and the previous ones kept.
    pub tls_reload_failures: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl DoorStats {
    /// Requests refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_refused(&self, refusal: Refusal) {
        count(&self.refused[refusal as usize]);
    }

    pub(super) fn count_accepted(&self, rejected: u64, reason: &str) {
        count(&self.accepted);
        if rejected > 0 || !reason.is_empty() {
            count(&self.partly_accepted);
            self.rejected_items.fetch_add(rejected, Ordering::Relaxed);
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
