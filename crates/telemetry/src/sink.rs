//! Where findings go: the one interface that delivery and every target share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::{EventTime, Exemplar, Finding, FindingState, Severity};

/// A target that findings are published to, for example a file, a syslog receiver or a topic.
///
/// Object-safe, because a deployment has several at once and they differ.
pub trait FindingSink: Send {
    /// The sink's configured name, unique in the process; used in logs, metrics and folder names.
    fn name(&self) -> &str;

    /// Publishes `findings` in order. Resolves when they are durable at the target, as far as the target
    /// can say so; each sink's documentation says how far that is.
    ///
    /// Dropping the future leaves open what was delivered: publish the same findings again.
    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a>;

    /// Whether the target answers for each finding by itself, so that a later one may be taken while an
    /// earlier one is not. Such a sink is never given two revisions of one finding in one publication: else
    /// their order could turn around.
    fn answers_one_by_one(&self) -> bool {
        false
    }

    /// Does what the target needs while there is nothing to publish, for example being told again what is
    /// still open. Never resolves where there is nothing to do. May be dropped at any await.
    fn tend(&mut self) -> Tending<'_> {
        Box::pin(std::future::pending())
    }
}

/// The pending result of [`FindingSink::tend`]: why it did not go well.
pub type Tending<'a> = Pin<Box<dyn Future<Output = PublishError> + Send + 'a>>;

/// The pending result of [`FindingSink::publish`].
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// Why not every finding of a publication is at its target. Reasons name places, sizes and codes, never
/// what a finding says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// *Busy*: the target is away or full. Nothing is dropped: publish again, from `delivered` on.
    Busy {
        /// What is short, with the address.
        reason: String,
        /// How many findings from the start of the slice are at the target. Later ones may be, too.
        delivered: usize,
    },
    /// *Busy*, and an operator must act: the target refuses us (credentials, permission, a missing topic).
    /// Nothing is dropped: alarm, and publish again, slowly, from `delivered` on.
    Refused {
        /// What the target said, and what to do about it.
        reason: String,
        /// How many findings from the start of the slice are at the target. Later ones may be, too.
        delivered: usize,
    },
    /// *Rejected*: the target will never take the findings at the indices `which` (ascending). All others
    /// of the slice are at the target. Set these aside where an operator can find them, and go on.
    Rejected {
        /// What is wrong with them.
        reason: String,
        /// Their indices in the slice.
        which: Vec<usize>,
    },
    /// The target has answered for each finding by itself: at least one is neither taken nor rejected, or is
    /// rejected for a reason of its own.
    OneByOne(Fates),
    /// *Broken*: this sink cannot work any more. Drain and stop.
    Broken {
        /// What happened.
        reason: String,
    },
}

/// What became of the findings of a publication, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fates {
    /// One for each finding of the slice, in its order.
    pub each: Vec<Fate>,
    /// Why some are not at the target, with the address; empty if all are taken or rejected.
    pub reason: String,
    /// How long the target wants to be left alone, if it said so.
    pub retry_after: Option<Duration>,
}

/// What became of one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is at the target.
    Taken,
    /// *Busy*: not now. Publish it again.
    Busy,
    /// *Busy*, and an operator must act: publish it again, slowly.
    Refused,
    /// *Rejected*: the target will never take it, and why.
    Rejected(String),
}

impl Fates {
    /// The fates of `count` findings before anything is known: all are to be published again.
    pub fn undecided(count: usize) -> Fates {
        Fates { each: vec![Fate::Busy; count], reason: String::new(), retry_after: None }
    }

    /// `Ok` if the target has all of them.
    ///
    /// # Errors
    /// [`PublishError::OneByOne`] if it has not.
    pub fn result(self) -> Result<(), PublishError> {
        if self.each.iter().all(|fate| *fate == Fate::Taken) {
            Ok(())
        } else {
            Err(PublishError::OneByOne(self))
        }
    }
}

impl PublishError {
    /// The error as the fates of each of `count` findings; `None` if it is *broken*.
    pub fn fates(self, count: usize) -> Option<Fates> {
        let prefix = |delivered: usize, rest: Fate| {
            let mut each = vec![Fate::Taken; delivered.min(count)];
            each.resize(count, rest);
            each
        };
        match self {
            PublishError::Busy { reason, delivered } => {
                Some(Fates { each: prefix(delivered, Fate::Busy), reason, retry_after: None })
            }
            PublishError::Refused { reason, delivered } => {
                Some(Fates { each: prefix(delivered, Fate::Refused), reason, retry_after: None })
            }
            PublishError::Rejected { reason, which } => {
                let mut each = vec![Fate::Taken; count];
                for i in which.into_iter().filter(|i| *i < count) {
                    each[i] = Fate::Rejected(reason.clone());
                }
                Some(Fates { each, reason: String::new(), retry_after: None })
            }
            PublishError::OneByOne(mut fates) => {
                fates.each.resize(count, Fate::Busy);
                Some(fates)
            }
            PublishError::Broken { .. } => None,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Busy { reason, .. }
            | PublishError::Refused { reason, .. }
            | PublishError::Rejected { reason, .. }
            | PublishError::OneByOne(Fates { reason, .. })
            | PublishError::Broken { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for PublishError {}

impl Finding {
    /// The moment of this revision, in event time: when it opened, when its window ended, when it closed.
    pub fn revised_at(&self) -> EventTime {
        match self.state {
            FindingState::Open => self.opened_at,
            FindingState::Update => self.window_end,
            FindingState::Close => self.closed_at.unwrap_or(self.window_end),
        }
    }
}

impl Exemplar {
    /// The W3C trace context of the call, for envelopes that carry one; `None` unless it has both ids in
    /// full. <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub fn traceparent(&self) -> Option<String> {
        let (trace, span) = (self.trace_id.as_ref()?, self.span_id.as_ref()?);
        let is_hex = |id: &str| id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let in_full = trace.len() == 32 && span.len() == 16 && is_hex(trace) && is_hex(span);
        in_full.then(|| format!("00-{trace}-{span}-01"))
    }
}

impl FindingState {
    /// The word as it stands in the native format.
    pub const fn as_str(self) -> &'static str {
        match self {
            FindingState::Open => "open",
            FindingState::Update => "update",
            FindingState::Close => "close",
        }
    }
}

impl Severity {
    /// The word as it stands in the native format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_became_of_each_finding() {
        use Fate::{Busy, Refused, Rejected, Taken};
        let each = |error: PublishError| error.fates(3).map(|fates| fates.each);
        let reason = String::new;
        assert_eq!(
            each(PublishError::Busy { reason: reason(), delivered: 2 }),
            Some(vec![Taken, Taken, Busy])
        );
        assert_eq!(
            each(PublishError::Refused { reason: reason(), delivered: 9 }),
            Some(vec![Taken, Taken, Taken])
        );
        assert_eq!(
            each(PublishError::Refused { reason: reason(), delivered: 0 }),
            Some(vec![Refused, Refused, Refused])
        );
        assert_eq!(
            each(PublishError::Rejected { reason: "large".to_owned(), which: vec![1, 7] }),
            Some(vec![Taken, Rejected("large".to_owned()), Taken])
        );
        assert_eq!(each(PublishError::OneByOne(Fates::undecided(1))), Some(vec![Busy, Busy, Busy]));
        assert_eq!(each(PublishError::Broken { reason: reason() }), None);
    }

    #[test]
    fn a_trace_context_needs_both_ids_in_full() {
        let mut call = Exemplar {
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4731".to_owned()),
            span_id: Some("00f067aa0ba902b1".to_owned()),
            started_at: EventTime::MIN,
            duration_ms: None,
            status: None,
            operation: None,
        };
        let expect = "00-4bf92f3577b34da6a3ce929d0e0e4731-00f067aa0ba902b1-01";
        assert_eq!(call.traceparent().as_deref(), Some(expect));
        for broken in [Some("00F067AA0BA902B1"), Some("00f067aa"), None] {
            call.span_id = broken.map(str::to_owned);
            assert_eq!(call.traceparent(), None);
        }
    }

    #[test]
    fn words_are_those_of_the_native_format() {
        for severity in [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
        {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
        for state in [FindingState::Open, FindingState::Update, FindingState::Close] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
