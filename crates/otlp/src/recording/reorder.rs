//! A bounded look-ahead that puts the requests of one file in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lapwing_telemetry::EventTime;

use super::source::Source;
use super::{Message, RecordingError, RecordingLimits};

pub(super) struct Reordered {
    source: Source,
    limits: RecordingLimits,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    n_read: u64,
    /// Whether nothing more comes from the file.
    ended: bool,
    /// What ended it before its end, to be given after what is held.
    error: Option<RecordingError>,
}

impl Reordered {
    pub(super) fn new(source: Source, limits: RecordingLimits) -> Reordered {
        let held = BinaryHeap::new();
        let mut file =
            Reordered { source, limits, held, held_bytes: 0, n_read: 0, ended: false, error: None };
        file.look_ahead();
        file
    }

    /// When the next request arrived; `None` at the end. An error is due at once.
    pub(super) fn next_arrival(&self) -> Option<EventTime> {
        match self.held.peek() {
            Some(Reverse(held)) => Some(held.message.arrival),
            None => self.error.as_ref().map(|_| EventTime::MIN),
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<Message, RecordingError>> {
        let Some(Reverse(held)) = self.held.pop() else {
            return self.error.take().map(Err);
        };
        self.held_bytes -= held.message.body.len();
        self.look_ahead();
        Some(Ok(held.message))
    }

    /// Requests passed over so far.
    pub(super) fn other(&self) -> u64 {
        self.source.other
    }

    fn look_ahead(&mut self) {
        while !self.ended
            && (self.held.is_empty()
                || (self.held.len() < self.limits.reorder_requests
                    && self.held_bytes < self.limits.reorder_bytes))
        {
            match self.source.next() {
                Ok(Some(message)) => {
                    self.held_bytes += message.body.len();
                    self.held.push(Reverse(Held { message, number: self.n_read }));
                    self.n_read += 1;
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error);
                }
            }
        }
    }
}

/// A request and its place in the file, which decides between equal arrivals.
struct Held {
    message: Message,
    number: u64,
}

impl Held {
    fn key(&self) -> (EventTime, u64) {
        (self.message.arrival, self.number)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
