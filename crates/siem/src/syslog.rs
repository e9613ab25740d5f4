//! RFC 5424 messages over TCP (RFC 6587 section 3.4.1) or TLS (RFC 5425), with octet counting.
//!
//! TCP has no acknowledgement by the application: a written message is at the receiver's *kernel*. What a
//! receiver has not read when it dies is lost with it, and nobody is told. [`SyslogSink`] narrows that gap
//! (it looks for a closed connection before it writes, and writes again what it wrote last on a
//! connection that broke), so both loss and repeats are possible, and both are visible: `sequenceId`
//! counts the messages of a process and `id` with `rev` names each revision.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use lapwing_telemetry::{Finding, FindingSink, PublishError, Publishing};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::{Failure, TlsSettings};
use crate::{Context, Format, kinds, scales};

/// Sends findings to a syslog receiver over TCP or TLS.
///
/// Durable means: handed to the receiver's side of the connection. See the module for what that leaves open.
pub struct SyslogSink {
    settings: SyslogSettings,
    context: Context,
    connection: Option<Connection>,
    /// The latest frames written, at most `repeat_bytes` of them.
    recent: VecDeque<Vec<u8>>,
    recent_bytes: usize,
    /// Whether the latest connection ended badly, so that `recent` may not have been read.
    unsure: bool,
    /// `sequenceId` of the latest message (RFC 5424 section 7.3.1).
    sequence: u32,
}

/// A TCP or TLS connection.
type Connection = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Where and how to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    /// The sink's name.
    pub name: String,
    /// Host and port of the receiver, for example `siem.example:601`.
    pub address: String,
    /// TLS; `None` is plain TCP.
    pub tls: Option<TlsSettings>,
    /// What the body of a message says.
    pub format: Format,
    /// Syslog facility, 0 to 23.
    pub facility: u8,
    /// Longest time for a connection to come about.
    pub connect_timeout: Duration,
    /// Longest time for one publication to be taken by the peer.
    pub write_timeout: Duration,
    /// Longest message, without the count in front. Receivers cut or split what is longer than they like.
    pub max_message_bytes: usize,
    /// How much of what was written latest is written again when a connection broke; 0 turns it off.
    pub repeat_bytes: usize,
}

impl SyslogSettings {
    /// The settings for `address` with the defaults of the documentation.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> SyslogSettings {
        SyslogSettings {
            name: name.into(),
            address: address.into(),
            tls: None,
            format: Format::Ocsf,
            facility: FACILITY_LOG_AUDIT,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_message_bytes: MAX_MESSAGE_BYTES,
            repeat_bytes: REPEAT_BYTES,
        }
    }
}

/// RFC 5424 facility 13, "log audit".
pub const FACILITY_LOG_AUDIT: u8 = 13;

/// 8 KiB: the default of rsyslog and syslog-ng, which cut or split longer ones.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// A finding as an RFC 5424 message whose body is its OCSF form, without a byte order mark (rsyslog would
/// hand it on inside the JSON).
///
/// The body is brought down to [`MAX_MESSAGE_BYTES`] by leaving out evidence, never by cutting text, so
/// a message may still be longer in the end; [`SyslogSink`] sets such a finding aside.
/// `sequence_id` is 1 to 2 147 483 647.
pub fn rfc5424(finding: &Finding, context: &Context, facility: u8, sequence_id: u32) -> Vec<u8> {
    message(finding, context, (facility, Format::Ocsf), sequence_id, MAX_MESSAGE_BYTES)
}

/// As [`rfc5424`] with another body: CEF and LEEF lines are what their receivers look for in the message.
pub fn rfc5424_with(
    format: Format,
    finding: &Finding,
    context: &Context,
    facility: u8,
    sequence_id: u32,
) -> Vec<u8> {
    message(finding, context, (facility, format), sequence_id, MAX_MESSAGE_BYTES)
}

/// Puts the length in front of a message, in octets: RFC 6587 section 3.4.1.
pub fn octet_counted(message: &[u8]) -> Vec<u8> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    frame
}

impl SyslogSink {
    /// A sink that connects when it first publishes.
    pub fn new(settings: SyslogSettings, context: Context) -> SyslogSink {
        SyslogSink {
            settings,
            context,
            connection: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            unsure: false,
            sequence: 0,
        }
    }

    async fn send(&mut self, findings: &[Finding]) -> Result<(), PublishError> {
        // Taken out while in use: if this future is dropped half-way, the connection closes with it, and
        // the receiver throws the unfinished frame away.
        let mut connection = match self.still_open().await {
            Some(open) => open,
            None => {
                let mut fresh = self.connect().await?;
                if self.unsure {
                    self.repeat(&mut fresh).await?;
                }
                fresh
            }
        };
        self.unsure = true;
        let mut too_long = Vec::new();
        for (i, finding) in findings.iter().enumerate() {
            let sequence = self.next_sequence();
            let limit = self.settings.max_message_bytes;
            let head = (self.settings.facility, self.settings.format);
            let message = message(finding, &self.context, head, sequence, limit);
            if message.len() > limit {
                too_long.push(i);
                continue;
            }
            let frame = octet_counted(&message);
            if let Err(failure) = self.write(&mut connection, &frame).await {
                // A finding that is too long must come up again, to be set aside.
                return Err(publish_error(failure, too_long.first().copied().unwrap_or(i)));
            }
            self.remember(frame);
        }
        if let Err(error) = connection.flush().await {
            return Err(PublishError::Busy { reason: self.wrote_in_vain(&error).reason, delivered: 0 });
        }
        self.connection = Some(connection);
        self.unsure = false;
        if too_long.is_empty() {
            return Ok(());
        }
        let limit = self.settings.max_message_bytes;
        Err(PublishError::Rejected {
            reason: format!("longer than {limit} bytes even without evidence"),
            which: too_long,
        })
    }

    /// The connection, if the peer has not closed it.
    async fn still_open(&mut self) -> Option<Connection> {
        let mut kept = self.connection.take()?;
        if closed(&mut kept).await {
            self.unsure = true;
            return None;
        }
        Some(kept)
    }

    /// Writes again what may have died in the buffers of a connection that broke.
    async fn repeat(&mut self, connection: &mut Connection) -> Result<(), PublishError> {
        for frame in &self.recent {
            self.write(connection, frame).await.map_err(|failure| publish_error(failure, 0))?;
        }
        Ok(())
    }

    fn remember(&mut self, frame: Vec<u8>) {
        self.recent_bytes += frame.len();
        self.recent.push_back(frame);
        while self.recent_bytes > self.settings.repeat_bytes {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.len();
        }
    }

    async fn connect(&self) -> Result<Connection, PublishError> {
        let SyslogSettings { address, connect_timeout, .. } = &self.settings;
        let connected = timeout(*connect_timeout, self.connect_in_time()).await;
        connected
            .unwrap_or_else(|_elapsed| {
                let reason = format!("no answer in {} s", connect_timeout.as_secs_f32());
                Err(Failure { reason, refused: false })
            })
            .map_err(|Failure { reason, refused }| {
                let reason = format!("connect to syslog receiver `{address}`: {reason}");
                publish_error(Failure { reason, refused }, 0)
            })
    }

    async fn connect_in_time(&self) -> Result<Connection, Failure> {
        let SyslogSettings { address, tls, .. } = &self.settings;
        let failed = |error: std::io::Error| Failure { reason: error.to_string(), refused: false };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _port)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let mut stream: Connection = Box::new(tls.connect(host, &[], stream).await?);
                // With TLS 1.3 a server that refuses our certificate says so after the handshake: give it a
                // moment, or the first findings go to nobody.
                // Some close the connection without a word (rsyslog), which is the same refusal.
                match timeout(REFUSAL_WAIT, peer_ends(&mut stream)).await {
                    Ok(Failure { reason, .. }) => {
                        let reason = format!("after the TLS handshake: {reason}; check our certificate");
                        Err(Failure { reason, refused: true })
                    }
                    Err(_still_open) => Ok(stream),
                }
            }
        }
    }

    async fn write(&self, connection: &mut Connection, frame: &[u8]) -> Result<(), Failure> {
        let SyslogSettings { address, write_timeout, .. } = &self.settings;
        match timeout(*write_timeout, connection.write_all(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.wrote_in_vain(&error)),
            Err(_elapsed) => Err(Failure {
                reason: format!(
                    "write to syslog receiver `{address}`: it took nothing for {} s",
                    write_timeout.as_secs_f32()
                ),
                refused: false,
            }),
        }
    }

    fn wrote_in_vain(&self, error: &std::io::Error) -> Failure {
        Failure::of(&format!("write to syslog receiver `{}`", self.settings.address), error)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = if self.sequence >= MAX_SEQUENCE { 1 } else { self.sequence + 1 };
        self.sequence
    }
}

impl FindingSink for SyslogSink {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(self.send(findings))
    }
}

fn publish_error(failure: Failure, delivered: usize) -> PublishError {
    let Failure { reason, refused } = failure;
    if refused {
        PublishError::Refused { reason, delivered }
    } else {
        PublishError::Busy { reason, delivered }
    }
}

/// Whether the peer has closed or broken the connection. A receiver sends nothing, so what can be read is
/// its farewell; stray bytes are read and thrown away.
async fn closed(connection: &mut Connection) -> bool {
    let mut ended = std::pin::pin!(peer_ends(connection));
    std::future::poll_fn(|context| Poll::Ready(ended.as_mut().poll(context).is_ready())).await
}

/// Resolves when the peer closes or breaks the connection.
async fn peer_ends(connection: &mut Connection) -> Failure {
    let mut stray = [0; 256];
    loop {
        let mut buffer = ReadBuf::new(&mut stray);
        let read =
            std::future::poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buffer)).await;
        match read {
            Ok(()) if buffer.filled().is_empty() => {
                return Failure { reason: "it closed the connection".to_owned(), refused: false };
            }
            Ok(()) => {}
            Err(error) => return Failure::of("read", &error),
        }
    }
}

fn message(
    finding: &Finding,
    context: &Context,
    (facility, format): (u8, Format),
    sequence_id: u32,
    limit: usize,
) -> Vec<u8> {
    let priority = facility * 8 + scales(finding.severity).syslog;
    let mut message = format!(
        "<{priority}>1 {} {} lapwing {} {} ",
        finding.revised_at(),
        header_word(&context.hostname, 255),
        context.process_id,
        header_word(finding.kind.as_str(), 32),
    );
    structured_data(&mut message, finding, sequence_id);
    message.push(' ');
    // If it does not fit even so, the caller sees the length.
    message.push_str(&format.line_within(finding, context, limit.saturating_sub(message.len())));
    message.into_bytes()
}

/// What a receiver can filter on without parsing the body. 32473 is the enterprise number that RFC 5612
/// sets aside for documentation and private use.
fn structured_data(out: &mut String, finding: &Finding, sequence_id: u32) {
    let techniques: Vec<&str> = kinds::attacks(finding).iter().map(|attack| attack.technique.0).collect();
    let revision = finding.revision.to_string();
    let score = crate::number(finding.score);
    let confidence = crate::number(finding.confidence);
    out.push_str("[finding@32473");
    for (name, value) in [
        ("id", Some(finding.id.as_str())),
        ("rev", Some(revision.as_str())),
        ("state", Some(finding.state.as_str())),
        ("kind", Some(finding.kind.as_str())),
        ("detector", Some(finding.detector.as_str())),
        ("severity", Some(finding.severity.as_str())),
        ("score", Some(score.as_str())),
        ("confidence", Some(confidence.as_str())),
        ("cluster", Some(finding.cluster.as_str())),
        ("src", finding.source.as_deref()),
        ("dst", finding.destination.as_deref()),
        ("incident", Some(finding.incident.as_str())),
        ("techniques", Some(techniques.join(",").as_str()).filter(|list| !list.is_empty())),
    ] {
        if let Some(value) = value {
            write!(out, " {name}=\"").expect("writing to a string cannot fail");
            push_escaped(out, value);
            out.push('"');
        }
    }
    write!(out, "][meta sequenceId=\"{sequence_id}\"]").expect("writing to a string cannot fail");
}

/// RFC 5424 section 6.3.3: `"`, `\` and `]` are escaped with `\`. Control characters become spaces: a line
/// break would end the line in a receiver's file.
fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

/// A header field: printable ASCII without space, at most `limit` bytes, `-` if nothing is left
/// (RFC 5424 section 6).
fn header_word(text: &str, limit: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(limit).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// How long a fresh TLS connection is watched for the peer's refusal.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);
/// RFC 5424 section 7.3.1.
const MAX_SEQUENCE: u32 = 2_147_483_647;
/// What a receiver's socket buffer holds by default on Linux (`net.ipv4.tcp_rmem`, second value): that is
/// what dies with it.
const REPEAT_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, finding};

    fn text(finding: &Finding) -> String {
        String::from_utf8(rfc5424(finding, &context(), FACILITY_LOG_AUDIT, 7)).unwrap()
    }

    #[test]
    fn structured_data_escapes_what_would_end_it() {
        let mut claim = finding();
        claim.cluster = "a\"b]c\\d\ne".to_owned();
        assert!(text(&claim).contains(r#" cluster="a\"b\]c\\d e" "#));
    }

    #[test]
    fn header_fields_keep_to_their_limits_and_alphabet() {
        let mut sender = context();
        sender.hostname = format!("é {}", "h".repeat(300));
        let message = String::from_utf8(rfc5424(&finding(), &sender, 13, 1)).unwrap();
        assert_eq!(message.split(' ').nth(2).unwrap(), "h".repeat(255));
        sender.hostname = "é".to_owned();
        let message = String::from_utf8(rfc5424(&finding(), &sender, 13, 1)).unwrap();
        assert_eq!(message.split(' ').nth(2).unwrap(), "-");
    }

    #[test]
    fn a_long_message_loses_evidence_until_it_fits() {
        let mut claim = finding();
        let call = claim.exemplars[0].clone();
        claim.exemplars = vec![call; 5];
        claim.exemplars[4].operation = Some(format!("GET /{}", "x".repeat(6_000)));
        let message = text(&claim);
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{}", message.len());
        let body: serde_json::Value =
            serde_json::from_str(&message[message.find("] {").unwrap() + 2..]).unwrap();
        assert_eq!(body["evidences"].as_array().unwrap().len(), 4);
        assert_eq!(body["metadata"]["is_truncated"], true);
        assert_eq!(body["message"], claim.explanation);
    }

    #[test]
    fn the_count_is_in_octets_and_the_body_has_no_byte_order_mark() {
        let mut claim = finding();
        claim.explanation = "3 µs".to_owned();
        let message = rfc5424(&claim, &context(), 13, 1);
        let frame = octet_counted(&message);
        let count = message.len().to_string();
        assert!(frame.starts_with(count.as_bytes()) && frame[count.len()] == b' ');
        assert_eq!(&frame[count.len() + 1..], message);
        assert!(!String::from_utf8(message).unwrap().contains('\u{feff}'));
    }

    #[test]
    fn the_sequence_starts_again_at_one() {
        let mut sink = SyslogSink::new(SyslogSettings::new("siem", "127.0.0.1:1"), context());
        assert_eq!(sink.next_sequence(), 1);
        sink.sequence = MAX_SEQUENCE;
        assert_eq!(sink.next_sequence(), 1);
    }
}
