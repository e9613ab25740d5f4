//! Splunk HTTP Event Collector.
//!
//! <https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data>. Errors are told apart
//! by the `code` in the answer, not by the status alone. With indexer acknowledgement a finding counts as
//! delivered when an indexer has it; without, when the collector has it in memory.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use lapwing_telemetry::Finding;
use serde::Deserialize;
use serde_json::json;

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::{Context, Format};

/// What is particular to the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HecSettings {
    /// The index; the token's own if `None`.
    pub index: Option<String>,
    /// `source` of each event.
    pub source: String,
    /// `sourcetype` of each event; `lapwing:<format>:finding` if `None`.
    pub sourcetype: Option<String>,
    /// What `event` holds: [`Format::Native`], [`Format::Ocsf`] or [`Format::Ecs`].
    pub format: Format,
    /// Indexer acknowledgement; the token must have it switched on.
    pub ack: Option<AckSettings>,
}

/// How acknowledgements are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckSettings {
    /// A GUID that names this sender (`X-Splunk-Request-Channel`).
    pub channel: String,
    /// Time between two questions.
    pub interval: Duration,
    /// Time after which the events are sent again.
    pub timeout: Duration,
}

/// Makes a sink that sends one event for each revision.
///
/// `finding_event_id` is an indexed field; an event that was sent twice has it twice.
pub fn hec_sink(http: HttpSettings, settings: HecSettings, context: Context) -> HttpSink {
    // As the Collector's exporter takes it: with the path or without.
    let http = HttpSettings { url: http.url.ending("/services/collector"), ..http };
    HttpSink::with(http, Box::new(Hec { settings, context, asked: None }))
}

struct Hec {
    settings: HecSettings,
    context: Context,
    /// The acknowledgement that is waited for, and how often it was asked for.
    asked: Option<(u64, u32)>,
}

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

#[derive(Deserialize)]
struct HecAnswer {
    code: Option<u16>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(default)]
    acks: std::collections::BTreeMap<String, bool>,
    #[serde(rename = "invalid-event-number")]
    invalid_event: Option<usize>,
}

impl Hec {
    fn outgoing(&self, content_type: &'static str, body: Vec<u8>) -> Request {
        let mut request = Request::new(content_type, body);
        if let Some(ack) = &self.settings.ack
            && let Ok(channel) = HeaderValue::from_str(&ack.channel)
        {
            request.headers.push((CHANNEL, channel));
        }
        request
    }

    /// Asks for the acknowledgement that is waited for.
    fn ask(&mut self, ack_id: u64) -> Step {
        let Some(ack) = &self.settings.ack else { return Step::Known(Verdict::Taken) };
        let interval = ack.interval.max(Duration::from_millis(1));
        let most = (ack.timeout.as_millis() / interval.as_millis()) as u32;
        let times = match self.asked {
            Some((id, times)) if id == ack_id => times + 1,
            _ => 1,
        };
        self.asked = Some((ack_id, times));
        if times > most.max(1) {
            let reason = format!("not acknowledged by an indexer within {} s", ack.timeout.as_secs_f32());
            return Step::Known(Verdict::Busy(reason));
        }
        let body = json!({ "acks": [ack_id] }).to_string().into_bytes();
        let mut request = self.outgoing("application/json", body);
        request.path_suffix = "/ack";
        Step::Ask(request, interval)
    }
}

impl Dialect for Hec {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        let sourcetype = self.settings.sourcetype.clone();
        let sourcetype =
            sourcetype.unwrap_or_else(|| format!("lapwing:{}:finding", self.settings.format.as_str()));
        let micros = finding.revised_at().0;
        let head = json!({
            "host": self.context.hostname,
            "source": self.settings.source,
            "sourcetype": sourcetype,
            "fields": {
                "finding_id": finding.id,
                "finding_event_id": finding.event_id(),
                "cluster": finding.cluster,
            },
        });
        let index = self
            .settings
            .index
            .as_ref()
            .map_or_else(String::new, |index| format!("\"index\":{},", json!(index)));
        let head = head.to_string();
        // Seconds with a fraction, as the collector wants them; as a float they would lose digits.
        let (seconds, millis) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) / 1_000);
        let event = self.settings.format.line(finding, &self.context);
        let head = &head[1..head.len() - 1];
        Ok(format!("{{\"time\":{seconds}.{millis:03},{index}{head},\"event\":{event}}}").into_bytes())
    }

    fn request(&mut self, _findings: &[Finding], parts: &[Vec<u8>]) -> Request {
        self.asked = None;
        let mut request = self.outgoing("application/json", parts.join(&b'\n'));
        request.path_suffix = "/event";
        request
    }

    fn judge(&mut self, answer: &Answer, _count: usize) -> Step {
        let Ok(body) = serde_json::from_slice::<HecAnswer>(&answer.body) else {
            return Step::Known(Verdict::Busy("an answer that is not a collector's".to_owned()));
        };
        if let Some((waiting, _)) = self.asked {
            return match body.acks.get(&waiting.to_string()) {
                Some(true) => Step::Known(Verdict::Taken),
                _ => self.ask(waiting),
            };
        }
        match (body.code, body.ack_id, &self.settings.ack) {
            (Some(0), Some(ack_id), Some(_)) => self.ask(ack_id),
            (Some(0), None, Some(_)) => Step::Known(Verdict::Refused(
                "the token gives no acknowledgements; switch indexer acknowledgement on for it, or off here"
                    .to_owned(),
            )),
            (Some(0), _, None) => Step::Known(Verdict::Taken),
            (code, ..) => Step::Known(Verdict::Busy(format!("code {code:?} with success"))),
        }
    }

    fn judge_error(&self, answer: &Answer) -> Option<Verdict> {
        let body = serde_json::from_slice::<HecAnswer>(&answer.body).ok()?;
        let refused = |what: &str| Some(Verdict::Refused(what.to_owned()));
        match body.code? {
            1 => refused("the token is disabled (code 1); enable it"),
            2 => refused("no token came through (code 2); look for a proxy that takes it out"),
            3 => refused("the authorization is malformed (code 3); check the token"),
            4 => refused("the token is not known (code 4); renew it"),
            7 => refused("the index is wrong (code 7); permit the token to write it, or create it"),
            10 | 11 => {
                refused("the channel is missing or wrong (codes 10, 11); give a GUID as `ack.channel`")
            }
            14 => {
                refused("the token gives no acknowledgements (code 14); switch them on for it, or off here")
            }
            // Which event is wrong, counted from 0.
            6 | 12 | 13 | 15 if body.invalid_event.is_some() => Some(Verdict::Wrong(
                body.invalid_event.unwrap_or_default(),
                format!("the collector takes no such event (code {})", body.code.unwrap_or_default()),
            )),
            code @ (5 | 6 | 12 | 13 | 15) => {
                Some(Verdict::Split(format!("the collector takes no such event (code {code})")))
            }
            code @ (8 | 9 | 18..=20 | 23 | 26 | 27) => {
                Some(Verdict::Busy(format!("the collector is busy (code {code})")))
            }
            _ => None,
        }
    }
}
