//! The only seam between the loops: an ordered, durable log of calls, split into partitions.

use std::future::Future;

use crate::{Calls, EventTime, Partition, Position};

/// Frames that become durable together: one batch per partition that has any.
pub type Group = Vec<(Partition, Calls)>;

/// Writes the log.
pub trait LogWriter: Send {
    /// Resolves when every frame of `group` is durable. Appending is all-or-nothing per frame; after an
    /// error some frames may stand in the log, so the sender's retry may repeat rows (at-least-once).
    ///
    /// # Errors
    /// [`AppendError`] says whether to try later or to stop.
    fn append(&mut self, group: Group) -> impl Future<Output = Result<(), AppendError>> + Send;
}

/// Reads the log, in order within each partition.
pub trait LogReader: Send {
    /// The next thing that happened; `None` once the log has ended (drain, or the end of a recording).
    ///
    /// # Errors
    /// [`ReadError`]; the loop that gets it cannot go on.
    fn next(&mut self) -> impl Future<Output = Result<Option<LogEvent>, ReadError>> + Send;

    /// Says that everything up to and including `positions` is reflected in durable output, so that the
    /// log may free it once every reader has said so.
    ///
    /// # Errors
    /// [`ReadError`] if that cannot be remembered.
    fn commit(&mut self, positions: &[Position]) -> impl Future<Output = Result<(), ReadError>> + Send;
}

/// What a reader sees.
#[derive(Debug)]
pub enum LogEvent {
    /// A batch of calls.
    Frame {
        /// Where it lies.
        position: Position,
        /// The calls, ordered by `received_at`.
        calls: Calls,
    },
    /// Nothing more with `received_at` before `up_to` will come in any partition. Lets a silent pair's
    /// windows close. It may change when a finding is published, never which.
    Quiet {
        /// The time before which the log is complete.
        up_to: EventTime,
    },
}

/// Why a group was not made durable.
#[derive(Debug)]
pub enum AppendError {
    /// *Busy*: no room now (disk budget, full disk, broker away). Tell the sender to retry.
    Busy {
        /// What is short, in words for the sender and the log.
        reason: String,
    },
    /// *Broken*: the log cannot be written any more. Drain and stop.
    Broken {
        /// What happened, with the file.
        reason: String,
    },
}

/// *Broken*: the log cannot be read on.
#[derive(Debug)]
pub struct ReadError {
    /// What happened, with the file and place.
    pub reason: String,
}

macro_rules! error_text {
    ($type:ident, $self:ident => $text:expr) => {
        impl std::fmt::Display for $type {
            fn fmt(&$self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($text)
            }
        }
        impl std::error::Error for $type {}
    };
}

error_text!(AppendError, self => match self { AppendError::Busy { reason } | AppendError::Broken { reason } => reason });
error_text!(ReadError, self => &self.reason);
