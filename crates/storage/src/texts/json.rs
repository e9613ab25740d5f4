//! The values of one JSON object.

use serde_json::Value;

use super::{Place, Taker, Text};

/// Gives every value of the object in `line`; false if it is none.
pub(super) fn values(line: &str, place: Place, taker: &mut dyn Taker) -> bool {
    if !line.starts_with('{') {
        return false;
    }
    let Ok(object) = serde_json::from_str::<Value>(line) else { return false };
    visit(&object, &mut String::new(), None, place, taker);
    true
}

fn visit(value: &Value, path: &mut String, key: Option<&str>, place: Place, taker: &mut dyn Taker) {
    let mut take = |text: &str| taker.text(Text { place, column: path, key, text, of_calls: false });
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => take(text),
        Value::Number(number) => take(&number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| visit(value, path, key, place, taker)),
        Value::Object(entries) => {
            // OTLP/JSON writes an attribute as `{"key": name, "value": {"stringValue": text}}`.
            let attribute =
                entries.get("key").and_then(Value::as_str).filter(|_| entries.contains_key("value"));
            for (name, value) in entries {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                let wrapped = name.ends_with("Value") && key.is_some();
                let named = match attribute {
                    Some(attribute) if name == "value" => Some(attribute),
                    _ if wrapped => key,
                    _ => Some(name.as_str()),
                };
                visit(value, path, named, place, taker);
                path.truncate(length);
            }
        }
    }
}
