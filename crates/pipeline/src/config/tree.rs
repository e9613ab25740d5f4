//! Configuration text as a tree that remembers where each value stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::Problem;

/// One or several configuration files merged into one value, with the place of each key.
#[derive(Debug, Default)]
pub struct Tree {
    /// The merged configuration.
    pub value: Value,
    /// For each dotted path, the file and line (from 1) that set it last.
    pub places: BTreeMap<String, Place>,
    /// What was written where a value came from a reference, by dotted path.
    pub references: BTreeMap<String, String>,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the file as given, or `--set`.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

/// What `${env:NAME}` and `${file:PATH}` stand for; a parameter so that tests need no environment.
pub struct Sources<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

impl Tree {
    /// Merges `files` (name and text; later ones win, maps merge, lists replace), then `sets`
    /// (`key.path=value`, the value read as YAML), and fills in `${env:…}` and `${file:…}`.
    ///
    /// # Errors
    /// Every file that is not YAML, every malformed `--set`, every reference that leads nowhere.
    pub fn read(
        files: &[(PathBuf, String)],
        sets: &[String],
        sources: &Sources<'_>,
    ) -> Result<Tree, Vec<Problem>> {
        let mut tree = Tree { value: Value::Object(serde_json::Map::new()), ..Tree::default() };
        let mut problems = Vec::new();
        for (path, text) in files {
            let file = path.display().to_string();
            if text.trim().is_empty() {
                continue;
            }
            match serde_saphyr::from_str::<Spanned<Node>>(text) {
                Ok(node) => {
                    let mut reader = Reader {
                        file: &file,
                        sources,
                        places: &mut tree.places,
                        references: &mut tree.references,
                        problems: &mut problems,
                    };
                    let value = reader.value(&node, "");
                    merge(&mut tree.value, value);
                }
                Err(error) => {
                    let line = error.location().map_or(0, |l| l.line() as u32);
                    let reason = error.to_string().lines().next().unwrap_or("not valid YAML").to_owned();
                    problems.push(Problem {
                        place: Some(Place { file: file.clone(), line }),
                        key: String::new(),
                        reason,
                        hint: "check indentation and quoting near this line".into(),
                    });
                }
            }
        }
        for set in sets {
            tree.set(set, sources, &mut problems);
        }
        if problems.is_empty() { Ok(tree) } else { Err(problems) }
    }

    /// The place of `key`, or of its nearest ancestor that has one.
    pub fn place(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(place.clone());
            }
            key = key.rfind(['.', '[']).map(|at| &key[..at])?;
        }
    }

    /// Puts back what was written at these keys in place of what it refers to.
    pub(super) fn take_back(&mut self, keys: &[String]) {
        for key in keys {
            if let (Some(text), Some(value)) = (self.references.get(key), at(&mut self.value, key)) {
                *value = Value::from(text.clone());
            }
        }
    }

    fn set(&mut self, set: &str, sources: &Sources<'_>, problems: &mut Vec<Problem>) {
        let parsed = set.split_once('=').and_then(|(key, text)| {
            serde_saphyr::from_str::<Spanned<Node>>(text).ok().map(|node| (key.trim(), node))
        });
        let Some((key, node)) = parsed.filter(|(key, _)| !key.is_empty()) else {
            problems.push(Problem::new(
                "--set",
                format!("`{set}` is not `key.path=value`"),
                "write for example `--set retention.max_age=7d`",
            ));
            return;
        };
        let mut places = BTreeMap::new();
        let references = &mut self.references;
        let mut reader = Reader { file: "--set", sources, places: &mut places, references, problems };
        let mut value = reader.value(&node, key);
        places.insert(key.to_owned(), Place { file: "--set".into(), line: 1 });
        self.places.append(&mut places);
        for part in key.rsplit('.') {
            value = Value::Object([(part.to_owned(), value)].into_iter().collect());
        }
        merge(&mut self.value, value);
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The value at a dotted path; the names of exporters and headers may have dots of their own.
fn at<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => map.iter_mut().find_map(|(name, inner)| {
            let rest = path.strip_prefix(name.as_str())?;
            let rest =
                rest.strip_prefix('.').or_else(|| (rest.is_empty() || rest.starts_with('[')).then_some(rest));
            at(inner, rest?)
        }),
        Value::Array(items) => {
            let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
            at(items.get_mut(number.parse::<usize>().ok()?)?, rest.strip_prefix('.').unwrap_or(rest))
        }
        _ => None,
    }
}

struct Reader<'a> {
    file: &'a str,
    sources: &'a Sources<'a>,
    places: &'a mut BTreeMap<String, Place>,
    references: &'a mut BTreeMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn value(&mut self, node: &Spanned<Node>, key: &str) -> Value {
        match &node.value {
            Node::Null => Value::Null,
            Node::Bool(b) => Value::Bool(*b),
            Node::Integer(i) => Value::from(*i),
            Node::Float(f) => Value::from(*f),
            Node::Text(text) => self.text(text, key),
            Node::List(items) => {
                let values = items.iter().enumerate().map(|(i, item)| {
                    let key = format!("{key}[{i}]");
                    self.note(&key, item.referenced.line() as u32);
                    self.value(item, &key)
                });
                Value::Array(values.collect())
            }
            Node::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (name, item) in entries {
                    let key =
                        if key.is_empty() { name.value.clone() } else { format!("{key}.{}", name.value) };
                    self.note(&key, name.referenced.line() as u32);
                    let value = self.value(item, &key);
                    map.insert(name.value.clone(), value);
                }
                Value::Object(map)
            }
        }
    }

    fn note(&mut self, key: &str, line: u32) {
        self.places.insert(key.to_owned(), Place { file: self.file.to_owned(), line });
    }

    fn text(&mut self, text: &str, key: &str) -> Value {
        self.references.remove(key);
        if !text.contains("${") {
            return Value::from(text);
        }
        self.references.insert(key.to_owned(), text.to_owned());
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let Some(length) = rest[start..].find('}') else {
                self.problem(key, "a `${` without its `}`", "close the reference, or write `$$` elsewhere");
                return Value::Null;
            };
            match self.reference(&rest[start + 2..start + length]) {
                Ok(value) => out.push_str(&value),
                Err((reason, hint)) => self.problem(key, &reason, &hint),
            }
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        // A value that came whole from a reference is read as YAML would read it: numbers stay numbers.
        serde_saphyr::from_str::<Spanned<Node>>(&out).map_or_else(
            |_| Value::from(out.clone()),
            |node| match node.value {
                Node::Bool(b) => Value::Bool(b),
                Node::Integer(i) => Value::from(i),
                Node::Float(f) => Value::from(f),
                _ => Value::from(out.clone()),
            },
        )
    }

    fn reference(&self, reference: &str) -> Result<String, (String, String)> {
        if let Some(path) = reference.strip_prefix("file:") {
            return (self.sources.file)(path).map(|text| text.trim_end().to_owned()).map_err(|e| {
                (format!("file `{path}` cannot be read: {e}"), "check the path and its permissions".into())
            });
        }
        let Some(name) = reference.strip_prefix("env:") else {
            return Err((
                format!("`${{{reference}}}` is not known"),
                "write `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`".into(),
            ));
        };
        let (name, default) = name.split_once(":-").map_or((name, None), |(n, d)| (n, Some(d)));
        (self.sources.env)(name).or(default.map(ToOwned::to_owned)).ok_or_else(|| {
            (
                format!("environment variable `{name}` is not set"),
                format!("set it, or give a default: `${{env:{name}:-default}}`"),
            )
        })
    }

    fn problem(&mut self, key: &str, reason: &str, hint: &str) {
        let place = self.places.get(key).cloned();
        self.problems.push(Problem {
            place,
            key: key.to_owned(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        });
    }
}

/// A YAML value whose parts know where they stand.
#[derive(Debug)]
enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_none<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
                Node::deserialize(d)
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Node, E> {
                Ok(Node::Bool(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Node, E> {
                Ok(Node::Integer(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Node, E> {
                i64::try_from(v).map(Node::Integer).map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Node, E> {
                Ok(Node::Float(v))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Node, E> {
                Ok(Node::Text(v.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str], sets: &[&str]) -> Result<Tree, Vec<Problem>> {
        let files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(i, t)| (PathBuf::from(format!("{i}.yaml")), (*t).to_owned()))
            .collect();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        let env = |name: &str| (name == "PORT").then(|| "4317".to_owned());
        let file = |path: &str| {
            if path == "/key" { Ok("s3cret\n".to_owned()) } else { Err("no such file".to_owned()) }
        };
        Tree::read(&files, &sets, &Sources { env: &env, file: &file })
    }

    #[test]
    fn later_files_win_maps_merge_and_lists_replace() {
        let tree = read(&["a: {x: 1, y: [1, 2]}\nb: 1\n", "a:\n  y: [3]\n"], &["a.z=5s"]).unwrap();
        assert_eq!(tree.value, serde_json::json!({"a": {"x": 1, "y": [3], "z": "5s"}, "b": 1}));
        assert_eq!(tree.place("a.y[0]").unwrap(), Place { file: "1.yaml".into(), line: 2 });
        assert_eq!(tree.place("a.x").unwrap(), Place { file: "0.yaml".into(), line: 1 });
        assert_eq!(tree.place("a.z").unwrap().file, "--set");
    }

    #[test]
    fn references_are_filled_in_and_dangling_ones_reported() {
        let text = "port: ${env:PORT}\nhost: ${env:HOST:-localhost}:${env:PORT}\nkey: ${file:/key}\n";
        let tree = read(&[text], &[]).unwrap();
        assert_eq!(tree.value, serde_json::json!({"port": 4317, "host": "localhost:4317", "key": "s3cret"}));
        let problems = read(&["a: ${env:NOPE}\nb: ${file:/nope}\nc: ${x}\n"], &["bad"]).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(problems[1].place.as_ref().unwrap().line, 2);
    }

    #[test]
    fn text_that_is_not_yaml_is_a_problem_with_its_line() {
        let problems = read(&["a: 1\nb: [1, 2\n"], &[]).unwrap_err();
        assert!(problems[0].place.as_ref().unwrap().line >= 2, "{problems:?}");
    }
}
