//! What a request carries and how late its calls are, without decoding it.

use lapwing_telemetry::EventTime;
use lapwing_telemetry::calls::event_time;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

use crate::{Payload, latest_event_time, sniff};

/// Event times outside 2000 to 2100 are a broken clock's, and must not move arrivals.
const PLAUSIBLE: std::ops::Range<EventTime> =
    EventTime(946_684_800_000_000)..EventTime(4_102_444_800_000_000);

/// What a glance at a request shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// What it carries; `None` if neither spans nor log records can be seen.
    pub(super) payload: Option<Payload>,
    /// When the last call in it ended; `None` if none has a time that can be believed.
    pub(super) latest: Option<EventTime>,
}

impl Glance {
    /// Looks at a protobuf request. What is malformed ends the look there; decode will say what is wrong.
    pub(super) fn at_protobuf(body: &[u8]) -> Glance {
        let payload = sniff(body);
        let latest = payload.and_then(|payload| latest_event_time(payload, body));
        Glance { payload, latest: latest.filter(|time| PLAUSIBLE.contains(time)) }
    }

    /// Looks at an OTLP/JSON request; `None` if `body` is not JSON at all.
    pub(super) fn at_json(body: &[u8]) -> Option<Glance> {
        let mut glance = Glance::default();
        let request = match serde_json::from_slice::<Request>(body) {
            Ok(request) => request,
            Err(error) if error.is_data() => return Some(glance),
            Err(_) => return None,
        };
        for span in (request.resource_spans.into_iter().flatten())
            .flat_map(|resource| resource.scope_spans.unwrap_or_default())
            .flat_map(|scope| scope.spans.unwrap_or_default())
        {
            let end = span.end_time_unix_nano.0.max(span.start_time_unix_nano.0);
            glance.add(Payload::Traces, EventTime::from_unix_nanos(end));
        }
        for log in (request.resource_logs.into_iter().flatten())
            .flat_map(|resource| resource.scope_logs.unwrap_or_default())
            .flat_map(|scope| scope.log_records.unwrap_or_default())
        {
            glance.add(Payload::Logs, log.ended());
        }
        Some(glance)
    }

    fn add(&mut self, payload: Payload, time: EventTime) {
        self.payload.get_or_insert(payload);
        if PLAUSIBLE.contains(&time) {
            self.latest = self.latest.max(Some(time));
        }
    }
}

/// The part of OTLP/JSON that holds times; everything else is passed over.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: Option<Vec<ResourceSpans>>,
    resource_logs: Option<Vec<ResourceLogs>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    scope_spans: Option<Vec<ScopeSpans>>,
}

#[derive(serde::Deserialize)]
struct ScopeSpans {
    spans: Option<Vec<Span>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(default)]
    start_time_unix_nano: Nanos,
    #[serde(default)]
    end_time_unix_nano: Nanos,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    scope_logs: Option<Vec<ScopeLogs>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    log_records: Option<Vec<LogRecord>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    #[serde(default)]
    time_unix_nano: Nanos,
    #[serde(default)]
    observed_time_unix_nano: Nanos,
    attributes: Option<Vec<Attribute>>,
}

impl LogRecord {
    /// Its time, plus its `duration` attribute in milliseconds, as for protobuf.
    fn ended(&self) -> EventTime {
        let started =
            if self.time_unix_nano.0 > 0 { self.time_unix_nano } else { self.observed_time_unix_nano };
        let duration = self.attributes.iter().flatten().find(|attribute| attribute.key == "duration");
        let millis = duration.and_then(|attribute| attribute.value.as_ref()).and_then(|value| match value {
            Value { int_value: Some(millis), .. } => i64::try_from(millis.0).ok(),
            Value { string_value, .. } => string_value.as_ref()?.parse().ok(),
        });
        let nanos = millis.and_then(|millis: i64| millis.checked_mul(1_000_000));
        event_time(EventTime::from_unix_nanos(started.0).0, nanos)
    }
}

#[derive(serde::Deserialize)]
struct Attribute {
    #[serde(default)]
    key: String,
    value: Option<Value>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    string_value: Option<String>,
    int_value: Option<Nanos>,
}

/// 64-bit integers are text in OTLP/JSON, and numbers are allowed; zero for anything else.
#[derive(Clone, Copy, Default)]
struct Nanos(u64);

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
        struct Number;
        impl<'de> Visitor<'de> for Number {
            type Value = Nanos;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or one in quotes")
            }
            fn visit_str<E>(self, text: &str) -> Result<Nanos, E> {
                Ok(Nanos(text.parse().unwrap_or(0)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Nanos, E> {
                Ok(Nanos(value))
            }
            fn visit_i64<E>(self, _negative: i64) -> Result<Nanos, E> {
                Ok(Nanos(0))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Nanos, E> {
                Ok(Nanos(value as u64))
            }
            fn visit_unit<E>(self) -> Result<Nanos, E> {
                Ok(Nanos(0))
            }
            fn visit_bool<E>(self, _odd: bool) -> Result<Nanos, E> {
                Ok(Nanos(0))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Nanos, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Nanos(0))
            }
        }
        deserializer.deserialize_any(Number)
    }
}
