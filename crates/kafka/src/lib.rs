//! The findings topic on a Kafka broker.
//!
//! ```text
//!   &[Finding] ──► records (key = finding id, CloudEvents headers) ──► librdkafka ──► topic
//!                                    ◄── one delivery report for each ──┘
//! ```
//!
//! The one design decision: a publication ends when the broker has reported on **each** of its records.
//! The producer is idempotent (`acks=all`, retries and order kept by the broker), a record is keyed by its
//! finding's id, and two revisions of one finding are never under way at once, so the revisions of a
//! finding lie in the topic in order. What it costs: one round trip for each batch; and a failed batch is
//! produced again from its first missing record, so a record behind it may be there twice. `ce_id` tells.
//!
//! The invariant it keeps: an answer of `Ok` means that every in-sync replica has the findings. How many
//! that are is the topic's `min.insync.replicas`; with 1, one disk.

mod context;
mod record;
mod settings;
mod topic;

pub use record::{Encode, Encoding};
pub use settings::{Compression, FindingsTopicSettings, Mechanism, Sasl, Secret, Tls};
pub use topic::{FindingsTopic, KafkaError};
