//! Where a frame lies in the log.

use serde::{Deserialize, Serialize};

/// One of the log's independent, ordered parts. A pair's calls all lie in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u16);

/// The place of a frame in its partition; grows by at least one per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// A partition and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which part of the log.
    pub partition: Partition,
    /// Where in it.
    pub offset: Offset,
}
