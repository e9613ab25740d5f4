//! `Calls`: the one type that flows, and its only schema.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int16Array, Int64Array, MapArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, UInt32Type};

use crate::{EventTime, Signal};

/// Rows a batch holds at most. With [`MAX_ENTRIES`] it keeps dictionary keys far from overflowing.
pub const MAX_ROWS: usize = 8_192;
/// Attribute entries a batch holds at most.
pub const MAX_ENTRIES: usize = 1 << 20;

/// Version of the schema; written beside every stored batch and checked when it is read.
pub const SCHEMA_VERSION: u16 = 1;

/// Decoded calls that have not been redacted. Has no serialiser: it lives between decode and redaction.
pub struct RawCalls(RecordBatch);

/// Redacted calls: what is written, learned from and sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls(RecordBatch);

/// A batch that does not have the schema of calls; the state kind is *rejected*: it never will.
#[derive(Debug, PartialEq, Eq)]
pub struct SchemaMismatch;

impl std::fmt::Display for SchemaMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the batch does not have the schema of calls, version {SCHEMA_VERSION}")
    }
}

impl std::error::Error for SchemaMismatch {}

impl RawCalls {
    pub(crate) fn new(batch: RecordBatch) -> RawCalls {
        debug_assert_eq!(batch.schema(), schema());
        RawCalls(batch)
    }

    /// Number of calls.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns, for redaction to read.
    pub fn columns(&self) -> Columns<'_> {
        Columns { batch: &self.0 }
    }

    /// Takes the batch apart, for redaction to rewrite.
    pub fn into_batch(self) -> RecordBatch {
        self.0
    }
}

impl Calls {
    /// Declares that `batch` has been redacted. `clippy.toml` forbids it outside `redaction`.
    ///
    /// # Errors
    /// [`SchemaMismatch`] if it does not have the schema of calls.
    pub fn redacted(batch: RecordBatch) -> Result<Calls, SchemaMismatch> {
        Calls::checked(batch)
    }

    /// Takes a batch read back from a log or an archive, which only ever held redacted calls.
    ///
    /// # Errors
    /// [`SchemaMismatch`] if it does not have the schema of calls.
    pub fn from_log(batch: RecordBatch) -> Result<Calls, SchemaMismatch> {
        Calls::checked(batch)
    }

    fn checked(batch: RecordBatch) -> Result<Calls, SchemaMismatch> {
        if batch.schema().fields() == schema().fields() { Ok(Calls(batch)) } else { Err(SchemaMismatch) }
    }

    /// Number of calls.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns.
    pub fn columns(&self) -> Columns<'_> {
        Columns { batch: &self.0 }
    }

    /// The Arrow batch, for serialisers.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }
}

macro_rules! columns {
    ($($index:literal $name:ident: $kind:ident, $null:literal, $doc:literal;)+) => {
        /// Typed access to the columns of a batch of calls. Cheap to make; take each column once,
        /// outside the loop over rows.
        #[derive(Clone, Copy)]
        pub struct Columns<'a> { batch: &'a RecordBatch }

        impl<'a> Columns<'a> {
            /// Views a batch, which must have the schema of calls: every column is looked up by its place.
            pub fn of(batch: &'a RecordBatch) -> Columns<'a> {
                debug_assert_eq!(batch.schema().fields(), schema().fields());
                Columns { batch }
            }

            /// Number of rows.
            pub fn len(&self) -> usize {
                self.batch.num_rows()
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            $(#[doc = $doc]
            pub fn $name(&self) -> columns!(@type $kind 'a) {
                columns!(@view $kind self.batch.column($index))
            })+
        }

        fn fields() -> Vec<Field> {
            vec![$(Field::new(stringify!($name), columns!(@arrow $kind), $null),)+]
        }

        /// Names of the columns with their documentation, in order.
        pub const COLUMN_DOCS: &[(&str, &str)] = &[$((stringify!($name), $doc),)+];
    };
    (@type time $l:lifetime) => { &$l [i64] };
    (@type int64 $l:lifetime) => { &$l Int64Array };
    (@type int16 $l:lifetime) => { &$l Int16Array };
    (@type word $l:lifetime) => { Words<$l> };
    (@type id16 $l:lifetime) => { &$l FixedSizeBinaryArray };
    (@type id8 $l:lifetime) => { &$l FixedSizeBinaryArray };
    (@type map $l:lifetime) => { Attributes<$l> };
    (@view time $c:expr) => { downcast::<TimestampMicrosecondArray>($c).values() };
    (@view int64 $c:expr) => { downcast::<Int64Array>($c) };
    (@view int16 $c:expr) => { downcast::<Int16Array>($c) };
    (@view word $c:expr) => { Words::new($c) };
    (@view id16 $c:expr) => { downcast::<FixedSizeBinaryArray>($c) };
    (@view id8 $c:expr) => { downcast::<FixedSizeBinaryArray>($c) };
    (@view map $c:expr) => { Attributes::new($c) };
    (@arrow time) => { DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())) };
    (@arrow int64) => { DataType::Int64 };
    (@arrow int16) => { DataType::Int16 };
    (@arrow word) => { word_type() };
    (@arrow id16) => { DataType::FixedSizeBinary(16) };
    (@arrow id8) => { DataType::FixedSizeBinary(8) };
    (@arrow map) => { DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false)), false) };
}

columns! {
    0 received_at: time, false, "When the call's record arrived at the door, microseconds since the epoch, UTC. Drives the watermark; never decreases along a partition.";
    1 started_at: time, false, "When the call started, by the sender's clock, microseconds since the epoch, UTC.";
    2 duration_ns: int64, true, "How long the call took, nanoseconds; null if the record does not say.";
    3 signal: word, false, "Which record told of the call: `log_server`, `log_client`, `span_client`, `span_server`.";
    4 cluster: word, false, "`k8s.cluster.name`, or the configured default.";
    5 source: word, true, "The calling service, `namespace/service`; null if unknown.";
    6 destination: word, true, "The called service, `namespace/service`; null if the record is not a call.";
    7 source_identity: word, true, "The caller's verified identity (SPIFFE URI), null if the record carries none.";
    8 destination_identity: word, true, "The callee's verified identity (SPIFFE URI), null if the record carries none.";
    9 operation: word, true, "Method and path template, or the RPC method.";
    10 method: word, true, "HTTP method.";
    11 path: word, true, "Path template: variable segments are `{}`, no query.";
    12 status: int16, true, "HTTP status; 0 if no answer was sent; null if the record does not say.";
    13 outcome: word, false, "`ok`, `client_error`, `server_error`, `refused` or `unknown`.";
    14 bytes_in: int64, true, "Bytes of the request's body, from source to destination; null if absent.";
    15 bytes_out: int64, true, "Bytes of the response's body, from destination to source; null if absent.";
    16 authn: word, true, "What the proxy decided about the token: `ok`, `missing`, `expired`, `bad_signature`, `unknown_issuer`, `denied`; null if not said.";
    17 authz: word, true, "What the policy decided: `allowed`, `denied`, `dry_run_denied`, the last two with `:policy` where named; null if not said.";
    18 tls: word, true, "TLS version, `plaintext`, or `failed:` and the kind of failure; null if not said.";
    19 trace_id: id16, true, "W3C trace id, 16 bytes; null if absent.";
    20 span_id: id8, true, "W3C span id, 8 bytes; null if absent.";
    21 parent_span_id: id8, true, "Span id of the parent, 8 bytes; null if absent.";
    22 flags: word, true, "The proxy's response flags, for example `UF,URX`; null if none.";
    23 attributes: map, false, "Every other attribute by name; resource attributes begin with `resource.`, scope with `scope.`, span events with `event.`.";
}

/// The one schema of calls. No column is unsigned and no timestamp finer than a microsecond, because
/// Spark and others read neither from Parquet.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(fields())));
    SCHEMA.clone()
}

/// The type of every string column: 32-bit keys into distinct UTF-8 values.
pub fn word_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

pub(crate) fn entry_fields() -> Fields {
    Fields::from(vec![Field::new("keys", word_type(), false), Field::new("values", word_type(), false)])
}

/// A dictionary-encoded string column.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// Each row's number into [`Words::values`]; null where the row has no value.
    pub keys: &'a UInt32Array,
    /// The distinct values. May hold values that no row uses.
    pub values: &'a StringArray,
}

impl<'a> Words<'a> {
    fn new(column: &'a ArrayRef) -> Words<'a> {
        let dictionary = downcast::<arrow::array::DictionaryArray<UInt32Type>>(column);
        Words { keys: dictionary.keys(), values: downcast::<StringArray>(dictionary.values()) }
    }

    /// The number of the value in `row`; `None` if null.
    pub fn id(&self, row: usize) -> Option<u32> {
        self.keys.is_valid(row).then(|| self.keys.value(row))
    }

    /// The value in `row`; `None` if null.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.id(row).map(|id| self.values.value(id as usize))
    }
}

/// The attribute map: for each row a run of (key, value) entries.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    map: &'a MapArray,
    /// Keys of all entries of all rows.
    pub keys: Words<'a>,
    /// Values of all entries of all rows.
    pub values: Words<'a>,
}

impl<'a> Attributes<'a> {
    fn new(column: &'a ArrayRef) -> Attributes<'a> {
        let map = downcast::<MapArray>(column);
        Attributes { map, keys: Words::new(map.keys()), values: Words::new(map.values()) }
    }

    /// The entries of `row`, in the order in which they arrived.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let offsets = self.map.value_offsets();
        let (keys, values) = (self.keys, self.values);
        (offsets[row] as usize..offsets[row + 1] as usize)
            .map(move |entry| (keys.get(entry).unwrap_or(""), values.get(entry).unwrap_or("")))
    }

    /// The value in `row` of the attribute whose key has that number in [`Attributes::keys`].
    pub fn by_number(&self, row: usize, key: u32) -> Option<&'a str> {
        let offsets = self.map.value_offsets();
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        entries.find(|entry| self.keys.id(*entry) == Some(key)).and_then(|entry| self.values.get(entry))
    }

    /// The value of the attribute `key` in `row`.
    pub fn get(&self, row: usize, key: &str) -> Option<&'a str> {
        self.row(row).find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

/// The moment a call counts for: when it ended, or started if the record does not say how long it took.
/// Proxies report when a call ends, so this is the time nearest to the report.
pub fn event_time(started_at: i64, duration_ns: Option<i64>) -> EventTime {
    EventTime(started_at.saturating_add(duration_ns.unwrap_or(0).max(0) / 1_000))
}

/// Reads a signal's word; unknown words (from a newer writer) read as the least preferred one.
pub fn signal_of(word: &str) -> Signal {
    Signal::parse(word).unwrap_or(Signal::SpanServer)
}

// The schema is checked when a batch becomes RawCalls or Calls, so a column always has its type.
fn downcast<T: Array + 'static>(column: &ArrayRef) -> &T {
    column.as_any().downcast_ref::<T>().expect("the schema was checked when the batch was made")
}
