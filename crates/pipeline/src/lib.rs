//! The three loops, their configuration, supervision and health.
//!
//! ```text
//!             receive                      the log                      detect
//!  OTLP ──► decode ─► redact ─► append ══►(ordered,══► windows ─► baselines ─► findings ─► outbox ─► sinks
//!  gRPC     bytes→    RawCalls   ack the   durable) ══► archive ─► Parquet, kept N days ─► replay, train
//!  HTTP     RawCalls  → Calls    client
//! ```
//!
//! The one design decision: the loops meet only in the log. A loop pulls at its own pace, and the door is
//! the one place that pushes back. What it costs: every call is written to disk once before it is judged.
//!
//! The invariants kept here: a client is answered only after its calls are durable; a loop that stops
//! unasked ends the process; replay runs the same intake and the same engines as the live pipeline.

pub mod archive;
pub mod baselines;
pub mod canary;
pub mod config;
pub mod demo;
pub mod detect;
pub mod engines;
pub mod exporters;
pub mod feedback;
pub mod health;
pub mod intake;
pub mod metrics;
pub mod outbox;
pub mod receive;
pub mod replay;
pub mod rules;
pub mod run;
pub mod search;
pub mod series;
pub mod settings;
pub mod warm_start;

/// Redaction of single texts, for the command.
pub use lapwing_redaction as redaction;
pub use lapwing_storage::retention;

/// A loop could not go on. *Broken*: the process drains and ends with exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct StageError {
    /// Which loop.
    pub stage: &'static str,
    /// What happened, with the chain of causes.
    pub reason: String,
}

impl StageError {
    /// Makes one from its cause, with the causes of the cause.
    pub fn new(stage: &'static str, error: &dyn std::error::Error) -> StageError {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !reason.ends_with(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            source = cause.source();
        }
        StageError { stage, reason }
    }
}
