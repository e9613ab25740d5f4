//! The bars that the built-in rules are held to, on the corpus of `datasets/redaction`.

use serde::Deserialize;

use crate::redact;
use crate::score::{self, Reading};

const CORPUS: &str = include_str!("../../../../datasets/redaction/corpus.jsonl");

/// One line of the corpus; see its README.
#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) text: String,
    clean: bool,
    shape: String,
    #[serde(default)]
    pub(crate) spans: Vec<Span>,
    #[serde(default)]
    keep: Vec<String>,
}

/// A place whose value must go.
#[derive(Deserialize)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: String,
    tier: String,
    value: Option<String>,
    #[serde(default)]
    inner: Vec<String>,
    disguise: Option<String>,
    #[serde(default)]
    optional: bool,
}

pub(crate) fn lines() -> Vec<Line> {
    CORPUS.lines().map(|line| serde_json::from_str(line).expect("the corpus has its format")).collect()
}

/// Values that must go, and those that did not.
#[derive(Default)]
struct Tier {
    values: usize,
    leaks: usize,
}

impl Tier {
    fn count(&mut self, leaks: bool) {
        self.values += 1;
        self.leaks += usize::from(leaks);
    }

    fn recall(&self) -> f64 {
        1.0 - self.leaks as f64 / self.values as f64
    }
}

#[test]
fn the_rules_reach_their_bars() {
    let (mut pattern, mut context, mut disguised, mut partial) =
        (Tier::default(), Tier::default(), Tier::default(), Tier::default());
    let (mut clean, mut changed, mut neutral, mut lost) = (0, 0, 0, 0);
    let mut keep_lost = Vec::new();
    let lines = lines();
    for line in &lines {
        let out = redact(&line.text);
        let reading = Reading::of(&out);
        for span in line.spans.iter().filter(|s| !s.optional) {
            let surface = &line.text[span.start..span.end];
            let value = span.value.as_deref().unwrap_or(surface);
            let leaks = out.contains(surface)
                || reading.shows(value)
                || span.inner.iter().any(|inner| reading.shows(inner));
            let tier = if span.tier == "context" { &mut context } else { &mut pattern };
            tier.count(leaks);
            if span.disguise.is_some() {
                disguised.count(leaks);
            }
            partial.count(!leaks && reading.shows_part(&span.kind, value));
        }
        let tokens = score::neutral(&line.text, &line.spans, &out);
        neutral += tokens.all;
        lost += tokens.lost;
        clean += usize::from(line.clean);
        changed += usize::from(line.clean && tokens.words_lost > 0);
        keep_lost.extend(line.keep.iter().filter(|k| !out.contains(*k)).map(|k| (&line.shape, k.clone())));
    }
    let figures = format!(
        "recall: pattern {:.4}, context {:.4}, disguised {:.4}; in part {}; clean lines changed {changed} of {clean}; \
         neutral tokens lost {lost} of {neutral}; kept values lost {keep_lost:?}",
        pattern.recall(),
        context.recall(),
        disguised.recall(),
        partial.leaks
    );
    assert!(pattern.values > 2_000 && context.values > 900 && disguised.values > 150 && clean > 1_300);
    assert!(pattern.recall() >= 0.985, "{figures}");
    assert!(context.recall() >= 0.93, "{figures}");
    assert!(disguised.recall() >= 0.85, "{figures}");
    assert!(partial.leaks * 100 <= partial.values, "{figures}");
    assert!(changed * 100 <= clean * 2, "{figures}");
    assert!(lost * 1_000 <= neutral * 5, "{figures}");
    assert!(keep_lost.is_empty(), "{figures}");
}

#[test]
fn the_score_knows_the_extremes() {
    let line = lines().into_iter().find(|l| !l.spans.is_empty() && l.spans.iter().all(|s| !s.optional));
    let line = line.expect("the corpus has such a line");
    let value = &line.text[line.spans[0].start..line.spans[0].end];
    assert!(Reading::of(&line.text).shows(value), "nothing was redacted");
    assert_eq!(score::neutral(&line.text, &line.spans, &line.text).lost, 0);
    assert!(!Reading::of("").shows(value), "everything was dropped");
    let dropped = score::neutral(&line.text, &line.spans, "");
    assert!(dropped.lost > 0 && dropped.words_lost > 0);
}

#[test]
fn what_was_redacted_once_stays_as_it_is() {
    for line in &lines() {
        let once = redact(&line.text);
        assert_eq!(redact(&once), once, "{}", line.shape);
    }
}

#[test]
fn what_parsed_before_parses_afterwards() {
    let (mut json, mut paths) = (0, 0);
    for line in &lines() {
        let out = redact(&line.text);
        if serde_json::from_str::<serde_json::Value>(&line.text).is_ok() {
            json += 1;
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
        }
        if line.text.starts_with("http") && line.text.parse::<http::Uri>().is_ok() {
            paths += 1;
            // Braces are the one thing in a placeholder that RFC 3986 wants encoded; parsers of logs accept them.
            let encoded = out.replace('{', "%7B").replace('}', "%7D");
            assert!(encoded.parse::<http::Uri>().is_ok(), "{out}");
        }
        if line.shape == "xml" {
            assert_eq!(tags(&line.text), tags(&out), "{out}");
        }
    }
    assert!(json > 500 && paths > 50, "{json} {paths}");
}

/// The tags of a text in XML, in order.
fn tags(text: &str) -> Vec<&str> {
    text.match_indices('<').map(|(at, _)| &text[at..=at + text[at..].find('>').unwrap_or(0)]).collect()
}
