//! The yardstick: the least that a receiver with prost can do.

use std::hint::black_box;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Largest request, as lapwing's default.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Receives until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let service = TraceServiceServer::new(Sink).max_decoding_message_size(MAX_REQUEST_BYTES);
    Ok(Server::builder().tcp_nodelay(true).add_service(service).serve(address).await?)
}

struct Sink;

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        drop(black_box(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
