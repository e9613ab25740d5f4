//! Renders OTLP values as text: the attribute map holds text only, and redaction reads text only.
//!
//! A string is itself, a number or boolean its usual spelling, bytes are base64, an array or list of
//! pairs is compact JSON, an empty value is the empty text (`null` inside JSON).

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::wire::{BYTES, FIXED64, Fault, Reader, Room, VARINT, key, known};

/// A value as far as it has been read. Protobuf lets a value come in several parts; the last scalar
/// wins, arrays and lists grow.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    Empty,
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// Rendered at the end of the arena, from this byte on.
    Array(usize),
    /// Rendered at the end of the arena, from this byte on.
    List(usize),
}

/// A finished text: a piece of the request, or of the record's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Plain(&'a str),
    Rendered { start: u32, end: u32 },
}

impl<'a> Text<'a> {
    /// The text from byte `start` of the arena to its end.
    pub(crate) fn rendered(arena: &str, start: usize) -> Text<'a> {
        Text::Rendered { start: start as u32, end: arena.len() as u32 }
    }

    /// Its length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match *self {
            Text::Plain(text) => text.len(),
            Text::Rendered { start, end } => (end - start) as usize,
        }
    }

    /// The characters; `arena` is the one that it was rendered into.
    #[inline]
    pub(crate) fn get<'b>(&self, arena: &'b str) -> &'b str
    where
        'a: 'b,
    {
        match *self {
            Text::Plain(text) => text,
            Text::Rendered { start, end } => &arena[start as usize..end as usize],
        }
    }
}

/// Reads the fields of an `AnyValue` into `shape`, which may hold an earlier part of the same value.
/// `nesting` is how many arrays and lists may still be opened.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    shape: &mut Shape<'a>,
    arena: &mut String,
    nesting: usize,
    room: Room,
) -> Result<(), Fault> {
    const KNOWN: u32 = known(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            STRING_VALUE => *shape = Shape::Text(reader.text()?),
            BOOL_VALUE => *shape = Shape::Bool(reader.varint()? != 0),
            INT_VALUE => *shape = Shape::Int(reader.varint()? as i64),
            DOUBLE_VALUE => *shape = Shape::Double(f64::from_bits(reader.fixed64()?)),
            BYTES_VALUE => *shape = Shape::Bytes(reader.bytes()?),
            ARRAY_VALUE => {
                let values = reader.bytes()?;
                let start = match *shape {
                    Shape::Array(start) => reopen(arena, start),
                    _ => open(arena, '['),
                };
                elements(values, start, false, arena, nesting, room.enter(values)?)?;
                arena.push(']');
                *shape = Shape::Array(start);
            }
            KVLIST_VALUE => {
                let values = reader.bytes()?;
                let start = match *shape {
                    Shape::List(start) => reopen(arena, start),
                    _ => open(arena, '{'),
                };
                elements(values, start, true, arena, nesting, room.enter(values)?)?;
                arena.push('}');
                *shape = Shape::List(start);
            }
            STRING_VALUE_STRINDEX => {
                // Points into the string table of a profile; outside profiles it means nothing.
                reader.varint()?;
                *shape = Shape::Empty;
            }
            _ => reader.other(field, KNOWN, room)?,
        }
    }
    Ok(())
}

/// Ends a value.
pub(crate) fn finish<'a>(shape: Shape<'a>, arena: &mut String) -> Text<'a> {
    match shape {
        Shape::Empty => Text::Plain(""),
        Shape::Text(text) => Text::Plain(text),
        Shape::Bool(true) => Text::Plain("true"),
        Shape::Bool(false) => Text::Plain("false"),
        Shape::Array(start) | Shape::List(start) => Text::rendered(arena, start),
        Shape::Int(_) | Shape::Double(_) | Shape::Bytes(_) => {
            let start = arena.len();
            scalar(shape, arena);
            Text::rendered(arena, start)
        }
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn json_string(arena: &mut String, text: &str) {
    arena.push('"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        arena.push_str(&text[plain..i]);
        plain = i + 1;
        match byte {
            b'"' => arena.push_str("\\\""),
            b'\\' => arena.push_str("\\\\"),
            0x08 => arena.push_str("\\b"),
            0x0c => arena.push_str("\\f"),
            b'\n' => arena.push_str("\\n"),
            b'\r' => arena.push_str("\\r"),
            b'\t' => arena.push_str("\\t"),
            _ => write(arena, format_args!("\\u{byte:04x}")),
        }
    }
    arena.push_str(&text[plain..]);
    arena.push('"');
}

/// Reads the elements of an `ArrayValue`, or of a `KeyValueList` if `keyed`.
fn elements(
    bytes: &[u8],
    start: usize,
    keyed: bool,
    arena: &mut String,
    nesting: usize,
    room: Room,
) -> Result<(), Fault> {
    let Some(nesting) = nesting.checked_sub(1) else {
        return Err(Fault::new("values nested deeper than the limit", bytes));
    };
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        if field != VALUES {
            reader.other(field, known(&[1]), room)?;
            continue;
        }
        let element = reader.bytes()?;
        let inside = room.enter(element)?;
        if arena.len() > start + 1 {
            arena.push(',');
        }
        if keyed {
            pair(element, arena, nesting, inside)?;
        } else {
            nested(&[element], arena, nesting, inside)?;
        }
    }
    Ok(())
}

fn pair(bytes: &[u8], arena: &mut String, nesting: usize, room: Room) -> Result<(), Fault> {
    let (mut name, mut parts) = ("", Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            PAIR_KEY => name = reader.text()?,
            PAIR_VALUE => parts.push(reader.bytes()?),
            PAIR_KEY_STRINDEX => reader.varint().map(drop)?,
            _ => reader.other(field, PAIR_KNOWN, room)?,
        }
    }
    json_string(arena, name);
    arena.push(':');
    nested(&parts, arena, nesting, room.enter(bytes)?)
}

/// Renders a value inside JSON; `parts` are merged, as protobuf says.
fn nested(parts: &[&[u8]], arena: &mut String, nesting: usize, room: Room) -> Result<(), Fault> {
    let begin = arena.len();
    let mut shape = Shape::Empty;
    for part in parts {
        read(part, &mut shape, arena, nesting, room)?;
    }
    match shape {
        // An array or list that was read before the one that counts is in the way.
        Shape::Array(start) | Shape::List(start) => arena.replace_range(begin..start, ""),
        _ => {
            arena.truncate(begin);
            match shape {
                Shape::Text(text) => json_string(arena, text),
                Shape::Bytes(_) => quoted(shape, arena),
                Shape::Double(number) if !number.is_finite() => quoted(shape, arena),
                _ => scalar(shape, arena),
            }
        }
    }
    Ok(())
}

fn quoted(shape: Shape<'_>, arena: &mut String) {
    arena.push('"');
    scalar(shape, arena);
    arena.push('"');
}

fn scalar(shape: Shape<'_>, arena: &mut String) {
    match shape {
        Shape::Bool(value) => write(arena, format_args!("{value}")),
        Shape::Int(value) => write(arena, format_args!("{value}")),
        Shape::Double(value) if value.is_infinite() => {
            arena.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
        Shape::Double(value) => write(arena, format_args!("{value:?}")),
        Shape::Bytes(bytes) => STANDARD.encode_string(bytes, arena),
        _ => arena.push_str("null"),
    }
}

fn open(arena: &mut String, bracket: char) -> usize {
    arena.push(bracket);
    arena.len() - 1
}

/// Takes back the closing bracket of what begins at `start`, so that more can follow.
fn reopen(arena: &mut String, start: usize) -> usize {
    arena.pop();
    start
}

/// Appends formatted text.
pub(crate) fn write(arena: &mut String, arguments: std::fmt::Arguments<'_>) {
    arena.write_fmt(arguments).expect("writing to a String cannot end in an error");
}

// Field keys of opentelemetry/proto/common/v1/common.proto.
pub(crate) const STRING_VALUE: u32 = key(1, BYTES);
const BOOL_VALUE: u32 = key(2, VARINT);
const INT_VALUE: u32 = key(3, VARINT);
const DOUBLE_VALUE: u32 = key(4, FIXED64);
const ARRAY_VALUE: u32 = key(5, BYTES);
const KVLIST_VALUE: u32 = key(6, BYTES);
const BYTES_VALUE: u32 = key(7, BYTES);
const STRING_VALUE_STRINDEX: u32 = key(8, VARINT);
const VALUES: u32 = key(1, BYTES);
pub(crate) const PAIR_KEY: u32 = key(1, BYTES);
pub(crate) const PAIR_VALUE: u32 = key(2, BYTES);
pub(crate) const PAIR_KEY_STRINDEX: u32 = key(3, VARINT);
pub(crate) const PAIR_KNOWN: u32 = known(&[1, 2, 3]);

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn array(values: Vec<AnyValue>) -> AnyValue {
        any(Value::ArrayValue(ArrayValue { values }))
    }

    fn render(encoded: &[u8]) -> Result<String, Fault> {
        let (mut shape, mut arena) = (Shape::Empty, String::from("before"));
        read(encoded, &mut shape, &mut arena, 4, Room::REQUEST)?;
        Ok(finish(shape, &mut arena).get(&arena).to_owned())
    }

    #[test]
    fn every_kind_of_value_has_a_text() {
        let check = |value: AnyValue, expect: &str| {
            assert_eq!(render(&value.encode_to_vec()).unwrap(), expect);
        };
        check(AnyValue { value: None }, "");
        check(any(Value::StringValue("a\"b".into())), "a\"b");
        check(any(Value::BoolValue(true)), "true");
        check(any(Value::IntValue(i64::MIN)), "-9223372036854775808");
        check(any(Value::DoubleValue(1.5)), "1.5");
        check(any(Value::DoubleValue(1e300)), "1e300");
        check(any(Value::DoubleValue(f64::NEG_INFINITY)), "-Infinity");
        check(any(Value::BytesValue(vec![0xff, 0xfe])), "//4=");
        check(array(vec![]), "[]");
        let pairs = vec![
            KeyValue { key: "k\n".into(), value: Some(any(Value::BytesValue(vec![1]))), key_strindex: 0 },
            KeyValue { key: "n".into(), value: None, key_strindex: 0 },
        ];
        let list = any(Value::KvlistValue(KeyValueList { values: pairs }));
        let mixed =
            array(vec![list, any(Value::DoubleValue(f64::NAN)), any(Value::StringValue("\"\\\u{1}".into()))]);
        check(mixed, r#"[{"k\n":"AQ==","n":null},"NaN","\"\\\u0001"]"#);
    }

    #[test]
    fn parts_of_a_value_merge_as_protobuf_says() {
        let one = array(vec![any(Value::IntValue(1))]).encode_to_vec();
        let two = array(vec![any(Value::IntValue(2))]).encode_to_vec();
        let text = any(Value::StringValue("t".into())).encode_to_vec();
        let check = |parts: &[&[u8]], expect: &str| {
            let whole = parts.concat();
            assert_eq!(render(&whole).unwrap(), expect);
            let inside = [vec![0x2a, whole.len() as u8 + 2, 0x0a, whole.len() as u8], whole].concat();
            let quoted = if expect == "t" { "[\"t\"]".to_owned() } else { format!("[{expect}]") };
            assert_eq!(render(&inside).unwrap(), quoted);
        };
        check(&[&one, &two], "[1,2]");
        check(&[&one, &text], "t");
        check(&[&one, &text, &two, &one], "[2,1]");
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let deep = |n: usize| (0..n).fold(any(Value::BoolValue(true)), |v, _| array(vec![v])).encode_to_vec();
        assert_eq!(render(&deep(4)).unwrap(), "[[[[true]]]]");
        assert_eq!(render(&deep(5)).unwrap_err().what(), "values nested deeper than the limit");
    }
}
