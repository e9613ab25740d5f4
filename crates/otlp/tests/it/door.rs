//! The door through real sockets. What this does not prove: what decode makes of the bodies.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod busy;
mod connections;
mod grpc;
mod hostile;
mod http;
mod tls;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderMap, Request};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lapwing_otlp::door::{Answer, Arrival, Door, DoorSettings, Outcome, open};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic_types::StatusExt;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Free ports on loopback, and a retry delay that nothing else could produce.
fn settings() -> DoorSettings {
    DoorSettings {
        grpc: Some(([127, 0, 0, 1], 0).into()),
        http: Some(([127, 0, 0, 1], 0).into()),
        retry_after: RETRY_AFTER,
        ..DoorSettings::default()
    }
}

const RETRY_AFTER: Duration = Duration::from_millis(3250);

fn accepted() -> Outcome {
    Outcome::Accepted { rejected: 0, reason: String::new() }
}

/// Opens a door whose pipeline answers everything with `outcome`.
async fn open_with(settings: DoorSettings, outcome: Outcome) -> Door {
    let (door, arrivals) = open(settings).await.unwrap();
    answer_all(arrivals, outcome);
    door
}

/// Answers every arrival; ends, with the bodies it saw, when the door is gone.
fn answer_all(mut arrivals: mpsc::Receiver<Arrival>, outcome: Outcome) -> JoinHandle<Vec<Bytes>> {
    tokio::spawn(async move {
        let mut bodies = Vec::new();
        while let Some(arrival) = arrivals.recv().await {
            bodies.push(arrival.body);
            arrival.answer.send(outcome.clone());
        }
        bodies
    })
}

/// Keeps every arrival's answer without ever sending it.
fn hold_all(mut arrivals: mpsc::Receiver<Arrival>) -> JoinHandle<Vec<Answer>> {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(arrival) = arrivals.recv().await {
            held.push(arrival.answer);
        }
        held
    })
}

/// A gRPC answer, from trailers or headers.
struct Called {
    headers: HeaderMap,
    status: tonic::Status,
    message: Bytes,
}

impl Called {
    fn retry_delay(&self) -> Option<Duration> {
        self.status.get_details_retry_info().and_then(|info| info.retry_delay)
    }
}

/// One gRPC request with these very bytes, over a new connection.
async fn call<B>(address: Option<SocketAddr>, path: &str, extra: &[(&str, &str)], body: B) -> Called
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address.unwrap()).await.unwrap();
    call_on(stream, path, extra, body).await
}

async fn call_on<S, B>(stream: S, path: &str, extra: &[(&str, &str)], body: B) -> Called
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut request = Request::post(format!("http://lapwing{path}")).header("te", "trailers");
    if !extra.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    let (head, body) = sender.send_request(request.body(body).unwrap()).await.unwrap().into_parts();
    assert_eq!(head.status, 200, "gRPC answers are always 200");
    let collected = body.collect().await.unwrap();
    let in_trailers = collected.trailers().and_then(tonic::Status::from_header_map);
    let status = in_trailers.or_else(|| tonic::Status::from_header_map(&head.headers)).unwrap();
    drop(sender);
    driving.await.unwrap().unwrap();
    Called { headers: head.headers, status, message: collected.to_bytes() }
}

/// A message behind its length prefix.
fn framed(flag: u8, message: &[u8]) -> http_body_util::Full<Bytes> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    http_body_util::Full::new(bytes.freeze())
}

/// A body that sends `first` and then neither goes on nor ends.
struct Stalled {
    first: Option<Bytes>,
}

impl Body for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Poll::Pending,
        }
    }
}

/// An HTTP/1.1 answer.
#[derive(Debug)]
struct Replied {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Replied {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as `google.rpc.Status`, read by the library that gRPC clients use.
    fn status(&self) -> tonic::Status {
        use prost::Message;
        let status = tonic_types::pb::Status::decode(&self.body[..]).unwrap();
        let code = tonic::Code::from_i32(status.code);
        tonic::Status::with_details(code, status.message, Bytes::copy_from_slice(&self.body))
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.status().get_details_retry_info().and_then(|info| info.retry_delay)
    }
}

/// Posts `body` with its length, over a new connection.
async fn post(address: Option<SocketAddr>, path: &str, headers: &str, body: &[u8]) -> Replied {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: lapwing\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    send(address, &[head.as_bytes(), body].concat()).await
}

/// Sends these very bytes over a new connection and reads one answer.
async fn send(address: Option<SocketAddr>, bytes: &[u8]) -> Replied {
    let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
    exchange(&mut stream, bytes).await
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Replied {
    stream.write_all(bytes).await.unwrap();
    read_reply(stream).await
}

async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> Replied {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole answer"));
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.insert(name.parse::<::http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let length = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Replied { status, headers, body }
}

/// Waits until `is_so`, for things that another task counts a moment later.
async fn eventually(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it became so");
}
