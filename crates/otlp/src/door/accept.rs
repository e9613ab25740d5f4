//! Connections: accepted one by one, served until they end, grow old or fall silent.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::admission::take;
use super::reply::Reply;
use super::stats::{DoorStats, count};
use super::{DoorSettings, Shared, grpc, http as plain_http};

/// Serves one port until the door closes and then until its last connection has ended.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    mut closing: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = closing.changed() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Either the peer has gone already, or the process is out of file descriptors.
                count(&shared.stats.accept_failures);
                tracing::debug!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(open) = Open::count(&shared) else { continue };
        let tls = tls.as_ref().map(|config| TlsAcceptor::from(Arc::clone(&config.borrow())));
        connections.spawn(connect(stream, tls, Arc::clone(&shared), closing.clone(), open));
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection's task panicked; the connection is cut");
    }
}

/// One open connection, for the count.
struct Open {
    stats: Arc<DoorStats>,
    /// Its number, counted from zero.
    ordinal: u64,
}

impl Open {
    /// Counts a new connection in, unless there are too many.
    fn count(shared: &Shared) -> Option<Open> {
        let stats = &shared.stats;
        if !take(&stats.open_connections, 1, shared.settings.max_connections as u64) {
            count(&stats.connections_refused);
            return None;
        }
        let ordinal = stats.connections.fetch_add(1, Ordering::Relaxed);
        Some(Open { stats: Arc::clone(stats), ordinal })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
    open: Open,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not switch off Nagle's algorithm");
    }
    let Some(acceptor) = tls else { return converse(stream, shared, closing, &open).await };
    let within = shared.settings.first_request_timeout;
    match tokio::time::timeout(within, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, shared, closing, &open).await,
        Ok(Err(error)) => {
            count(&shared.stats.tls_failures);
            tracing::debug!(%error, "refused a TLS handshake");
        }
        Err(_) => {
            count(&shared.stats.tls_failures);
            tracing::debug!("a TLS handshake took too long");
        }
    }
}

/// Serves the requests of one connection.
async fn converse<S>(stream: S, shared: Arc<Shared>, mut closing: watch::Receiver<bool>, open: &Open)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &shared.settings;
    let usage = Arc::new(Usage::default());
    let builder = builder(settings);
    let service = service_fn(|request| {
        let using = Using::begin(&usage);
        let shared = Arc::clone(&shared);
        async move {
            let response = answer(request, &shared).await;
            drop(using);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));

    let started = Instant::now();
    let too_old = started + spread(settings.max_connection_age, open.ordinal);
    let mut look_at = started + settings.first_request_timeout;
    let mut n_seen = 0;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke");
                }
                return;
            }
            _ = closing.changed() => break,
            () = tokio::time::sleep_until(look_at.min(too_old)) => {}
        }
        if Instant::now() >= too_old {
            break;
        }
        match usage.since(n_seen) {
            None if n_seen == 0 => {
                count(&shared.stats.connections_silent);
                return;
            }
            None => break,
            Some(n_now) => {
                n_seen = n_now;
                look_at = Instant::now() + settings.idle_timeout;
            }
        }
    }
    // What was begun may be answered; nothing new is begun.
    connection.as_mut().graceful_shutdown();
    let within = settings.request_timeout + settings.body_idle_timeout;
    drop(tokio::time::timeout(within, connection).await);
}

fn builder(settings: &DoorSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Also how long a connection may rest between two requests.
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams_per_connection)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_header_list_size(HTTP2_HEADERS_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// Both ports take both protocols: a sender that mixes them up is served all the same.
async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Reply> {
    let is_call = request.version() == Version::HTTP_2 && request.method() == Method::POST;
    if is_call && grpc::is_grpc(request.headers()) {
        grpc::answer(request, shared).await
    } else {
        plain_http::answer(request, shared).await
    }
}

/// Whether a connection is in use.
#[derive(Default)]
struct Usage {
    n_begun: AtomicU64,
    n_ended: AtomicU64,
}

impl Usage {
    /// How many requests have begun, or `None` if all have ended and none began since `n_seen`.
    fn since(&self, n_seen: u64) -> Option<u64> {
        let n_begun = self.n_begun.load(Ordering::Relaxed);
        let is_busy = n_begun != self.n_ended.load(Ordering::Relaxed);
        (is_busy || n_begun != n_seen).then_some(n_begun)
    }
}

/// A request in progress; ends when dropped, as it is when the sender cancels.
struct Using(Arc<Usage>);

impl Using {
    fn begin(usage: &Arc<Usage>) -> Using {
        count(&usage.n_begun);
        Using(Arc::clone(usage))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        count(&self.0.n_ended);
    }
}

/// Shortens `age` by up to a tenth, differently for neighbours: a thousand senders that connected
/// together must not reconnect together.
fn spread(age: Duration, ordinal: u64) -> Duration {
    // The golden ratio spreads consecutive numbers evenly (Knuth, TAOCP 6.4).
    let part = (ordinal as f64 * 0.618_033_988_749_894_9).fract();
    age.mul_f64(1.0 - part / 10.0)
}

/// Long enough not to spin while descriptors are short, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Holds any sane header; hyper's default is 400 KiB for each connection.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// What a peer may send ahead of its requests' turn. It is outside `max_in_flight_bytes`, so under
/// overload each connection holds up to this much: a megabyte would be a gigabyte at the default of
/// 1024 connections. It still allows 5 MB/s per connection at a round trip of 50 ms.
const HTTP2_WINDOW_BYTES: u32 = 256 << 10;

/// Export requests carry about ten short headers.
const HTTP2_HEADERS_BYTES: u32 = 16 << 10;

/// A peer that vanished without closing is noticed after the sum of both.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_began_together_end_apart_and_never_late() {
        let age = Duration::from_secs(1000);
        let mut ages: Vec<_> = (0..100).map(|ordinal| spread(age, ordinal).as_secs()).collect();
        assert!(ages.iter().all(|end| (900..=1000).contains(end)));
        ages.sort_unstable();
        ages.dedup();
        assert!(ages.len() > 60, "{}", ages.len());
    }

    #[test]
    fn a_connection_is_idle_only_without_old_and_new_requests() {
        let usage = Arc::new(Usage::default());
        assert_eq!(usage.since(0), None);
        let request = Using::begin(&usage);
        assert_eq!(usage.since(1), Some(1), "in progress");
        drop(request);
        assert_eq!(usage.since(0), Some(1), "new since the last look");
        assert_eq!(usage.since(1), None);
    }
}
