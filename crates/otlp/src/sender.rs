//! Sends recorded requests to an OTLP/gRPC receiver, as an exporter would.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use tonic::transport::{Channel, Endpoint};

use crate::Payload;

/// A connection to a receiver. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Sender {
    traces: TraceServiceClient<Channel>,
    logs: LogsServiceClient<Channel>,
}

/// A request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver could not be reached. Busy: try again.
    #[error("connect to {address}")]
    Connect {
        /// Where it should be.
        address: SocketAddr,
        /// What the transport said.
        source: tonic::transport::Error,
    },
    /// The recorded bytes are not a request. Rejected.
    #[error("the recorded request cannot be read: {0}")]
    Unreadable(#[from] prost::DecodeError),
    /// The receiver refused; the status says whether to try again.
    #[error("the receiver answered {}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
}

impl Sender {
    /// Connects to a receiver without TLS.
    ///
    /// # Errors
    /// [`SendError::Connect`].
    pub async fn connect(address: SocketAddr) -> Result<Sender, SendError> {
        let connect = |source| SendError::Connect { address, source };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(connect)?
            .connect()
            .await
            .map_err(connect)?;
        Ok(Sender { traces: TraceServiceClient::new(channel.clone()), logs: LogsServiceClient::new(channel) })
    }

    /// Sends one protobuf request and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`SendError::Unreadable`], [`SendError::Refused`].
    pub async fn send(&mut self, payload: Payload, body: &[u8]) -> Result<(), SendError> {
        let refused = |status| SendError::Refused(Box::new(status));
        match payload {
            Payload::Traces => {
                self.traces.export(ExportTraceServiceRequest::decode(body)?).await.map_err(refused)?;
            }
            Payload::Logs => {
                self.logs.export(ExportLogsServiceRequest::decode(body)?).await.map_err(refused)?;
            }
        }
        Ok(())
    }
}
