//! Looks into a message without decoding it, for recordings: what it is, and how late it is.

use lapwing_telemetry::{EventTime, calls::event_time};

use crate::messages::{
    FIRST, LOG_ATTRIBUTE, LOG_OBSERVED_TIME, LOG_TIME, SECOND, SPAN_END, SPAN_KIND, SPAN_START,
};
use crate::payload::Payload;
use crate::value::{PAIR_KEY, PAIR_VALUE, Shape, read as read_value};
use crate::wire::{Fault, Reader, Room};

/// Tells traces from logs by what the innermost messages hold: a span has a fixed 64-bit start time in
/// field 7, a log record a fixed 64-bit time in field 1 or 11. `None` if the message holds neither, is of
/// another signal, or cannot be read.
pub fn sniff(body: &[u8]) -> Option<Payload> {
    let mut found = None;
    // The first record that tells ends the walk, as a fault does.
    let stop = |record: &[u8]| Fault::new("found", record);
    let walked = each_record(body, |record| {
        let (mut is_span, mut is_log) = (false, false);
        let mut reader = Reader::new(record);
        while let Some(field) = reader.key()? {
            is_span |= field == SPAN_START || field == SPAN_KIND;
            is_log |= field == LOG_TIME || field == LOG_OBSERVED_TIME;
            reader.other(field, 0, Room::REQUEST)?;
        }
        found = match (is_span, is_log) {
            (true, false) => Some(Payload::Traces),
            (false, true) => Some(Payload::Logs),
            _ => return Ok(()),
        };
        Err(stop(record))
    });
    found.filter(|_| walked.is_err())
}

/// The latest moment at which a call of the message ended; `None` if none has a time. A log record ended
/// its `duration` attribute, in milliseconds, after its time.
pub fn latest_event_time(payload: Payload, body: &[u8]) -> Option<EventTime> {
    let mut latest: Option<EventTime> = None;
    // What was read before a fault is still a time of this message.
    each_record(body, |record| {
        let ended = match payload {
            Payload::Traces => span_end(record)?,
            Payload::Logs => log_end(record)?,
        };
        latest = latest.max(Some(ended).filter(|t| *t > EventTime::MIN));
        Ok(())
    })
    .ok();
    latest
}

fn span_end(record: &[u8]) -> Result<EventTime, Fault> {
    let (mut start, mut end) = (0, 0);
    let mut reader = Reader::new(record);
    while let Some(field) = reader.key()? {
        match field {
            SPAN_START => start = reader.fixed64()?,
            SPAN_END => end = reader.fixed64()?,
            _ => reader.other(field, 0, Room::REQUEST)?,
        }
    }
    Ok(EventTime::from_unix_nanos(end.max(start)))
}

fn log_end(record: &[u8]) -> Result<EventTime, Fault> {
    let (mut time, mut observed, mut duration_ns) = (0, 0, None);
    let mut reader = Reader::new(record);
    while let Some(field) = reader.key()? {
        match field {
            LOG_TIME => time = reader.fixed64()?,
            LOG_OBSERVED_TIME => observed = reader.fixed64()?,
            LOG_ATTRIBUTE => duration_ns = duration_ns.or(duration(reader.bytes()?)?),
            _ => reader.other(field, 0, Room::REQUEST)?,
        }
    }
    let started = EventTime::from_unix_nanos(if time > 0 { time } else { observed });
    Ok(event_time(started.0, duration_ns))
}

/// Nanoseconds, if the attribute is the duration.
fn duration(pair: &[u8]) -> Result<Option<i64>, Fault> {
    let (mut is_duration, mut value) = (false, &[][..]);
    let mut reader = Reader::new(pair);
    while let Some(field) = reader.key()? {
        match field {
            PAIR_KEY => is_duration = reader.bytes()? == b"duration",
            PAIR_VALUE => value = reader.bytes()?,
            _ => reader.other(field, 0, Room::REQUEST)?,
        }
    }
    if !is_duration {
        return Ok(None);
    }
    let (mut shape, mut arena) = (Shape::Empty, String::new());
    read_value(value, &mut shape, &mut arena, 0, Room::REQUEST)?;
    let millis: Option<i64> = match shape {
        Shape::Text(text) => text.parse().ok(),
        Shape::Int(millis) => Some(millis),
        _ => None,
    };
    Ok(millis.and_then(|ms| ms.checked_mul(1_000_000)))
}

/// Hands each message three lists deep to `visit`: spans, log records, or those of another signal.
fn each_record<'a>(
    body: &'a [u8],
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    while let Some(field) = reader.key()? {
        if field == FIRST {
            each(reader.bytes()?, |scope| each(scope, &mut visit))?;
        } else {
            reader.other(field, 0, Room::REQUEST)?;
        }
    }
    Ok(())
}

/// Hands each element of a group's list (field 2) to `visit`.
fn each<'a>(bytes: &'a [u8], mut visit: impl FnMut(&'a [u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        if field == SECOND { visit(reader.bytes()?)? } else { reader.other(field, 0, Room::REQUEST)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::{logs::v1::*, metrics::v1::*, trace::v1::*};
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    fn traces(spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans::default(), ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn logs(log_records: Vec<LogRecord>) -> Vec<u8> {
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }

    #[test]
    fn traces_and_logs_are_told_apart_and_metrics_are_neither() {
        let span = Span {
            trace_id: vec![7; 16],
            start_time_unix_nano: 5_000,
            end_time_unix_nano: 9_000,
            ..Span::default()
        };
        let log = LogRecord { observed_time_unix_nano: 3_000, ..LogRecord::default() };
        assert_eq!(sniff(&traces(vec![Span::default(), span.clone()])), Some(Payload::Traces));
        assert_eq!(sniff(&logs(vec![LogRecord::default(), log])), Some(Payload::Logs));
        let metrics = vec![Metric { name: "sixteen_letters_".into(), ..Metric::default() }];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        assert_eq!(sniff(&ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()), None);
        assert_eq!(sniff(b""), None);
        assert_eq!(sniff(b"{\"resourceSpans\":[]}"), None);
        let whole = traces(vec![span]);
        (0..whole.len()).for_each(|cut| assert_ne!(sniff(&whole[..cut]), Some(Payload::Logs)));
    }

    #[test]
    fn the_latest_moment_is_when_the_last_call_ended() {
        let span =
            |start, end| Span { start_time_unix_nano: start, end_time_unix_nano: end, ..Span::default() };
        let body = traces(vec![span(1_000, 50_000), span(40_000, 41_000), span(45_000, 0)]);
        assert_eq!(latest_event_time(Payload::Traces, &body), Some(EventTime(50)));
        let value = Some(AnyValue { value: Some(Value::StringValue("2".into())) });
        let attributes = vec![KeyValue { key: "duration".into(), value, key_strindex: 0 }];
        let slow = LogRecord { time_unix_nano: 7_000, attributes, ..LogRecord::default() };
        let quick = LogRecord { time_unix_nano: 900_000, ..LogRecord::default() };
        assert_eq!(latest_event_time(Payload::Logs, &logs(vec![slow, quick])), Some(EventTime(2_007)));
        assert_eq!(latest_event_time(Payload::Logs, &logs(vec![LogRecord::default()])), None);
        assert_eq!(latest_event_time(Payload::Traces, b""), None);
    }
}
