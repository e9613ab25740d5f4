//! Checks a configuration against its own schema and says everything that is wrong with it at once.

use serde_json::Value;

use super::secret::SecretRef;
use super::tree::Tree;
use super::units::{Size, Span};
use super::{ConfigFile, Problem};

/// Every way in which the tree is not a configuration: unknown keys, wrong types, malformed units.
pub(super) fn check(tree: &Tree) -> Checked {
    let schema = schema();
    let mut checker = Checker { schema: &schema, tree, problems: Vec::new(), secrets: Vec::new() };
    checker.walk(&schema, &tree.value, "");
    let Checker { mut problems, secrets, .. } = checker;
    for problem in &mut problems {
        problem.place = tree.place(&problem.key);
    }
    Checked { problems, secrets }
}

/// What was found.
pub(super) struct Checked {
    /// Every way in which the tree is not a configuration.
    pub(super) problems: Vec<Problem>,
    /// Keys whose values are credentials.
    pub(super) secrets: Vec<String>,
}

/// The JSON Schema of the configuration, also checked in as `pipelines/schema.json`.
pub fn schema() -> Value {
    schemars::schema_for!(ConfigFile).to_value()
}

struct Checker<'a> {
    schema: &'a Value,
    tree: &'a Tree,
    problems: Vec<Problem>,
    secrets: Vec<String>,
}

impl Checker<'_> {
    fn walk(&mut self, schema: &Value, value: &Value, key: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            self.choose(choices, value, key);
            return;
        }
        if let Some(format @ ("secret" | "header")) = schema["format"].as_str() {
            self.secret(format, value, key);
            return;
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !kinds.is_empty() && !kinds.iter().any(|kind| is_a(value, kind)) {
            let hint = self.example(&schema);
            self.report(key, format!("expected {}, found {}", kinds.join(" or "), name_of(value)), hint);
            return;
        }
        match value {
            Value::Object(map) => self.object(&schema, map, key),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.walk(&schema["items"], item, &format!("{key}[{i}]"));
                }
            }
            Value::String(text) => self.text(&schema, text, key),
            Value::Number(number) => {
                let low = schema["minimum"].as_f64().unwrap_or(f64::MIN);
                let high = schema["maximum"].as_f64().unwrap_or(f64::MAX);
                let number = number.as_f64().unwrap_or(f64::NAN);
                if !(low..=high).contains(&number) {
                    self.report(key, format!("{number} is out of range"), format!("choose {low} to {high}"));
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn object(&mut self, schema: &Value, map: &serde_json::Map<String, Value>, key: &str) {
        let none = serde_json::Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let any = Some(&schema["additionalProperties"]).filter(|any| any.is_object());
        if properties.is_empty() && any.is_none() {
            return;
        }
        for (name, value) in map {
            let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            // `kind` or `kind/name`, as the patterns of exporters say.
            let kind = name.split_once('/').map_or(name.as_str(), |(kind, _)| kind);
            let named = schema["patternProperties"].get(format!("^{kind}(/.+)?$"));
            if let Some(property) = properties.get(name).or(named).or(any) {
                self.walk(property, value, &path);
            } else {
                let patterns = schema["patternProperties"].as_object().into_iter().flatten();
                let kinds = patterns.filter_map(|(p, _)| p.strip_prefix('^')?.strip_suffix("(/.+)?$"));
                let known: Vec<&str> = properties.keys().map(String::as_str).chain(kinds).collect();
                let hint = match nearest(name, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys here: {}", known.join(", ")),
                };
                self.report(&path, format!("unknown key `{name}`"), hint);
            }
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(required) {
                self.report(key, format!("key `{required}` is missing"), format!("add `{required}:` here"));
            }
        }
    }

    /// A credential is given by where it is, so that it is in no file, log or error of ours.
    fn secret(&mut self, format: &str, value: &Value, key: &str) {
        self.secrets.push(key.to_owned());
        let reference = self.tree.references.get(key);
        let whole = reference.is_some_and(|text| SecretRef::parse(text).is_some());
        if format == "secret" && !whole {
            let hint = "write `${file:/path}` or `${env:NAME}`, and nothing else";
            self.report(key, "a credential must not stand in the configuration itself".to_owned(), hint);
        } else if format == "header" && !whole && (reference.is_some() || !value.is_string()) {
            let hint = "write text, or one reference: `${file:/path}` or `${env:NAME}`";
            self.report(key, "this is neither text nor a reference".to_owned(), hint);
        }
    }

    fn text(&mut self, schema: &Value, text: &str, key: &str) {
        let wrong = match schema["format"].as_str() {
            Some("duration") => Span::parse(text).is_none(),
            Some("size") => Size::parse(text).is_none(),
            _ => false,
        };
        if wrong {
            let hint = self.example(schema);
            self.report(
                key,
                format!("`{text}` is not a {}", schema["format"].as_str().unwrap_or("value")),
                hint,
            );
        }
        if let Some(words) = words_of(schema)
            && !words.contains(&text)
        {
            let hint = match nearest(text, &words) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of: {}", words.join(", ")),
            };
            self.report(key, format!("`{text}` is not one of the known words"), hint);
        }
    }

    /// For `Option<T>` and enums: null passes, one word of several passes, else the one real shape is checked.
    fn choose(&mut self, choices: &[Value], value: &Value, key: &str) {
        let resolved: Vec<Value> = choices.iter().map(|c| self.resolve(c)).collect();
        if value.is_null() && resolved.iter().any(|c| c["type"] == "null") {
            return;
        }
        let words: Vec<&str> = resolved.iter().filter_map(words_of).flatten().collect();
        if let Some(shape) = resolved.iter().find(|c| c["type"] != "null" && words_of(c).is_none()) {
            self.walk(shape, value, key);
        } else {
            let schema = serde_json::json!({ "type": "string", "enum": words });
            self.walk(&schema, value, key);
        }
    }

    fn resolve(&self, schema: &Value) -> Value {
        match schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|r| self.schema.pointer(r)) {
            Some(target) => target.clone(),
            None => schema.clone(),
        }
    }

    fn example(&self, schema: &Value) -> String {
        let _ = self;
        match schema["format"].as_str() {
            Some("duration") => "write for example `200ms`, `5s`, `2h30m` or `30d`".into(),
            Some("size") => "write for example `512KiB`, `64MiB` or `1GiB`".into(),
            _ => schema["description"].as_str().unwrap_or("see `lapwing schema`").to_owned(),
        }
    }

    fn report(&mut self, key: &str, reason: String, hint: impl Into<String>) {
        self.problems.push(Problem { place: None, key: key.to_owned(), reason, hint: hint.into() });
    }
}

fn words_of(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema["const"].as_str() {
        return Some(vec![word]);
    }
    schema["enum"].as_array().map(|words| words.iter().filter_map(Value::as_str).collect())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The known word nearest to `word` by edit distance, if it is near enough to be a slip of the hand.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|k| (distance(word, k), *k)).min()?;
    (best.0 <= (word.len() / 3).max(1)).then_some(best.1)
}

/// Levenshtein distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_recognised() {
        assert_eq!(nearest("endpont", &["endpoint", "tls"]), Some("endpoint"));
        assert_eq!(nearest("zzz", &["endpoint", "tls"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
