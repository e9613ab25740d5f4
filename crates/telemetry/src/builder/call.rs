//! What builders are given: a call, and how it is told what they know already.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{EventTime, Outcome, Signal};

/// One call, as decode read it: borrowed from the request. See [`crate::Columns`] for what each field means.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each field is the column of its name, documented there")]
pub struct Call<'a> {
    pub received_at: EventTime,
    pub started_at: EventTime,
    pub duration_ns: Option<i64>,
    pub signal: Signal,
    pub cluster: &'a str,
    pub source: Option<&'a str>,
    pub destination: Option<&'a str>,
    pub source_identity: Option<&'a str>,
    pub destination_identity: Option<&'a str>,
    pub operation: Option<&'a str>,
    pub method: Option<&'a str>,
    pub path: Option<&'a str>,
    pub status: Option<i16>,
    pub outcome: Outcome,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub authn: Option<&'a str>,
    pub authz: Option<&'a str>,
    pub tls: Option<&'a str>,
    pub trace_id: Option<&'a [u8; 16]>,
    pub span_id: Option<&'a [u8; 8]>,
    pub parent_span_id: Option<&'a [u8; 8]>,
    pub flags: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// A call of which only time, signal and cluster are known.
    pub fn new(received_at: EventTime, started_at: EventTime, signal: Signal, cluster: &'a str) -> Call<'a> {
        Call {
            received_at,
            started_at,
            duration_ns: None,
            signal,
            cluster,
            source: None,
            destination: None,
            source_identity: None,
            destination_identity: None,
            operation: None,
            method: None,
            path: None,
            status: None,
            outcome: Outcome::Unknown,
            bytes_in: None,
            bytes_out: None,
            authn: None,
            authz: None,
            tls: None,
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            flags: None,
        }
    }
}

/// Attributes that many calls have in common, such as their resource's: a builder looks each of them up
/// once per batch and not once per row.
#[derive(Debug)]
pub struct SharedAttributes {
    /// Tells these attributes from all others of this process.
    id: u64,
    pub(super) entries: Vec<(String, String)>,
}

impl SharedAttributes {
    /// Makes a run of attributes from (name, value) pairs.
    pub fn new(entries: Vec<(String, String)>) -> SharedAttributes {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        SharedAttributes { id: NEXT.fetch_add(1, Ordering::Relaxed), entries }
    }

    /// Tells these attributes from all others of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The pairs.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }
}

/// The name of an attribute that many calls have: a builder looks it up once per batch.
#[derive(Debug)]
pub struct AttributeName {
    /// Tells this name from all others of this process. Builders keep an array by it, so there should be
    /// thousands of them and not millions.
    pub(super) id: u32,
    pub(super) text: String,
}

impl AttributeName {
    /// Makes a name.
    pub fn new(text: &str) -> AttributeName {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        AttributeName { id: NEXT.fetch_add(1, Ordering::Relaxed), text: text.to_owned() }
    }
}

/// An attribute's name, as a builder is told it.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// One that was made for many calls.
    Known(&'a AttributeName),
    /// Any other.
    Text(&'a str),
}

/// An attribute of one call.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub key: Key<'a>,
    /// Its value.
    pub value: &'a str,
}

/// Which fields of a call have the values that they have in the call before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Same {
    /// `signal`, `cluster`, `destination` and both identities.
    pub pair: bool,
    /// `operation`, `method` and `path`.
    pub request: bool,
    /// `outcome`, `authn`, `authz`, `tls` and `flags`.
    pub response: bool,
}
