//! Redacts lines of `{"id", "text"}` for the scorer.
use std::io::{BufRead, Write};

fn main() {
    let rules = std::sync::Arc::new(lapwing_redaction::Rules::builtin());
    let mut redactor = lapwing_redaction::Redactor::new(rules);
    let stdin = std::io::stdin();
    let mut out = std::io::stdout().lock();
    for line in stdin.lock().lines() {
        let line = line.unwrap();
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = redactor.redact_text(row["key"].as_str(), row["text"].as_str().unwrap());
        writeln!(out, "{}", serde_json::json!({"id": row["id"], "text": text})).unwrap();
    }
    eprintln!("{:?}", redactor.counts());
}
