//! What both protocols answer with.

use std::convert::Infallible;
use std::future::Ready;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::WithTrailers;
use http_body_util::{Either, Full};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;

use super::Kept;
use crate::Payload;

/// The body of every answer: bytes, or bytes and gRPC's trailers.
pub(super) type Reply =
    Either<Full<Bytes>, WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>>;

/// The export response of the signal, protobuf-encoded.
pub(super) fn encode_response(payload: Payload, kept: Kept) -> Vec<u8> {
    let says_nothing = kept.says_nothing();
    let rejected = i64::try_from(kept.rejected).unwrap_or(i64::MAX);
    let error_message = kept.reason;
    match payload {
        Payload::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
            ExportTraceServiceResponse { partial_success: (!says_nothing).then_some(partial) }.encode_to_vec()
        }
        Payload::Logs => {
            let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
            ExportLogsServiceResponse { partial_success: (!says_nothing).then_some(partial) }.encode_to_vec()
        }
    }
}
