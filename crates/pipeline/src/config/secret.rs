//! Credentials in a configuration: a reference to where they are, never they themselves.

use std::borrow::Cow;
use std::fmt;

use lapwing_siem::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a credential is: `${file:/path}` or `${env:NAME}`. It is read when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef(pub Secret);

/// The value of a header: text, or where a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub Secret);

impl SecretRef {
    /// Reads a reference that stands alone; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<SecretRef> {
        let inner = text.trim().strip_prefix("${")?.strip_suffix('}')?;
        if inner.contains(['{', '}']) {
            return None;
        }
        match inner.split_once(':')? {
            ("file", path) => Some(SecretRef(Secret::File(path.into()))),
            // A default would be a credential in the configuration.
            ("env", name) if !name.contains(":-") => Some(SecretRef(Secret::Env(name.to_owned()))),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretRef, D::Error> {
        let text = String::deserialize(deserializer)?;
        SecretRef::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not `${file:/path}` or `${env:NAME}`"))
    }
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderText, D::Error> {
        let text = String::deserialize(deserializer)?;
        let secret = SecretRef::parse(&text).map_or(Secret::Text(text), |reference| reference.0);
        Ok(HeaderText(secret))
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_reference(&self.0, serializer)
    }
}

impl Serialize for HeaderText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_reference(&self.0, serializer)
    }
}

fn write_reference<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    let text: &dyn fmt::Display = &match secret {
        Secret::File(path) => format!("${{file:{}}}", path.display()),
        Secret::Env(name) => format!("${{env:{name}}}"),
        Secret::Text(_) => "<text>".to_owned(),
    };
    serializer.collect_str(text)
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "secret",
            "description": "Where a credential is: `${file:/path}` or `${env:NAME}`; a file is read again after a refusal.",
            "pattern": "^\\$\\{(file|env):[^{}]+\\}$",
        })
    }
}

impl JsonSchema for HeaderText {
    fn schema_name() -> Cow<'static, str> {
        "HeaderText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "header",
            "description": "Text, or where a credential is: `${file:/path}` or `${env:NAME}`.",
        })
    }
}
