//! Timing, by hand.
use lapwing_redaction::{Redactor, Rules};
use std::sync::Arc;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let data = std::fs::read_to_string(path).unwrap();
    let rows: Vec<serde_json::Value> = data.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let all: Vec<&str> = rows.iter().map(|r| r["text"].as_str().unwrap()).collect();
    let clean: Vec<&str> =
        rows.iter().filter(|r| r["kind"] == "negative").map(|r| r["text"].as_str().unwrap()).collect();
    let wide: Vec<String> = clean.iter().map(|t| t.replacen('e', "é", 1).replacen('o', "ö", 1)).collect();
    let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
    let rules = Arc::new(Rules::builtin());
    for (name, texts) in [("all", &all), ("clean", &clean), ("clean, not ASCII", &wide)] {
        let bytes: usize = texts.iter().map(|t| t.len()).sum();
        let mut best = f64::MAX;
        for _ in 0..std::env::args().nth(2).map_or(15, |n| n.parse().unwrap()) {
            let mut r = Redactor::new(rules.clone());
            let t = std::time::Instant::now();
            for text in texts.iter() {
                std::hint::black_box(r.redact_text(None, text));
            }
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!(
            "{name}: {:.1} MB/s, {:.0} ns a line",
            bytes as f64 / best / 1e6,
            best * 1e9 / texts.len() as f64
        );
    }
}
