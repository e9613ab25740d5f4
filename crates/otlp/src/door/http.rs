//! OTLP over HTTP: `POST /v1/traces` and `/v1/logs`, protobuf or JSON.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Body;
use tokio::time::Instant;

use super::body::{Gathering, discard, next_piece};
use super::inflate::Compression;
use super::refusal::{Refusal, Refused};
use super::reply::{Reply, encode_response};
use super::stats::count;
use super::{Kept, Shared, status};
use crate::{Encoding, Payload};

/// Answers one HTTP request, in the encoding it came in.
pub(super) async fn answer<B>(request: Request<B>, shared: &Shared) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    count(&shared.stats.http_requests);
    let deadline = Instant::now() + shared.settings.request_timeout;
    let (head, mut body) = request.into_parts();
    let encoding = encoding(&head.headers);
    let mut is_reading = false;
    match export(&head, encoding, &mut body, &mut is_reading, shared, deadline).await {
        Ok((payload, encoding, kept)) => success(payload, encoding, kept),
        Err(refused) => {
            shared.stats.count_refused(refused.refusal);
            // A sender that waits for "100 Continue" has not sent its body and will not.
            let is_coming = is_reading || !head.headers.contains_key(EXPECT);
            if is_coming && head.version < Version::HTTP_2 && !body.is_end_stream() {
                let until = Instant::now() + shared.settings.body_idle_timeout;
                discard(&mut body, shared, until).await;
            }
            refusal(&refused, encoding.unwrap_or(Encoding::Protobuf))
        }
    }
}

async fn export<B>(
    head: &http::request::Parts,
    encoding: Option<Encoding>,
    body: &mut B,
    is_reading: &mut bool,
    shared: &Shared,
    deadline: Instant,
) -> Result<(Payload, Encoding, Kept), Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let payload = route(head.uri.path())?;
    if head.method != Method::POST {
        return Err(Refused::for_good(Refusal::WrongMethod, "telemetry is sent with POST"));
    }
    let Some(encoding) = encoding else {
        let message = "the content type must be application/x-protobuf or application/json";
        return Err(Refused::for_good(Refusal::WrongType, message));
    };
    let compression = compression(&head.headers)?;
    let ticket = shared.admit()?;

    // A body in chunks has no exact size: it is covered as it grows.
    let declared = body.size_hint().exact().unwrap_or(0);
    let mut gathering = Gathering::begin(shared, ticket, declared, compression)?;
    *is_reading = true;
    while let Some(piece) = next_piece(body, shared, deadline).await? {
        gathering.push(piece).await?;
    }
    let kept = shared.submit(payload, encoding, gathering.finish()?, deadline).await?;
    Ok((payload, encoding, kept))
}

fn route(path: &str) -> Result<Payload, Refused> {
    match path {
        "/v1/traces" => Ok(Payload::Traces),
        "/v1/logs" => Ok(Payload::Logs),
        "/v1/metrics" | "/v1/profiles" | "/v1development/profiles" => {
            Err(Refused::for_good(Refusal::WrongSignal, super::TRACES_AND_LOGS))
        }
        _ => {
            Err(Refused::for_good(Refusal::UnknownPath, "no such path; OTLP goes to /v1/traces and /v1/logs"))
        }
    }
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let kind = headers.get(CONTENT_TYPE)?.as_bytes().split(|byte| *byte == b';').next()?.trim_ascii();
    if kind.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
        Some(Encoding::Protobuf)
    } else if kind.eq_ignore_ascii_case(JSON.as_bytes()) {
        Some(Encoding::Json)
    } else {
        None
    }
}

fn compression(headers: &HeaderMap) -> Result<Option<Compression>, Refused> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map_or(&b""[..], HeaderValue::as_bytes);
    if let (Ok(compression), None) = (Compression::parse(first), values.next()) {
        return Ok(compression);
    }
    let message = "unknown content encoding; lapwing takes one of gzip, zstd and identity";
    Err(Refused::for_good(Refusal::WrongCompression, message))
}

fn success(payload: Payload, encoding: Encoding, kept: Kept) -> Response<Reply> {
    let body = match encoding {
        Encoding::Protobuf => encode_response(payload, kept),
        Encoding::Json => json_response(payload, &kept),
    };
    response(StatusCode::OK, encoding, body)
}

/// The export response in ProtoJSON, where 64-bit numbers are strings.
fn json_response(payload: Payload, kept: &Kept) -> Vec<u8> {
    if kept.says_nothing() {
        return b"{}".to_vec();
    }
    let rejected = match payload {
        Payload::Traces => "rejectedSpans",
        Payload::Logs => "rejectedLogRecords",
    };
    let partial = serde_json::json!({ rejected: kept.rejected.to_string(), "errorMessage": kept.reason });
    serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
}

fn refusal(refused: &Refused, encoding: Encoding) -> Response<Reply> {
    let body = match encoding {
        Encoding::Protobuf => status::encode(refused),
        Encoding::Json => status::encode_json(refused),
    };
    let mut response = response(refused.refusal.http_status(), encoding, body);
    let headers = response.headers_mut();
    if let Some(delay) = refused.retry_after {
        // RFC 9110, 10.2.3 knows whole seconds only; the status body carries the exact delay.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    match refused.refusal {
        Refusal::WrongMethod => headers.insert(ALLOW, HeaderValue::from_static("POST")),
        Refusal::WrongCompression => headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")),
        _ => None,
    };
    response
}

fn response(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response<Reply> {
    let kind = match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    };
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
