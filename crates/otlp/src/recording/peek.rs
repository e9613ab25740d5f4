//! What a request carries and how late its calls are, without decoding it.

use lapwing_telemetry::EventTime;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

use crate::Payload;
use crate::wire::{BYTES, FIXED64, Fault, Reader, Room, key};

/// Event times outside 2000 to 2100 are a broken clock's, and must not move arrivals.
const PLAUSIBLE_NANOS: std::ops::Range<u64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;

/// What a glance at a request shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// What it carries; `None` if neither spans nor log records can be seen.
    pub(super) payload: Option<Payload>,
    /// The latest plausible event time in Unix nanoseconds: a span's end, a log record's time.
    pub(super) latest_nanos: Option<u64>,
}

impl Glance {
    /// Walks `Export…ServiceRequest.resource_… (1) → scope_… (2) → spans or log_records (2)`; the numbers
    /// are the same in both. What is not protobuf ends the walk there; decode will say what is wrong.
    pub(super) fn at_protobuf(body: &[u8]) -> Glance {
        let mut glance = Glance::default();
        match glance.walk(body, &[1, 2, 2]) {
            Ok(()) | Err(Fault { .. }) => glance,
        }
    }

    /// Reads OTLP/JSON; `None` if `body` is not JSON at all.
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
            let end = span.end_time_unix_nano.0;
            glance.add(Payload::Traces, if end > 0 { end } else { span.start_time_unix_nano.0 });
        }
        for log in (request.resource_logs.into_iter().flatten())
            .flat_map(|resource| resource.scope_logs.unwrap_or_default())
            .flat_map(|scope| scope.log_records.unwrap_or_default())
        {
            let time = log.time_unix_nano.0;
            glance.add(Payload::Logs, if time > 0 { time } else { log.observed_time_unix_nano.0 });
        }
        Some(glance)
    }

    pub(super) fn latest(&self) -> Option<EventTime> {
        self.latest_nanos.map(EventTime::from_unix_nanos)
    }

    /// Follows the field numbers of `path` down to the spans or log records.
    fn walk(&mut self, message: &[u8], path: &[u32]) -> Result<(), Fault> {
        let Some((number, path)) = path.split_first() else {
            if let Some((payload, nanos)) = told_apart(message)? {
                self.add(payload, nanos);
            }
            return Ok(());
        };
        let mut fields = Reader::new(message);
        while let Some(field) = fields.key()? {
            if field == key(*number, BYTES) {
                self.walk(fields.bytes()?, path)?;
            } else {
                fields.other(field, 0, Room::REQUEST)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, payload: Payload, nanos: u64) {
        self.payload.get_or_insert(payload);
        if PLAUSIBLE_NANOS.contains(&nanos) {
            self.latest_nanos = self.latest_nanos.max(Some(nanos));
        }
    }
}

/// Tells a Span from a LogRecord by the fields that only one of them has with that type.
///
/// opentelemetry-proto v1, trace.proto and logs.proto: a Span has fixed64 times in fields 7 and 8 and ids of
/// 16 and 8 bytes in 1 and 2; a LogRecord has fixed64 times in fields 1 and 11, or nothing in field 1. A
/// Metric, which has text in fields 1 and 2 and no fixed64 at all, is neither.
fn told_apart(item: &[u8]) -> Result<Option<(Payload, u64)>, Fault> {
    const FIRST_TEXT: u32 = key(1, BYTES);
    const FIRST_TIME: u32 = key(1, FIXED64);
    const SECOND_TEXT: u32 = key(2, BYTES);
    const BODY: u32 = key(5, BYTES);
    const ATTRIBUTES: u32 = key(6, BYTES);
    const START: u32 = key(7, FIXED64);
    const END: u32 = key(8, FIXED64);
    const OBSERVED: u32 = key(11, FIXED64);

    let (mut ids, mut first, mut record) = (0, false, false);
    let (mut start, mut end, mut time, mut observed) = (None, None, None, None);
    let mut fields = Reader::new(item);
    while let Some(field) = fields.key()? {
        first |= field >> 3 == 1;
        match field {
            FIRST_TEXT => ids += u8::from(fields.bytes()?.len() == 16),
            SECOND_TEXT => ids += u8::from(fields.bytes()?.len() == 8),
            FIRST_TIME => time = Some(fields.fixed64()?),
            START => start = Some(fields.fixed64()?),
            END => end = Some(fields.fixed64()?),
            OBSERVED => observed = Some(fields.fixed64()?),
            BODY | ATTRIBUTES => {
                record = true;
                fields.bytes()?;
            }
            _ => fields.other(field, 0, Room::REQUEST)?,
        }
    }
    let known = |time: Option<u64>| time.filter(|nanos| *nanos > 0);
    if time.is_some() || observed.is_some() || (record && !first) {
        return Ok(Some((Payload::Logs, known(time).or(known(observed)).unwrap_or(0))));
    }
    if ids == 2 || start.is_some() || end.is_some() {
        return Ok(Some((Payload::Traces, known(end).or(known(start)).unwrap_or(0))));
    }
    Ok(None)
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
