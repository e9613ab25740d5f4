//! OTLP/gRPC with requests that are bytes already.

use bytes::{Buf, BufMut, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::send::{Answer, rejected};

/// One connection.
#[derive(Clone)]
pub(crate) struct GrpcSender {
    client: Grpc<Channel>,
}

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

impl GrpcSender {
    pub(crate) async fn connect(address: &str) -> anyhow::Result<GrpcSender> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        Ok(GrpcSender { client: Grpc::new(endpoint.connect().await?) })
    }

    pub(crate) async fn send(&mut self, request: Bytes) -> Answer {
        if self.client.ready().await.is_err() {
            return Answer::Failed;
        }
        let path = http_path();
        match self.client.unary(Request::new(request), path, BytesCodec).await {
            Ok(response) => {
                rejected(response.into_inner()).map_or(Answer::Failed, |rejected| Answer::Ok { rejected })
            }
            Err(status) => refusal(&status),
        }
    }
}

fn http_path() -> hyper::http::uri::PathAndQuery {
    hyper::http::uri::PathAndQuery::from_static(EXPORT)
}

/// The OTLP specification's reading of a gRPC status: a hint makes `RESOURCE_EXHAUSTED` worth a retry.
fn refusal(status: &Status) -> Answer {
    let hint = b"google.rpc.RetryInfo";
    let has_hint = status.details().windows(hint.len()).any(|window| window == hint);
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted => Answer::Refused { has_hint },
        _ => Answer::Failed,
    }
}

/// Bytes as they are.
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}
