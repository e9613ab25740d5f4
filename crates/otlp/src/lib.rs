//! The OTLP door: request bytes in, raw calls out.
//!
//! ```text
//!   gRPC, HTTP ─► door ─► bytes ─► decode ─► Builders (one row per span or log record)
//!   recordings ──────────► bytes ──┘  ▲
//!                                     └── inventory: who is who
//! ```
//!
//! The one design decision: a request is never turned into structs. [`Decoder`] walks the protobuf fields
//! where they lie and appends each span or log record to the column builders; OTLP/JSON is translated into
//! protobuf first, so that one walker decides what a request means; and a record is read as what differs from
//! the one before it, because a proxy's are alike. What it costs: the walker must agree with a real protobuf
//! decoder on every byte, and a record must mean the same whatever came before it, which property tests and
//! fuzz targets check against prost and against the record alone.
//!
//! The invariant it keeps: a request is appended whole or not at all, and nothing in it is believed to be a
//! service's name but a verified identity, a named attribute or the inventory, in a name's alphabet.
//!
//! # Which call a record tells of
//!
//! Both sides of a hop send a span and an access log of it; each is a row of its own `signal`.
//!
//! | record | source | destination |
//! |---|---|---|
//! | log of the caller (`outbound\|…`) | its certificate, else its resource, else its address in the inventory | host in `upstream_cluster`, else the chosen address |
//! | log of the callee (`inbound\|…`) | the peer's certificate, else the peer's address unless its port is 0 | its certificate, else its resource, else the server name, else its address |
//! | failed handshake (callee's log) | the peer's address, else what the refused certificate claims | as above |
//! | client span | its resource | host in `upstream_cluster`, else the name or address dialled |
//! | server span | whoever the parent's span or the callee's log of the same call named, if they came before | its resource |
//! | anything else | its resource | none: not a call |
//!
//! [`attributes`] says what each attribute means and where that is written.

pub mod access_log;
pub mod attributes;
mod batch;
mod context;
mod decode;
mod derive;
pub mod door;
mod inventory;
mod json;
mod known_names;
mod mesh;
mod messages;
mod names;
#[cfg(test)]
mod oracle;
mod path;
mod payload;
mod record;
pub mod recording;
pub mod sender;
mod settings;
mod sniff;
mod tail;
mod traceparent;
mod value;
mod verdict;
mod walk;
mod wire;

pub use decode::Decoder;
pub use inventory::{Inventory, InventoryError, MAX_WORKLOADS};
pub use payload::{Encoding, Malformed, Payload};
pub use settings::{DecodeSettings, DecodeStats, Decoded, Limits};
pub use sniff::{latest_event_time, sniff};
