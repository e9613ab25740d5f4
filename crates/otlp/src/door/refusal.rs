//! Why a request was refused, and what that means in each protocol.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use tonic::Code;

/// Why the door refused a request; the name under which it is counted.
///
/// The first ones are the sender's fault and permanent, the rest pass and carry a retry delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body, its framing or its compression cannot be read.
    Malformed,
    /// The body, decompressed, is longer than `max_request_bytes`.
    TooLarge,
    /// Metrics or profiles: lapwing takes traces and logs.
    WrongSignal,
    /// No such path or gRPC method.
    UnknownPath,
    /// HTTP, but not POST.
    WrongMethod,
    /// A content type that is neither protobuf nor JSON.
    WrongType,
    /// A compression that is neither gzip nor zstd.
    WrongCompression,
    /// `max_in_flight_requests` is reached.
    TooManyRequests,
    /// `max_in_flight_bytes` is reached.
    TooManyBytes,
    /// `max_queued_requests` is reached.
    QueueFull,
    /// The door is draining.
    Draining,
    /// The body stopped arriving, or its connection broke.
    BodyStalled,
    /// No outcome within `request_timeout`.
    TimedOut,
    /// The arrival was dropped without an outcome.
    Unanswered,
    /// The pipeline said "busy" itself.
    PipelineBusy,
}

impl Refusal {
    /// Every refusal, in the order of declaration.
    pub const ALL: [Refusal; 15] = [
        Refusal::Malformed,
        Refusal::TooLarge,
        Refusal::WrongSignal,
        Refusal::UnknownPath,
        Refusal::WrongMethod,
        Refusal::WrongType,
        Refusal::WrongCompression,
        Refusal::TooManyRequests,
        Refusal::TooManyBytes,
        Refusal::QueueFull,
        Refusal::Draining,
        Refusal::BodyStalled,
        Refusal::TimedOut,
        Refusal::Unanswered,
        Refusal::PipelineBusy,
    ];

    /// The word for it in metrics, for example `too_large`.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::TooLarge => "too_large",
            Refusal::WrongSignal => "wrong_signal",
            Refusal::UnknownPath => "unknown_path",
            Refusal::WrongMethod => "wrong_method",
            Refusal::WrongType => "wrong_type",
            Refusal::WrongCompression => "wrong_compression",
            Refusal::TooManyRequests => "too_many_requests",
            Refusal::TooManyBytes => "too_many_bytes",
            Refusal::QueueFull => "queue_full",
            Refusal::Draining => "draining",
            Refusal::BodyStalled => "body_stalled",
            Refusal::TimedOut => "timed_out",
            Refusal::Unanswered => "unanswered",
            Refusal::PipelineBusy => "pipeline_busy",
        }
    }

    /// Whether the sender should send the same request again.
    pub const fn is_retryable(self) -> bool {
        !matches!(
            self,
            Refusal::Malformed
                | Refusal::TooLarge
                | Refusal::WrongSignal
                | Refusal::UnknownPath
                | Refusal::WrongMethod
                | Refusal::WrongType
                | Refusal::WrongCompression
        )
    }

    /// The gRPC code, also the `code` in an HTTP answer's `google.rpc.Status`.
    ///
    /// Permanent refusals avoid OUT_OF_RANGE and RESOURCE_EXHAUSTED, which senders retry for ever
    /// (OTLP specification, "OTLP/gRPC response", failures), although gRPC libraries use them for
    /// messages that are too large.
    pub(super) const fn grpc_code(self) -> Code {
        match self {
            Refusal::Malformed | Refusal::TooLarge | Refusal::WrongMethod | Refusal::WrongType => {
                Code::InvalidArgument
            }
            Refusal::WrongSignal | Refusal::UnknownPath | Refusal::WrongCompression => Code::Unimplemented,
            _ => Code::Unavailable,
        }
    }

    /// The HTTP status.
    ///
    /// Of the retryable ones it is 503 and not 429, and of the permanent ones it is never 408 or a 5xx
    /// such as 501: OpenTelemetry's Python exporter drops on 429 and retries on 408 and every 5xx.
    pub(super) const fn http_status(self) -> StatusCode {
        match self {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::WrongSignal | Refusal::UnknownPath => StatusCode::NOT_FOUND,
            Refusal::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::WrongType | Refusal::WrongCompression => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A refusal on its way to the sender.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// A sentence for the sender's operator, without telemetry values.
    pub(super) message: Cow<'static, str>,
    /// When to retry; `None` means never.
    pub(super) retry_after: Option<Duration>,
}

impl Refused {
    /// The sender is at fault; the same request will never be accepted.
    pub(super) fn for_good(refusal: Refusal, message: impl Into<Cow<'static, str>>) -> Refused {
        debug_assert!(!refusal.is_retryable());
        Refused { refusal, message: message.into(), retry_after: None }
    }

    /// The same request may be accepted after `retry_after`.
    pub(super) fn busy(
        refusal: Refusal,
        message: impl Into<Cow<'static, str>>,
        retry_after: Duration,
    ) -> Refused {
        debug_assert!(refusal.is_retryable());
        Refused { refusal, message: message.into(), retry_after: Some(retry_after) }
    }

    /// The message, short enough for a gRPC trailer (many senders allow 8 KiB of headers in all, and
    /// percent-encoding can triple it).
    pub(super) fn short_message(&self) -> &str {
        let mut end = self.message.len().min(MAX_MESSAGE_BYTES);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        &self.message[..end]
    }
}

const MAX_MESSAGE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes that an OTLP sender retries, from the specification's two tables.
    const RETRIED_GRPC: [Code; 7] = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    const RETRIED_HTTP: [u16; 4] = [429, 502, 503, 504];

    #[test]
    fn a_refusal_is_retryable_in_both_protocols_or_in_neither() {
        for refusal in Refusal::ALL {
            let name = refusal.name();
            assert_eq!(RETRIED_GRPC.contains(&refusal.grpc_code()), refusal.is_retryable(), "{name}");
            let status = refusal.http_status();
            assert_eq!(RETRIED_HTTP.contains(&status.as_u16()), refusal.is_retryable(), "{name}");
            assert!(refusal.is_retryable() || status.is_client_error() && status.as_u16() != 408, "{name}");
        }
    }

    #[test]
    fn every_refusal_is_listed_once_at_its_own_place() {
        for (idx, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, idx);
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let refused = Refused::for_good(Refusal::Malformed, "é".repeat(400) + "!");
        assert_eq!(refused.short_message(), "é".repeat(256));
    }
}
