//! OTLP/JSON, by translating it into protobuf: one walker decides what a request means.
//!
//! Everything that the ProtoJSON mapping allows is read (<https://protobuf.dev/programming-guides/json/>):
//! null for an absent field, numbers as strings, `NaN` and `Infinity`, base64 of either alphabet with or
//! without padding, snake_case names, unknown fields; and OTLP's exceptions
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids in hexadecimal, enums as numbers.
//! Nothing is built in between: the memory it takes is that of its output, at most three times the input.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::payload::{Malformed, Payload};
use crate::wire::{BYTES, FIXED32, FIXED64, VARINT, key};

/// Translates a request into protobuf, replacing what `out` held.
///
/// # Errors
/// [`Malformed`] with line and column, and never a value.
pub(crate) fn translate(payload: Payload, body: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    static TRACES: Kind = Message(&TRACE_REQUEST);
    static LOGS: Kind = Message(&LOGS_REQUEST);
    let kind = match payload {
        Payload::Traces => &TRACES,
        Payload::Logs => &LOGS,
    };
    let malformed = |e: serde_json::Error| Malformed { reason: format!("JSON: {e}") };
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_any(Value { kind, number: 0, in_list: false, out }).map_err(malformed)?;
    json.end().map_err(malformed)
}

/// A message's fields. A field's wire key comes from its number and kind.
struct Schema {
    fields: &'static [Field],
    /// Whether at most one of the fields may be set.
    is_choice: bool,
}

struct Field {
    name: &'static str,
    number: u32,
    is_list: bool,
    kind: Kind,
}

enum Kind {
    Text,
    Base64,
    Hex,
    Bool,
    /// `enum` and `int32`.
    Int32,
    Uint32,
    Int64,
    Fixed32,
    Fixed64,
    Double,
    Message(&'static Schema),
}

/// One JSON value on its way into a field; `number` 0 stands for the whole request.
struct Value<'o> {
    kind: &'static Kind,
    number: u32,
    /// Whether it is an element of a list, where null stands for an empty message.
    in_list: bool,
    out: &'o mut Vec<u8>,
}

impl Value<'_> {
    fn wrong<E: Error>(&self, expected: &str) -> E {
        E::custom(format_args!("field {} is not {expected}", self.number))
    }

    fn varint<E>(self, value: u64) -> Result<bool, E> {
        put_varint(self.out, u64::from(key(self.number, VARINT)));
        put_varint(self.out, value);
        Ok(true)
    }

    fn bytes<E>(self, bytes: &[u8]) -> Result<bool, E> {
        put_varint(self.out, u64::from(key(self.number, BYTES)));
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        Ok(true)
    }

    fn double<E>(self, value: f64) -> Result<bool, E> {
        put_varint(self.out, u64::from(key(self.number, FIXED64)));
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
        Ok(true)
    }

    /// A whole number, which JSON may write as a number or as text.
    fn integer<E: Error>(self, value: i128) -> Result<bool, E> {
        match self.kind {
            Kind::Int32 if i32::try_from(value).is_ok() => self.varint(value as i64 as u64),
            Kind::Int64 if i64::try_from(value).is_ok() => self.varint(value as i64 as u64),
            Kind::Uint32 if u32::try_from(value).is_ok() => self.varint(value as u64),
            Kind::Fixed32 if u32::try_from(value).is_ok() => {
                put_varint(self.out, u64::from(key(self.number, FIXED32)));
                self.out.extend_from_slice(&(value as u32).to_le_bytes());
                Ok(true)
            }
            Kind::Fixed64 if u64::try_from(value).is_ok() => {
                put_varint(self.out, u64::from(key(self.number, FIXED64)));
                self.out.extend_from_slice(&(value as u64).to_le_bytes());
                Ok(true)
            }
            Kind::Double => self.double(value as f64),
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => {
                Err(self.wrong("in the range of its type"))
            }
            _ => Err(self.wrong("of the type it should be")),
        }
    }
}

/// Writes the value; gives whether there was one (null is none).
impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

// Every kind of JSON value is visited, so that serde never words an error with the value in it.
impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's value")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match (self.kind, self.in_list, self.number) {
            (Kind::Message(_), true, _) => self.bytes(&[]),
            (_, _, 0) => Err(self.wrong("an object")),
            (_, true, _) => Err(self.wrong("a list without nulls")),
            _ => Ok(false),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        match self.kind {
            Kind::Bool => self.varint(u64::from(value)),
            _ => Err(self.wrong("of the type it should be")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.integer(i128::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        match self.kind {
            Kind::Double => self.double(value),
            // `1e3` is a whole number too; beyond 2^64 the check of the range refuses it.
            _ if value.fract() == 0.0 => self.integer(value as i128),
            _ => Err(self.wrong("a whole number")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        match self.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Hex => match unhex(text) {
                Some(id) => self.bytes(&id),
                None => Err(self.wrong("hexadecimal")),
            },
            Kind::Base64 => {
                let standard: String = text
                    .chars()
                    .map(|c| {
                        if c == '-' {
                            '+'
                        } else if c == '_' {
                            '/'
                        } else {
                            c
                        }
                    })
                    .collect();
                match BASE64.decode(standard) {
                    Ok(bytes) => self.bytes(&bytes),
                    Err(_) => Err(self.wrong("base64")),
                }
            }
            Kind::Double => match text {
                "NaN" => self.double(f64::NAN),
                "Infinity" => self.double(f64::INFINITY),
                "-Infinity" => self.double(f64::NEG_INFINITY),
                _ => match text.parse() {
                    Ok(value) if f64::is_finite(value) => self.double(value),
                    _ => Err(self.wrong("a number")),
                },
            },
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => match text.parse() {
                Ok(value) => self.integer(value),
                Err(_) => Err(self.wrong("a whole number")),
            },
            Kind::Bool | Kind::Message(_) => Err(self.wrong("of the type it should be")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
        Err(self.wrong("a single value"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let Kind::Message(schema) = self.kind else { return Err(self.wrong("of the type it should be")) };
        let start = if self.number == 0 { None } else { Some(open(self.out, self.number)) };
        let mut seen = 0_u32;
        while let Some(member) = members.next_key_seed(Name(schema))? {
            let Some(place) = member else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let Field { name, number, is_list, kind } = &schema.fields[place];
            let is_set = if *is_list {
                members.next_value_seed(List { kind, number: *number, out: &mut *self.out })?
            } else {
                members.next_value_seed(Value {
                    kind,
                    number: *number,
                    in_list: false,
                    out: &mut *self.out,
                })?
            };
            if is_set && (seen >> place & 1 == 1 || schema.is_choice && seen != 0) {
                return Err(A::Error::custom(format_args!("`{name}` is one value too many")));
            }
            seen |= u32::from(is_set) << place;
        }
        match start.map(|start| close(self.out, start)) {
            Some(None) => Err(A::Error::custom("a message of more than 32 GiB")),
            _ => Ok(true),
        }
    }
}

/// A member's name: its place among the fields of the message, `None` if it is not known.
struct Name(&'static Schema);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        let place = |name: &str| self.0.fields.iter().position(|field| field.name == name);
        Ok(if name.contains('_') { place(&camel(name)) } else { place(name) })
    }
}

/// The elements of a repeated field.
struct List<'o> {
    kind: &'static Kind,
    number: u32,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl List<'_> {
    fn wrong<E: Error>(&self) -> E {
        E::custom(format_args!("field {} is not a list", self.number))
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let List { kind, number, out } = self;
        while elements.next_element_seed(Value { kind, number, in_list: true, out: &mut *out })?.is_some() {}
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Err(self.wrong())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Err(self.wrong())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Err(self.wrong())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Err(self.wrong())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        Err(self.wrong())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
        Err(self.wrong())
    }
}

/// Bytes set aside for a message's length, which is known at its end: a varint may be padded with zeros.
const LENGTH_BYTES: usize = 5;

/// Begins a message; gives where its content starts.
fn open(out: &mut Vec<u8>, number: u32) -> usize {
    put_varint(out, u64::from(key(number, BYTES)));
    out.extend_from_slice(&[0x80; LENGTH_BYTES]);
    out.len()
}

/// Ends the message whose content starts at `start`; `None` if its length does not fit.
fn close(out: &mut [u8], start: usize) -> Option<()> {
    let mut length = out.len() - start;
    for byte in &mut out[start - LENGTH_BYTES..start] {
        *byte |= (length & 0x7f) as u8;
        length >>= 7;
    }
    out[start - 1] &= 0x7f;
    (length == 0).then_some(())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|d| d as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// `start_time_unix_nano` as `startTimeUnixNano`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

macro_rules! schema {
    ($name:ident { $($field:literal = $number:literal: $kind:expr $(, $list:ident)?;)* } $($choice:ident)?) => {
        static $name: Schema = Schema {
            fields: &[$(Field { name: $field, number: $number, kind: $kind, is_list: schema!(@ $($list)?) },)*],
            is_choice: schema!(@ $($choice)?),
        };
    };
    (@) => { false };
    (@ $word:ident) => { true };
}

use Kind::{Base64, Bool, Double, Fixed32, Fixed64, Hex, Int32, Int64, Message, Text, Uint32};

// opentelemetry-proto 1.x, opentelemetry/proto/{common,resource,trace,logs}/v1 and the two collector services.
schema!(TRACE_REQUEST { "resourceSpans" = 1: Message(&RESOURCE_SPANS), list; });
schema!(RESOURCE_SPANS { "resource" = 1: Message(&RESOURCE); "scopeSpans" = 2: Message(&SCOPE_SPANS), list; "schemaUrl" = 3: Text; });
schema!(SCOPE_SPANS { "scope" = 1: Message(&SCOPE); "spans" = 2: Message(&SPAN), list; "schemaUrl" = 3: Text; });
schema!(SPAN {
    "traceId" = 1: Hex; "spanId" = 2: Hex; "traceState" = 3: Text; "parentSpanId" = 4: Hex; "name" = 5: Text; "kind" = 6: Int32;
    "startTimeUnixNano" = 7: Fixed64; "endTimeUnixNano" = 8: Fixed64; "attributes" = 9: Message(&KEY_VALUE), list;
    "droppedAttributesCount" = 10: Uint32; "events" = 11: Message(&EVENT), list; "droppedEventsCount" = 12: Uint32;
    "links" = 13: Message(&LINK), list; "droppedLinksCount" = 14: Uint32; "status" = 15: Message(&STATUS); "flags" = 16: Fixed32;
});
schema!(EVENT {
    "timeUnixNano" = 1: Fixed64; "name" = 2: Text; "attributes" = 3: Message(&KEY_VALUE), list; "droppedAttributesCount" = 4: Uint32;
});
schema!(LINK {
    "traceId" = 1: Hex; "spanId" = 2: Hex; "traceState" = 3: Text; "attributes" = 4: Message(&KEY_VALUE), list;
    "droppedAttributesCount" = 5: Uint32; "flags" = 6: Fixed32;
});
schema!(STATUS { "message" = 2: Text; "code" = 3: Int32; });
schema!(LOGS_REQUEST { "resourceLogs" = 1: Message(&RESOURCE_LOGS), list; });
schema!(RESOURCE_LOGS { "resource" = 1: Message(&RESOURCE); "scopeLogs" = 2: Message(&SCOPE_LOGS), list; "schemaUrl" = 3: Text; });
schema!(SCOPE_LOGS { "scope" = 1: Message(&SCOPE); "logRecords" = 2: Message(&LOG_RECORD), list; "schemaUrl" = 3: Text; });
schema!(LOG_RECORD {
    "timeUnixNano" = 1: Fixed64; "severityNumber" = 2: Int32; "severityText" = 3: Text; "body" = 5: Message(&ANY_VALUE);
    "attributes" = 6: Message(&KEY_VALUE), list; "droppedAttributesCount" = 7: Uint32; "flags" = 8: Fixed32; "traceId" = 9: Hex;
    "spanId" = 10: Hex; "observedTimeUnixNano" = 11: Fixed64; "eventName" = 12: Text;
});
schema!(RESOURCE {
    "attributes" = 1: Message(&KEY_VALUE), list; "droppedAttributesCount" = 2: Uint32; "entityRefs" = 3: Message(&ENTITY_REF), list;
});
schema!(ENTITY_REF { "schemaUrl" = 1: Text; "type" = 2: Text; "idKeys" = 3: Text, list; "descriptionKeys" = 4: Text, list; });
schema!(SCOPE { "name" = 1: Text; "version" = 2: Text; "attributes" = 3: Message(&KEY_VALUE), list; "droppedAttributesCount" = 4: Uint32; });
schema!(KEY_VALUE { "key" = 1: Text; "value" = 2: Message(&ANY_VALUE); "keyStrindex" = 3: Int32; });
schema!(ANY_VALUE {
    "stringValue" = 1: Text; "boolValue" = 2: Bool; "intValue" = 3: Int64; "doubleValue" = 4: Double; "arrayValue" = 5: Message(&ARRAY_VALUE);
    "kvlistValue" = 6: Message(&KEY_VALUE_LIST); "bytesValue" = 7: Base64; "stringValueStrindex" = 8: Int32;
} choice);
schema!(ARRAY_VALUE { "values" = 1: Message(&ANY_VALUE), list; });
schema!(KEY_VALUE_LIST { "values" = 1: Message(&KEY_VALUE), list; });

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::{
        logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message as _;

    fn logs(json: &str) -> Result<ExportLogsServiceRequest, String> {
        let mut out = Vec::new();
        translate(Payload::Logs, json.as_bytes(), &mut out).map_err(|e| e.reason)?;
        Ok(ExportLogsServiceRequest::decode(out.as_slice()).expect("what was translated is protobuf"))
    }

    fn record(json: &str) -> Result<LogRecord, String> {
        let request = logs(&format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{json}]}}]}}]}}"#))?;
        Ok(request.resource_logs[0].scope_logs[0].log_records[0].clone())
    }

    fn body(json: &str) -> Result<Option<Any>, String> {
        Ok(record(&format!(r#"{{"body":{json}}}"#))?.body.and_then(|body| body.value))
    }

    #[test]
    fn every_form_that_protojson_allows_is_read() {
        let check = |json: &str, expect: Option<Any>| assert_eq!(body(json), Ok(expect), "{json}");
        check(r#"{"stringValue":"a\"\u00e9"}"#, Some(Any::StringValue("a\"é".into())));
        check(r#"{"arrayValue":{}}"#, Some(Any::ArrayValue(ArrayValue::default())));
        check(r#"{"arrayValue":{"values":null}}"#, Some(Any::ArrayValue(ArrayValue::default())));
        check(r#"{"kvlistValue":{}}"#, Some(Any::KvlistValue(KeyValueList::default())));
        check(
            r#"{"arrayValue":{"values":[null]}}"#,
            Some(Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: None }] })),
        );
        check(r#"{"doubleValue":"Infinity"}"#, Some(Any::DoubleValue(f64::INFINITY)));
        check(r#"{"doubleValue":"1.5"}"#, Some(Any::DoubleValue(1.5)));
        check(r#"{"doubleValue":3}"#, Some(Any::DoubleValue(3.0)));
        check(r#"{"intValue":"-9223372036854775808"}"#, Some(Any::IntValue(i64::MIN)));
        check(r#"{"intValue":7}"#, Some(Any::IntValue(7)));
        check(r#"{"intValue":1e3}"#, Some(Any::IntValue(1_000)));
        check(r#"{"boolValue":false}"#, Some(Any::BoolValue(false)));
        for base64 in ["+/+/", "-_-_"] {
            check(&format!(r#"{{"bytesValue":"{base64}"}}"#), Some(Any::BytesValue(vec![0xfb, 0xff, 0xbf])));
        }
        for base64 in ["//4=", "//4", "__4"] {
            check(&format!(r#"{{"bytesValue":"{base64}"}}"#), Some(Any::BytesValue(vec![0xff, 0xfe])));
        }
        check(r#"{"string_value":"snake"}"#, Some(Any::StringValue("snake".into())));
        check(r#"{"stringValue":null,"boolValue":true,"later":{"x":[1]}}"#, Some(Any::BoolValue(true)));
        check("{}", None);
        check("null", None);
    }

    #[test]
    fn fields_of_a_record_are_read_whatever_their_order() {
        let json = r#"{"attributes":[{"value":{"stringValue":"v"}}],"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":null,
            "timeUnixNano":"1544712660000000000","observedTimeUnixNano":5,"droppedAttributesCount":"3","severityNumber":9,"flags":1}"#;
        let record = record(json).unwrap();
        assert_eq!(record.trace_id.len(), 16);
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1_544_712_660_000_000_000, 5));
        assert_eq!((record.dropped_attributes_count, record.severity_number, record.flags), (3, 9, 1));
        assert_eq!((record.attributes[0].key.as_str(), record.span_id.len()), ("", 0));
        assert_eq!(logs("{}").unwrap().resource_logs.len(), 0);
        assert_eq!(logs(r#"{"resourceLogs":null}"#).unwrap().resource_logs.len(), 0);
        let mut out = Vec::new();
        translate(Payload::Traces, br#"{"resourceSpans":[{"resource":{},"scopeSpans":[]}]}"#, &mut out)
            .unwrap();
        assert_eq!(ExportTraceServiceRequest::decode(out.as_slice()).unwrap().resource_spans.len(), 1);
    }

    #[test]
    fn what_is_not_otlp_json_is_refused_without_telling_a_value() {
        let secret = "s3cret";
        let check = |result: Result<(), String>, expect: &str| {
            let reason = result.unwrap_err();
            assert!(
                reason.contains(expect) && reason.contains(" line ") && !reason.contains(secret),
                "{reason}"
            );
        };
        check(
            body(r#"{"stringValue":"s3cret","boolValue":true}"#).map(drop),
            "`boolValue` is one value too many",
        );
        check(body(r#"{"boolValue":"s3cret"}"#).map(drop), "field 2 is not of the type");
        check(body(r#"{"intValue":"s3cret"}"#).map(drop), "field 3 is not a whole number");
        check(body(r#"{"intValue":1.5}"#).map(drop), "field 3 is not a whole number");
        check(body(r#"{"intValue":"9223372036854775808"}"#).map(drop), "field 3 is not in the range");
        check(body(r#"{"doubleValue":"s3cret"}"#).map(drop), "field 4 is not a number");
        check(body(r#"{"bytesValue":"*s3cret"}"#).map(drop), "field 7 is not base64");
        check(body(r#"{"arrayValue":["s3cret"]}"#).map(drop), "field 5 is not a single value");
        check(body(r#"{"arrayValue":{"values":"s3cret"}}"#).map(drop), "field 1 is not a list");
        check(record(r#"{"traceId":"s3cret"}"#).map(drop), "field 9 is not hexadecimal");
        check(record(r#"{"severityNumber":"SEVERITY_s3cret"}"#).map(drop), "field 2 is not a whole number");
        check(record(r#"{"flags":-1}"#).map(drop), "field 8 is not in the range");
        check(
            record(r#"{"timeUnixNano":1,"timeUnixNano":2}"#).map(drop),
            "`timeUnixNano` is one value too many",
        );
        check(logs("[]").map(drop), "field 0 is not a single value");
        check(logs("\"s3cret\"").map(drop), "field 0 is not of the type");
        check(logs(r#"{"resourceLogs":[{"#).map(drop), "EOF");
        check(logs(r#"{"resourceLogs":[]} s3cret"#).map(drop), "trailing");
        check(logs(&"[".repeat(100_000)).map(drop), "field 0 is not");
        check(body(&r#"{"arrayValue":{"values":["#.repeat(1_000)).map(drop), "recursion limit");
    }
}
