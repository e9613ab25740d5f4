//! Targets that answer at once, unzip what they get and look at the id of every finding.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use prost::Message;
use serde_json::{Deserializer, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bulk,
    Hec,
    Otlp,
    Sentinel,
    Webhook,
    Alertmanager,
    Syslog,
}

impl Kind {
    pub(crate) const ALL: [Kind; 7] =
        [Kind::Bulk, Kind::Hec, Kind::Otlp, Kind::Sentinel, Kind::Webhook, Kind::Alertmanager, Kind::Syslog];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Bulk => "elasticsearch",
            Kind::Hec => "splunk_hec",
            Kind::Otlp => "otlphttp",
            Kind::Sentinel => "sentinel",
            Kind::Webhook => "webhook",
            Kind::Alertmanager => "alertmanager",
            Kind::Syslog => "syslog, CEF",
        }
    }
}

/// A place to send to, whether or not anybody is there.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
}

impl Target {
    /// Picks a free port; nobody listens on it.
    pub(crate) async fn reserve(kind: Kind) -> io::Result<Target> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Target { kind, address: listener.local_addr()? })
    }

    /// Listens on it.
    pub(crate) async fn serve(&self) -> io::Result<Running> {
        let (listener, kind) = (TcpListener::bind(self.address).await?, self.kind);
        let (seen, _) = watch::channel(Seen::default());
        let running = Running { seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let stream = BufReader::with_capacity(1 << 16, stream);
                    // Ends with the connection, however that ends.
                    drop(if kind == Kind::Syslog {
                        frames(stream, &seen).await
                    } else {
                        requests(kind, stream, &seen).await
                    });
                });
            }
        });
        Ok(running)
    }
}

/// A target that is there.
pub(crate) struct Running {
    seen: watch::Sender<Seen>,
}

impl Running {
    pub(crate) fn summary(&self) -> Summary {
        self.seen.borrow().summary
    }
}

/// What came.
#[derive(Default)]
struct Seen {
    summary: Summary,
    /// The latest revision of each finding.
    latest: HashMap<String, u32>,
}

/// What came, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// Revisions that came for the first time.
    pub(crate) findings: u64,
    /// Revisions that had come before.
    pub(crate) repeats: u64,
    /// Revisions that came before the one ahead of them.
    pub(crate) out_of_order: u64,
    /// Bytes of bodies, unzipped.
    pub(crate) bytes: u64,
}

impl Summary {
    pub(crate) fn complete(&self, findings: u32) -> bool {
        self.out_of_order == 0 && self.findings == u64::from(findings)
    }
}

impl Seen {
    /// Takes down `<id>.<revision>`.
    fn note(&mut self, event_id: &str) {
        let Some((id, revision)) = event_id.rsplit_once('.') else { return };
        let Ok(revision) = revision.parse::<u32>() else { return };
        let latest = self.latest.entry(id.to_owned()).or_default();
        if revision <= *latest {
            self.summary.repeats += 1;
        } else {
            self.summary.findings += 1;
            self.summary.out_of_order += u64::from(revision != *latest + 1);
            *latest = revision;
        }
    }
}

async fn requests(
    kind: Kind,
    mut stream: BufReader<TcpStream>,
    seen: &watch::Sender<Seen>,
) -> io::Result<()> {
    loop {
        let (mut length, mut gzip, mut event_id, mut line) = (0, false, None, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                Some(("content-encoding", value)) => gzip = value == "gzip",
                Some(("ce-id", value)) => event_id = Some(value.to_owned()),
                _ if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if gzip {
            let mut plain = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
            body = plain;
        }
        let ids = event_id.map_or_else(|| event_ids(kind, &body), |id| vec![id]);
        seen.send_modify(|seen| {
            seen.summary.bytes += body.len() as u64;
            ids.iter().for_each(|id| seen.note(id));
        });
        let said = match kind {
            Kind::Bulk => {
                let items: Vec<_> = ids.iter().map(|_| json!({ "create": { "status": 201 } })).collect();
                json!({ "errors": false, "items": items }).to_string()
            }
            Kind::Hec => r#"{"text":"Success","code":0}"#.to_owned(),
            _ => String::new(),
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// `<id>.<revision>` of each finding of a body.
fn event_ids(kind: Kind, body: &[u8]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = || Deserializer::from_slice(body).into_iter::<Value>().flatten();
    match kind {
        Kind::Bulk => lines().step_by(2).map(|action| text(&action["create"]["_id"])).collect(),
        Kind::Hec => lines().map(|event| text(&event["fields"]["finding_event_id"])).collect(),
        Kind::Sentinel => lines()
            .flat_map(|rows| rows.as_array().cloned().unwrap_or_default())
            .map(|row| text(&row["FindingEventId"]))
            .collect(),
        Kind::Alertmanager => lines()
            .flat_map(|alerts| alerts.as_array().cloned().unwrap_or_default())
            .map(|a| format!("{}.{}", text(&a["labels"]["finding_id"]), text(&a["annotations"]["revision"])))
            .collect(),
        Kind::Otlp => {
            let request = ExportLogsServiceRequest::decode(body).unwrap_or_default();
            let records =
                request.resource_logs.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records);
            let uid = records.filter_map(|r| r.attributes.into_iter().find(|a| a.key == "log.record.uid"));
            uid.filter_map(|a| match a.value?.value? {
                any_value::Value::StringValue(text) => Some(text),
                _ => None,
            })
            .collect()
        }
        Kind::Webhook | Kind::Syslog => Vec::new(),
    }
}

/// Octet-counted CEF.
async fn frames(mut stream: BufReader<TcpStream>, seen: &watch::Sender<Seen>) -> io::Result<()> {
    loop {
        let mut count = Vec::new();
        if stream.read_until(b' ', &mut count).await? == 0 {
            return Ok(());
        }
        let count = std::str::from_utf8(&count).ok().and_then(|text| text.trim_end().parse().ok());
        let mut message = vec![0; count.unwrap_or(0)];
        stream.read_exact(&mut message).await?;
        let message = String::from_utf8_lossy(&message);
        let event_id = message.split_once(" externalId=").and_then(|(_, rest)| rest.split(' ').next());
        seen.send_modify(|seen| {
            seen.summary.bytes += message.len() as u64;
            seen.note(event_id.unwrap_or_default());
        });
    }
}
