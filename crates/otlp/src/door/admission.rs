//! Admission: how much may be between the wire and its answer at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::{Refusal, Refused};
use super::stats::DoorStats;
use super::{DoorSettings, Shared};

/// One request's share of the in-flight limits, given back on drop.
///
/// Its sum over all tickets is what `in_flight_bytes` shows, and never exceeds the limit.
#[derive(Debug)]
pub(super) struct Ticket {
    stats: Arc<DoorStats>,
    bytes: u64,
}

impl Shared {
    /// Admits a request by its headers alone.
    pub(super) fn admit(&self) -> Result<Ticket, Refused> {
        if self.refusing.load(Ordering::Relaxed) {
            return Err(self.busy(Refusal::Draining, "lapwing is shutting down"));
        }
        let limit = self.settings.max_in_flight_requests as u64;
        if !take(&self.stats.in_flight_requests, 1, limit) {
            return Err(self.busy(Refusal::TooManyRequests, "too many requests in flight"));
        }
        Ok(Ticket { stats: Arc::clone(&self.stats), bytes: 0 })
    }
}

impl Ticket {
    /// Raises this request's share to `bytes`, if that is more than it has.
    pub(super) fn cover(&mut self, bytes: usize, settings: &DoorSettings) -> Result<(), Refused> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        if !take(&self.stats.in_flight_bytes, more, settings.max_in_flight_bytes as u64) {
            let message = "too many bytes in flight";
            return Err(Refused::busy(Refusal::TooManyBytes, message, settings.retry_after));
        }
        self.bytes += more;
        Ok(())
    }

    /// Lowers this request's share to `bytes`, if it has more.
    pub(super) fn settle(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes as u64);
        self.bytes -= less;
        self.stats.in_flight_bytes.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stats.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.stats.in_flight_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds `amount` unless that would pass `limit`.
pub(super) fn take(used: &AtomicU64, amount: u64, limit: u64) -> bool {
    let add = |now: u64| now.checked_add(amount).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_up_to_the_limit_and_is_given_back_whole() {
        let stats = Arc::new(DoorStats::default());
        stats.in_flight_requests.store(1, Ordering::Relaxed);
        let settings = DoorSettings { max_in_flight_bytes: 100, ..DoorSettings::default() };
        let mut ticket = Ticket { stats: Arc::clone(&stats), bytes: 0 };
        ticket.cover(60, &settings).unwrap();
        ticket.cover(40, &settings).unwrap();
        assert_eq!(stats.in_flight_bytes.load(Ordering::Relaxed), 60);
        assert_eq!(ticket.cover(101, &settings).unwrap_err().refusal, Refusal::TooManyBytes);
        ticket.cover(100, &settings).unwrap();
        ticket.settle(70);
        ticket.settle(80);
        assert_eq!(stats.in_flight_bytes.load(Ordering::Relaxed), 70);
        drop(ticket);
        assert_eq!(stats.in_flight_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(stats.in_flight_requests.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn absurd_amounts_do_not_wrap_around() {
        assert!(!take(&AtomicU64::new(1), u64::MAX, u64::MAX));
        assert!(take(&AtomicU64::new(0), u64::MAX, u64::MAX));
    }
}
