//! Durations and sizes as people write them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A length of time with its unit, for example `200ms`, `5s`, `2h30m`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes with its unit, for example `512KiB`, `64MiB`, `1GiB`; a bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// Reads the text form; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Span> {
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|&n| n > 0)?;
            let amount: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let micros: u64 = match &rest[..letters] {
                "us" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                _ => return None,
            };
            total = total.checked_add(Duration::from_micros(amount.checked_mul(micros)?))?;
            rest = &rest[letters..];
        }
        Some(Span(total))
    }
}

impl Size {
    /// A size of whole mebibytes.
    pub const fn mib(mebibytes: u64) -> Size {
        Size(mebibytes << 20)
    }

    /// Reads the text form; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Size> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let amount: u64 = text[..digits].parse().ok()?;
        let unit = match text[digits..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return None,
        };
        amount.checked_mul(unit).map(Size)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        for (unit, size) in
            [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)]
        {
            if micros > 0 && micros.is_multiple_of(size) {
                return write!(f, "{}{unit}", micros / size);
            }
        }
        write!(f, "{micros}us")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).ok_or_else(|| serde::de::Error::custom("not a duration"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Bytes(u64),
            Units(String),
        }
        match Text::deserialize(deserializer)? {
            Text::Bytes(bytes) => Ok(Size(bytes)),
            Text::Units(text) => Size::parse(&text).ok_or_else(|| serde::de::Error::custom("not a size")),
        }
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl serde::Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "duration",
            "description": "A length of time with its unit: `200ms`, `5s`, `2h30m`, `30d`.",
            "pattern": "^([0-9]+(us|ms|s|m|h|d))+$",
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": "size",
            "description": "A number of bytes with its unit: `512KiB`, `64MiB`, `1GiB`; a bare number is bytes.",
            "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$",
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_and_print() {
        let check = |text: &str, micros: Option<u64>| {
            assert_eq!(Span::parse(text).map(|s| s.0), micros.map(Duration::from_micros), "{text}");
        };
        check("200ms", Some(200_000));
        check("2h30m", Some(9_000_000_000));
        check("30d", Some(30 * 86_400_000_000));
        for bad in ["", "5", "s", "5 s", "-5s", "5weeks", "99999999999999999999s"] {
            check(bad, None);
        }
        assert_eq!(Size::parse("64MiB"), Some(Size(64 << 20)));
        assert_eq!(Size::parse("10"), Some(Size(10)));
        assert_eq!(Size::parse("1 GB"), Some(Size(1_000_000_000)));
        assert_eq!(Size::parse("-1"), None);
        assert_eq!(Size::parse("99999999TiB"), None);
        assert_eq!(
            (Span::seconds(90).to_string(), Size::mib(64).to_string()),
            ("90s".into(), "64MiB".into())
        );
    }
}
