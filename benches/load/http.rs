//! OTLP/HTTP with requests that are bytes already.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::send::{Answer, rejected};

/// One connection, with one request at a time.
pub(crate) struct HttpSender {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl HttpSender {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<HttpSender> {
        let host = url.strip_prefix("http://").context("the address must begin with http://")?;
        let host = host.trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await.with_context(|| format!("connect to {host}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped or the server hangs up, which the next send notices.
        drop(tokio::spawn(connection));
        Ok(HttpSender { sender, host })
    }

    pub(crate) async fn send(&mut self, body: Bytes) -> Answer {
        self.exchange(body).await.unwrap_or(Answer::Failed)
    }

    async fn exchange(&mut self, body: Bytes) -> anyhow::Result<Answer> {
        let request = Request::post("/v1/traces")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let has_hint = response.headers().contains_key(header::RETRY_AFTER);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(match status {
            StatusCode::OK => Answer::Ok { rejected: rejected(body)? },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Answer::Refused { has_hint },
            _ => Answer::Failed,
        })
    }
}
