//! One HTTP/1.1 connection to one target, opened when it is needed and kept while it lasts.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, USER_AGENT,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HttpSettings;
use crate::tls::Failure;

/// What is sent.
pub(crate) struct Request {
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What stands after the settings' own query.
    pub(crate) query: String,
    /// What stands after the settings' own path.
    pub(crate) path_suffix: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(content_type: &'static str, body: Vec<u8>) -> Request {
        Request { content_type, headers: Vec::new(), query: String::new(), path_suffix: "", body }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// The largest answer that is read. A `_bulk` answer has about 150 bytes for each finding.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A connection to one target.
pub(super) struct Client {
    settings: HttpSettings,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(settings: &HttpSettings) -> Client {
        Client { settings: settings.clone(), connection: None }
    }

    /// Posts a request and reads the answer whole.
    ///
    /// On a connection that was kept, the peer may have hung up at any time: what fails there is sent once
    /// more on a new one. So a target may get a request twice.
    pub(super) async fn call(
        &mut self,
        request: &Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let headers = self.headers(request, authorization)?;
        let body =
            if self.settings.gzip { gzipped(&request.body) } else { Bytes::copy_from_slice(&request.body) };
        let target = self.settings.url.target(request.path_suffix, &request.query);
        // Taken out while in use: if this future is dropped, the connection closes with it.
        let kept = self.connection.take().filter(|kept| !kept.is_closed());
        if let Some(mut kept) = kept
            && let Ok(answer) = self.exchange(&mut kept, &target, &headers, &body).await
        {
            self.connection = Some(kept);
            return Ok(answer);
        }
        let mut fresh = self.connect().await?;
        let answer = self.exchange(&mut fresh, &target, &headers, &body).await?;
        self.connection = Some(fresh);
        Ok(answer)
    }

    fn headers(&self, request: &Request, authorization: Option<HeaderValue>) -> Result<HeaderMap, Failure> {
        let refused = |reason: String| Failure { reason, refused: true };
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&self.settings.url.authority());
        headers.insert(HOST, host.map_err(|_odd| refused("the host's name is odd".to_owned()))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lapwing/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        if self.settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, secret) in &self.settings.headers {
            let value = secret.read().map_err(refused)?;
            let name =
                HeaderName::try_from(name).map_err(|_odd| refused(format!("`{name}` is no header")))?;
            let value = HeaderValue::from_str(&value)
                .map_err(|_odd| refused(format!("header `{name}` cannot be sent")))?;
            headers.insert(name, value);
        }
        headers.extend(request.headers.iter().cloned());
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    async fn exchange(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        target: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = hyper::Request::post(target)
            .body(Full::new(body.clone()))
            .map_err(|error| Failure::of("request", &error))?;
        *request.headers_mut() = headers.clone();
        let url = &self.settings.url;
        let exchange = async {
            connection.ready().await.map_err(|error| Failure::of(&format!("post to {url}"), &error))?;
            let response = connection.send_request(request).await;
            let response = response.map_err(|error| Failure::of(&format!("post to {url}"), &error))?;
            let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| Failure::of(&format!("answer of {url}"), &*error))?.to_bytes();
            Ok(Answer { status, retry_after, body })
        };
        let limit = self.settings.request_timeout;
        timeout(limit, exchange).await.unwrap_or_else(|_elapsed| {
            let reason = format!("post to {url}: no answer in {} s", limit.as_secs_f32());
            Err(Failure { reason, refused: false })
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let (url, limit) = (&self.settings.url, self.settings.connect_timeout);
        timeout(limit, self.connect_in_time()).await.unwrap_or_else(|_elapsed| {
            let reason = format!("connect to {url}: no answer in {} s", limit.as_secs_f32());
            Err(Failure { reason, refused: false })
        })
    }

    async fn connect_in_time(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let HttpSettings { url, tls, .. } = &self.settings;
        let doing = format!("connect to {url}");
        let failed = |error: std::io::Error| Failure::of(&doing, &error);
        let stream = TcpStream::connect((url.host(), url.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if url.is_secure() {
            let stream = tls.connect(url.host(), &[b"http/1.1"], stream).await;
            let stream = stream
                .map_err(|failure| Failure { reason: format!("{doing}: {}", failure.reason), ..failure });
            handshake(stream?, &doing).await
        } else {
            handshake(stream, &doing).await
        }
    }
}

async fn handshake(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    doing: &str,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let made = http1::handshake(TokioIo::new(stream)).await;
    let (connection, driver) = made.map_err(|error| Failure::of(doing, &error))?;
    // Ends with the connection; what went wrong there is told to whoever waits for an answer.
    tokio::spawn(async move { drop(driver.await) });
    Ok(connection)
}

/// Level 3: findings shrink to a sixth; higher levels give a few percent for twice the time.
fn gzipped(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(3));
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("writing to memory cannot fail").into()
}

/// RFC 9110 section 10.2.3: seconds, or a date, which is taken from the answer's own `Date`: our clocks need
/// not agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let until = moment(text)?;
    let now = moment(headers.get(DATE)?.to_str().ok()?)?;
    Duration::try_from(until.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_in_seconds_or_as_a_date_how_long_to_wait() {
        let of = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers)
        };
        assert_eq!(of("120", None), Some(Duration::from_secs(120)));
        let (date, later) = ("Fri, 06 Nov 2026 07:49:37 GMT", "Fri, 06 Nov 2026 07:50:07 GMT");
        assert_eq!(of(later, Some(date)), Some(Duration::from_secs(30)));
        assert_eq!(of(date, Some(later)), None);
        assert_eq!(of(later, None), None);
        assert_eq!(of("soon", Some(date)), None);
    }
}
