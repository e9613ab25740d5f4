//! The door: OTLP over gRPC and HTTP, to one queue of request bodies and back to one honest answer.
//!
//! Both transports do the same five steps: route, admit, read (and inflate) the body, submit, answer.
//! Admission comes before the first body byte is kept, so overload costs a header and a hint, never
//! memory. Every road that ends without an [`Outcome`] ends in "busy, retry in n seconds": silence is
//! never success, and what is wrong for good is never called retryable.
//!
//! Nothing here looks inside a body; that is decode's business.

mod accept;
mod admission;
mod body;
mod grpc;
mod http;
mod inflate;
mod refusal;
mod reply;
mod stats;
mod status;
mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::admission::Ticket;
pub use self::refusal::Refusal;
use self::refusal::Refused;
pub use self::stats::DoorStats;
pub use self::tls::TlsSettings;
use crate::{Encoding, Payload};

/// What the door is told once, when it opens. Every limit of the door is named here.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// Where gRPC is served; `None` serves it nowhere.
    pub grpc: Option<SocketAddr>,
    /// Where HTTP is served; `None` serves it nowhere.
    pub http: Option<SocketAddr>,
    /// The longest request body, after decompression. A longer one is refused for good.
    pub max_request_bytes: usize,
    /// The sum of all bodies between their first byte and their answer. Beyond it requests hear "busy".
    pub max_in_flight_bytes: usize,
    /// Requests between their headers and their answer. Beyond it requests hear "busy".
    pub max_in_flight_requests: usize,
    /// Arrivals that wait in the queue for the pipeline. Beyond it requests hear "busy".
    pub max_queued_requests: usize,
    /// Open connections on both ports together. Beyond it a connection is closed as soon as accepted.
    pub max_connections: usize,
    /// Requests that one HTTP/2 connection may have open at once.
    pub max_streams_per_connection: u32,
    /// From a request's headers to its answer; then the sender hears "busy".
    pub request_timeout: Duration,
    /// The longest pause inside a body; then the sender hears "busy".
    pub body_idle_timeout: Duration,
    /// From an accepted connection to its first whole request header, and for a TLS handshake.
    pub first_request_timeout: Duration,
    /// A connection without requests for this long is closed.
    pub idle_timeout: Duration,
    /// A connection this old is asked to reconnect, so that renewed certificates and new replicas are
    /// met by old clients too.
    pub max_connection_age: Duration,
    /// When senders that were refused by the door itself should come back.
    pub retry_after: Duration,
    /// TLS on both ports; `None` serves plain text.
    pub tls: Option<TlsSettings>,
}

impl Default for DoorSettings {
    fn default() -> DoorSettings {
        DoorSettings {
            grpc: Some((Ipv4Addr::LOCALHOST, 4317).into()),
            http: Some((Ipv4Addr::LOCALHOST, 4318).into()),
            max_request_bytes: 16 << 20,
            max_in_flight_bytes: 64 << 20,
            max_in_flight_requests: 1024,
            max_queued_requests: 1024,
            max_connections: 1024,
            max_streams_per_connection: 128,
            request_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(5),
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(5),
            max_connection_age: Duration::from_mins(30),
            retry_after: Duration::from_secs(1),
            tls: None,
        }
    }
}

/// One request body that the door has admitted and that someone waits for.
#[derive(Debug)]
pub struct Arrival {
    /// Which service it was sent to.
    pub payload: Payload,
    /// How the body is written.
    pub encoding: Encoding,
    /// The whole body, decompressed.
    pub body: Bytes,
    /// Whoever holds this owes the sender an outcome.
    pub answer: Answer,
}

/// The one answer that an [`Arrival`]'s sender waits for.
///
/// It carries the request's share of the in-flight limits, which is given back when the answer is
/// sent or dropped: keep it until the calls are durable and the limits cover them until then.
/// Dropping it unsent tells the sender "busy".
#[derive(Debug)]
pub struct Answer {
    sender: oneshot::Sender<Outcome>,
    _ticket: Ticket,
}

impl Answer {
    /// Answers the sender. A sender that has left meanwhile will retry, and hears nothing.
    pub fn send(self, outcome: Outcome) {
        // The only error is that nobody listens any more.
        drop(self.sender.send(outcome));
    }

    /// Whether the sender still waits; work for one that does not is wasted, since it will retry.
    pub fn is_awaited(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything but `rejected` spans or log records is durable. `reason` says why those were not,
    /// or is a warning when none were rejected; empty says nothing.
    Accepted {
        /// Spans or log records that were left out and must not be sent again.
        rejected: u64,
        /// A sentence for the sender's operator, without telemetry values.
        reason: String,
    },
    /// The body cannot be read and never will be; the sender must not retry.
    Malformed {
        /// What is wrong and where, without telemetry values.
        reason: String,
    },
    /// Nothing was kept; the sender should send the same again after `retry_after`.
    Busy {
        /// How long the sender should wait.
        retry_after: Duration,
        /// What is busy.
        reason: String,
    },
}

/// Why the door did not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Something else listens there. Broken: stop it, or configure another address.
    #[error(
        "listen for OTLP on {address}: the port is in use; stop the other process or set another endpoint"
    )]
    PortBusy {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on. Broken: the address or the process's rights are wrong.
    #[error("listen for OTLP on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate, key or CA file cannot be used. Broken at start; a reload keeps what it had.
    #[error("use TLS file {}: {reason}", file.display())]
    Tls {
        /// The file at fault.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings contradict each other. Broken: correct the named setting.
    #[error("door settings: {reason}")]
    Settings {
        /// Which setting, and what it must be.
        reason: &'static str,
    },
}

/// An open door. Dropping it closes both ports and cuts every connection.
#[derive(Debug)]
pub struct Door {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Binds the ports and starts to serve; arrivals come out of the receiver.
///
/// Dropping the receiver makes every request hear "busy".
pub async fn open(settings: DoorSettings) -> Result<(Door, mpsc::Receiver<Arrival>), DoorError> {
    check(&settings)?;
    let (queue, arrivals) = mpsc::channel(settings.max_queued_requests);
    let (closing, closing_seen) = watch::channel(false);
    let tls = match &settings.tls {
        None => None,
        Some(files) => Some(tls::Reloading::start(files.clone()).await?),
    };
    let shared =
        Arc::new(Shared { settings, stats: Arc::default(), queue, refusing: AtomicBool::new(false) });

    // Both ports are bound before either is served: a half-open door would lose half the telemetry.
    let grpc = bind(shared.settings.grpc).await?;
    let http = bind(shared.settings.http).await?;
    let mut door = Door { grpc: None, http: None, shared, closing, tasks: Vec::new() };
    for (listener, address) in [(grpc, &mut door.grpc), (http, &mut door.http)] {
        let Some((listener, bound)) = listener else { continue };
        *address = Some(bound);
        let tls = tls.as_ref().map(tls::Reloading::current);
        let serving = accept::serve(listener, Arc::clone(&door.shared), tls, closing_seen.clone());
        door.tasks.push(tokio::spawn(serving));
    }
    if let Some(tls) = tls {
        let stats = Arc::clone(&door.shared.stats);
        door.tasks.push(tokio::spawn(tls.watch(stats, closing_seen)));
    }
    Ok((door, arrivals))
}

impl Door {
    /// Where gRPC is served, with the port that was really bound.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Where HTTP is served, with the port that was really bound.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// What the door has counted since it opened.
    pub fn stats(&self) -> &Arc<DoorStats> {
        &self.shared.stats
    }

    /// Answers "busy" to every request from now on; requests already admitted go on.
    pub fn refuse(&self) {
        self.shared.refusing.store(true, Ordering::Relaxed);
    }

    /// Refuses new work, frees the ports, lets admitted requests be answered, and returns when every
    /// connection has ended or after `deadline`, whichever is first: with the number of connections
    /// that had to be cut.
    pub async fn close(mut self, deadline: Duration) -> u64 {
        self.refuse();
        self.closing.send_replace(true);
        let ends_at = Instant::now() + deadline;
        for task in &mut self.tasks {
            // Either it ended, or it is cut below when `self` is dropped.
            drop(tokio::time::timeout_at(ends_at, task).await);
        }
        self.shared.stats.open_connections.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What every connection of a door shares.
#[derive(Debug)]
struct Shared {
    settings: DoorSettings,
    stats: Arc<DoorStats>,
    queue: mpsc::Sender<Arrival>,
    refusing: AtomicBool,
}

impl Shared {
    /// Queues a body and waits for its outcome; anything but acceptance is a refusal.
    async fn submit(
        &self,
        payload: Payload,
        encoding: Encoding,
        (body, ticket): (Bytes, Ticket),
        deadline: Instant,
    ) -> Result<Kept, Refused> {
        let (sender, outcome) = oneshot::channel();
        let answer = Answer { sender, _ticket: ticket };
        match self.queue.try_send(Arrival { payload, encoding, body, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(self.busy(Refusal::QueueFull, "too many requests wait to be decoded"));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(self.busy(Refusal::Unanswered, "the pipeline has stopped"));
            }
        }
        match tokio::time::timeout_at(deadline, outcome).await {
            Ok(Ok(Outcome::Accepted { rejected, reason })) => {
                self.stats.count_accepted(rejected, &reason);
                Ok(Kept { rejected, reason })
            }
            Ok(Ok(Outcome::Malformed { reason })) => Err(Refused::for_good(Refusal::Malformed, reason)),
            Ok(Ok(Outcome::Busy { retry_after, reason })) => {
                Err(Refused::busy(Refusal::PipelineBusy, reason, retry_after))
            }
            Ok(Err(_)) => Err(self.busy(Refusal::Unanswered, "the pipeline gave no answer")),
            Err(_) => Err(self.busy(Refusal::TimedOut, "the pipeline did not answer in time")),
        }
    }

    /// A refusal that the sender should follow with a retry after the door's own delay.
    fn busy(&self, refusal: Refusal, message: &'static str) -> Refused {
        Refused::busy(refusal, message, self.settings.retry_after)
    }
}

/// An accepted request, as both transports report it.
#[derive(Debug)]
struct Kept {
    rejected: u64,
    reason: String,
}

impl Kept {
    /// Everything was accepted and there is no warning: OTLP wants `partial_success` unset then.
    fn says_nothing(&self) -> bool {
        self.rejected == 0 && self.reason.is_empty()
    }
}

fn check(settings: &DoorSettings) -> Result<(), DoorError> {
    let reason = if settings.grpc.is_none() && settings.http.is_none() {
        "neither gRPC nor HTTP has an endpoint; give at least one"
    } else if settings.max_request_bytes == 0 || settings.max_request_bytes > 1 << 30 {
        "max_request_bytes must be between 1 byte and 1 GiB"
    } else if settings.max_request_bytes > settings.max_in_flight_bytes {
        "max_in_flight_bytes must be at least max_request_bytes, or a large request is busy for ever"
    } else if settings.max_in_flight_requests == 0 || settings.max_connections == 0 {
        "max_in_flight_requests and max_connections must be at least 1"
    } else if settings.max_queued_requests == 0 || settings.max_streams_per_connection == 0 {
        "max_queued_requests and max_streams_per_connection must be at least 1"
    } else if !durations(settings).all(|duration| SHORTEST <= duration && duration <= LONGEST) {
        "timeouts, intervals, ages and retry_after must be between 1 ms and 365 days"
    } else {
        return Ok(());
    };
    Err(DoorError::Settings { reason })
}

fn durations(settings: &DoorSettings) -> impl Iterator<Item = Duration> {
    let of_door = [
        settings.request_timeout,
        settings.body_idle_timeout,
        settings.first_request_timeout,
        settings.idle_timeout,
        settings.max_connection_age,
        settings.retry_after,
    ];
    of_door.into_iter().chain(settings.tls.as_ref().map(|tls| tls.reload_interval))
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, DoorError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => DoorError::PortBusy { address },
        _ => DoorError::Bind { address, source },
    })?;
    let bound = listener.local_addr().map_err(|source| DoorError::Bind { address, source })?;
    Ok(Some((listener, bound)))
}

/// Below, loops would spin; above, moments in time would overflow.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Said to senders of metrics and profiles.
const TRACES_AND_LOGS: &str = "lapwing takes traces and logs only; send metrics and profiles elsewhere";
