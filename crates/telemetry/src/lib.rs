//! The shared words of lapwing and the one data type that flows.
//!
//! ```text
//!   bytes ──decode──► RawCalls ──redact──► Calls ──append──► log ──► windows ──► Finding
//!                     (no serialiser)      (the only thing written or sent)
//! ```
//!
//! The one design decision: a row is a **call** (one request from a source service to a destination
//! service, seen once, by a span or by an access log), rows travel as Arrow batches with one fixed
//! schema, and every string is dictionary-encoded, so that redaction, detection and Parquet all work
//! on *distinct* values. What it costs: small batches are dear (about 4 KiB of fixed size each),
//! which is why the door gathers requests before it appends.
//!
//! The invariant it keeps: nothing unredacted can be serialised, because [`RawCalls`] has no
//! serialiser and only redaction turns it into [`Calls`].
//!
//! # Glossary
//!
//! - **call**: a row. **pair**: two services, `source` and `destination`, in a cluster.
//! - **signal**: which record told us of the call; the two sides of a hop each send one.
//! - **window**: a span of event time, closed once by the **watermark**.
//! - **lateness**: how long after its event time a call may arrive and still be counted.
//! - **finding**: what we claim about a pair, with its evidence.
//! - **position**: a partition of the log and an offset in it.

pub mod builder;
pub mod calls;
pub mod canary;
pub mod finding;
mod interner;
pub mod log;
pub mod pair;
pub mod position;
pub mod sink;
pub mod time;
pub mod words;

pub use builder::{
    AttributeName, Builders, Call, CallBuilder, Checkpoint, Entry, Key, Same, SharedAttributes,
};
pub use calls::{Calls, Columns, RawCalls};
pub use canary::CANARY_CLUSTER;
pub use finding::{Exemplar, Finding, FindingState, Severity};
pub use interner::same;
pub use log::{AppendError, Group, LogEvent, LogReader, LogWriter, ReadError};
pub use pair::{Pair, partition_of};
pub use position::{Offset, Partition, Position};
pub use sink::{Fate, Fates, FindingSink, PublishError, Publishing, Tending};
pub use time::{Clock, EventTime};
pub use words::{Authn, FindingKind, Outcome, Signal};
