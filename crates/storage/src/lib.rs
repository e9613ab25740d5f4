//! What is on disk, and how it may be deleted: the journal, the Parquet archive, recordings of calls, saved state.
//!
//! The one design decision: the journal is the buffer. Readers tail its files; there is no queue in memory
//! between receive and the readers, and its limit is a disk budget. What it costs: every call is written
//! and synced once before anybody is told that it arrived.
//!
//! The invariants kept here: nothing that was acknowledged is lost by a crash at any moment; files appear
//! whole or not at all; nothing is deleted before every consumer is past it, and archives only by whole hours.

pub mod archive;
pub mod dataset;
pub mod disk;
pub mod frame;
pub mod journal;
pub mod retention;
pub mod state;
pub mod texts;

pub use archive::{Archive, ArchiveError, ArchiveSettings, ClosedFile};
pub use dataset::{Dataset, DatasetError};
pub use journal::{
    ConsumerStats, Journal, JournalError, JournalReader, JournalSettings, JournalStats, JournalWriter,
};
