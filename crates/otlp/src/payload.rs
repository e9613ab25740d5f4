//! What a request is, and that it could not be read.

/// Which OTLP service a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Protobuf's binary form.
    Protobuf,
    /// OTLP/JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
    Json,
}

/// A request that cannot be read; nothing of it was appended. *Rejected*: it never will be readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What is wrong and at which byte, without values.
    pub reason: String,
}
