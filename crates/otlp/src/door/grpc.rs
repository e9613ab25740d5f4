//! OTLP over gRPC: unary calls whose message stays bytes.
//!
//! The framing is read here and not by a gRPC server library, because a library's server collects and
//! decompresses the message before anyone can refuse it, and reports its size limit with codes that
//! OTLP senders retry for ever. The part needed is small: one length-prefixed message in, one out, a
//! status in the trailers (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`).

use std::future::ready;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Body;
use tokio::time::Instant;

use super::admission::Ticket;
use super::body::{Gathering, next_piece};
use super::inflate::Compression;
use super::refusal::{Refusal, Refused};
use super::reply::{Reply, encode_response};
use super::stats::count;
use super::{Kept, Shared, status};
use crate::{Encoding, Payload};

/// Whether a request speaks gRPC, going by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one gRPC request.
pub(super) async fn answer<B>(request: Request<B>, shared: &Shared) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    count(&shared.stats.grpc_requests);
    match export(request, shared).await {
        Ok((payload, kept)) => success(response_message(payload, kept)),
        Err(refused) => {
            shared.stats.count_refused(refused.refusal);
            refusal(&refused)
        }
    }
}

async fn export<B>(request: Request<B>, shared: &Shared) -> Result<(Payload, Kept), Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let deadline = Instant::now() + shared.settings.request_timeout;
    let payload = route(request.uri().path())?;
    let compression = check_headers(request.headers())?;
    let ticket = shared.admit()?;
    let message = read_message(request.into_body(), shared, ticket, compression, deadline).await?;
    let kept = shared.submit(payload, Encoding::Protobuf, message, deadline).await?;
    Ok((payload, kept))
}

fn route(path: &str) -> Result<Payload, Refused> {
    const SERVICES: &str = "/opentelemetry.proto.collector.";
    match path.strip_prefix(SERVICES) {
        Some("trace.v1.TraceService/Export") => Ok(Payload::Traces),
        Some("logs.v1.LogsService/Export") => Ok(Payload::Logs),
        Some(other) if other.starts_with("metrics.") || other.starts_with("profiles.") => {
            Err(Refused::for_good(Refusal::WrongSignal, super::TRACES_AND_LOGS))
        }
        _ => Err(Refused::for_good(
            Refusal::UnknownPath,
            "no such method; lapwing serves OTLP traces and logs",
        )),
    }
}

/// Returns the compression that flagged messages of this request use.
fn check_headers(headers: &HeaderMap) -> Result<Option<Compression>, Refused> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !matches!(kind, b"application/grpc" | b"application/grpc+proto") {
        return Err(Refused::for_good(Refusal::WrongType, "over gRPC lapwing takes protobuf messages only"));
    }
    let encoding = headers.get("grpc-encoding").map_or(&b""[..], HeaderValue::as_bytes);
    Compression::parse(encoding).map_err(|()| {
        Refused::for_good(
            Refusal::WrongCompression,
            "unknown grpc-encoding; lapwing takes gzip, zstd and identity",
        )
    })
}

/// Reads the one message of a unary call.
async fn read_message<B>(
    mut body: B,
    shared: &Shared,
    ticket: Ticket,
    compression: Option<Compression>,
    deadline: Instant,
) -> Result<(Bytes, Ticket), Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let malformed = |message| Refused::for_good(Refusal::Malformed, message);
    let mut prefix = [0; PREFIX_BYTES];
    let mut n_prefix = 0;
    let mut piece = Bytes::new();
    while n_prefix < PREFIX_BYTES {
        piece = next_piece(&mut body, shared, deadline)
            .await?
            .ok_or_else(|| malformed("the call ended before its message's length"))?;
        let taken = piece.split_to(piece.len().min(PREFIX_BYTES - n_prefix));
        prefix[n_prefix..n_prefix + taken.len()].copy_from_slice(&taken);
        n_prefix += taken.len();
    }
    let [flag, length @ ..] = prefix;
    let compression = match (flag, compression) {
        (0, _) => None,
        (1, Some(compression)) => Some(compression),
        (1, None) => return Err(malformed("a compressed message without grpc-encoding")),
        _ => return Err(malformed("unknown compression flag before the message")),
    };

    let mut left = u32::from_be_bytes(length) as usize;
    let mut gathering = Gathering::begin(shared, ticket, left as u64, compression)?;
    loop {
        left = left
            .checked_sub(piece.len())
            .ok_or_else(|| malformed("bytes after the message; an export is a unary call"))?;
        if !piece.is_empty() {
            gathering.push(piece).await?;
        }
        match next_piece(&mut body, shared, deadline).await? {
            Some(next) => piece = next,
            None if left == 0 => return gathering.finish(),
            None => return Err(malformed("the call ended before its message")),
        }
    }
}

fn response_message(payload: Payload, kept: Kept) -> Bytes {
    if kept.says_nothing() {
        // An unset `partial_success` means full success, and both responses are empty without it.
        return Bytes::from_static(&[0; PREFIX_BYTES]);
    }
    let message = encode_response(payload, kept);
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

fn success(message: Bytes) -> Response<Reply> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A "trailers-only" response: the status travels in the headers and nothing follows.
fn refusal(refused: &Refused) -> Response<Reply> {
    let details = status::encode(refused).into();
    let status =
        tonic::Status::with_details(refused.refusal.grpc_code(), refused.short_message().to_owned(), details);
    let mut response = status.into_http::<()>().map(|()| Either::Left(Full::default()));
    if refused.refusal == Refusal::WrongCompression {
        // gRPC compression specification: the answer to an unknown one lists the known ones.
        let known = HeaderValue::from_static("identity,gzip,zstd");
        response.headers_mut().insert("grpc-accept-encoding", known);
    }
    response
}

/// A compression flag and a big-endian length precede every gRPC message.
const PREFIX_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::super::{Arrival, DoorSettings};
    use super::*;

    /// A body that arrives in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        fn cut(bytes: &[u8], at: &[prop::sample::Index]) -> Pieces {
            let mut cuts: Vec<_> = at.iter().map(|idx| idx.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            Pieces(cuts.windows(2).map(|ends| Bytes::copy_from_slice(&bytes[ends[0]..ends[1]])).collect())
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// Reads one message as a request's would be, and checks that its ticket is given back.
    fn read(body: Pieces, compression: Option<Compression>, limit: usize) -> Result<Bytes, Refusal> {
        let (queue, _arrivals) = mpsc::channel::<Arrival>(1);
        let settings = DoorSettings { max_request_bytes: limit, ..DoorSettings::default() };
        let stats = Arc::default();
        let shared = Shared { settings, stats, queue, refusing: AtomicBool::new(false) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome = runtime.block_on(async {
            let deadline = Instant::now() + shared.settings.request_timeout;
            let ticket = shared.admit().unwrap();
            let (message, _ticket) = read_message(body, &shared, ticket, compression, deadline).await?;
            assert!(shared.stats.in_flight_bytes.load(Ordering::Relaxed) >= message.len() as u64);
            Ok(message)
        });
        assert_eq!(shared.stats.in_flight_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(shared.stats.in_flight_requests.load(Ordering::Relaxed), 0);
        outcome.map_err(|refused: Refused| refused.refusal)
    }

    proptest! {
        #[test]
        fn a_message_is_the_same_however_its_bytes_are_cut(
            message in prop::collection::vec(any::<u8>(), 0..500),
            n_repeats in 1..200usize,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            is_compressed: bool,
        ) {
            let message = message.repeat(n_repeats);
            let wire = if is_compressed { zstd::encode_all(&message[..], 1).unwrap() } else { message.clone() };
            let framed = [&[u8::from(is_compressed)], &(wire.len() as u32).to_be_bytes()[..], &wire].concat();
            let limit = message.len().max(wire.len()).max(1);
            let whole = read(Pieces::cut(&framed, &cuts), Some(Compression::Zstd), limit).unwrap();
            prop_assert!(whole == message);
            if message.len() > 1 {
                let refused = read(Pieces::cut(&framed, &cuts), Some(Compression::Zstd), message.len() - 1);
                prop_assert_eq!(refused.unwrap_err(), Refusal::TooLarge);
            }
        }

        #[test]
        fn strange_bytes_are_refused_for_good(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            is_gzip: bool,
        ) {
            let compression = if is_gzip { Compression::Gzip } else { Compression::Zstd };
            if let Err(refusal) = read(Pieces::cut(&bytes, &cuts), Some(compression), 1 << 20) {
                prop_assert!([Refusal::Malformed, Refusal::TooLarge].contains(&refusal));
            } else {
                prop_assert_eq!(bytes[0], 0, "nothing this short inflates by chance");
            }
        }
    }
}
