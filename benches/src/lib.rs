//! What the benchmarks and the load generator share: requests that look like a mesh's.
//!
//! The one design decision: a request is built and encoded once, and only its times, ids and some numbers in
//! URLs are written anew into the bytes for each send. So a sender costs about as much as copying the bytes,
//! and still no two requests are alike. What it costs: the shape of a request never varies during a run.
//!
//! The invariant it keeps: the same request number and time always give the same bytes.

mod rows;
pub mod texts;
mod workload;

pub use rows::{GROUP_ROWS, Groups, NOW, PARTITIONS};
pub use workload::{REQUESTS, Workload};
