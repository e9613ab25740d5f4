//! `lapwing redact --explain`: why the rules do what they do, without repeating what they find.

use std::io::{self, BufRead, Write};

use anyhow::Context;
use lapwing_pipeline::redaction::{Explanation, Redactor, shape};
use serde::Serialize;

use crate::args::{OutputFormat, RedactArgs};
use crate::{Failure, settings};

pub(crate) fn explain(args: &RedactArgs) -> Result<(), Failure> {
    let mut redactor = settings(&args.config)?.redactor();
    let mut out = io::stdout().lock();
    let key = args.key.as_deref();
    if args.text.is_empty() {
        for (number, line) in io::stdin().lock().lines().enumerate() {
            let line = line.with_context(|| format!("line {} of standard input", number + 1))?;
            tell(&mut out, args.format, &mut redactor, number + 1, key, &line)?;
        }
    }
    for (number, text) in args.text.iter().enumerate() {
        tell(&mut out, args.format, &mut redactor, number + 1, key, text)?;
    }
    out.flush()?;
    Ok(())
}

/// A line of `--format json`.
#[derive(Serialize)]
struct Line<'a> {
    line: usize,
    key: Option<&'a str>,
    #[serde(flatten)]
    explanation: Explanation,
}

fn tell(
    out: &mut impl Write,
    format: OutputFormat,
    redactor: &mut Redactor,
    line: usize,
    key: Option<&str>,
    text: &str,
) -> anyhow::Result<()> {
    let explanation = redactor.explain(key, text);
    match format {
        OutputFormat::Table => out.write_all(for_people(line, text, &explanation).as_bytes())?,
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, &Line { line, key, explanation })?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// The text with everything masked that is claimed or nearly so, and below each of them what is to be said.
fn for_people(line: usize, text: &str, told: &Explanation) -> String {
    let head = format!("line {line}: ");
    let carets = |start: usize, end: usize| {
        let wide = |part: &str| part.chars().count();
        format!("{}{}", " ".repeat(head.len() + wide(&text[..start])), "^".repeat(wide(&text[start..end])))
    };
    let mut lines = vec![format!("{head}{}", masked(text, told))];
    for claim in &told.claims {
        let (start, end) = (claim.start, claim.end);
        lines.push(carets(start, end));
        lines.push(format!("  {} ({}), bytes {start} to {end}: {}", claim.rule, claim.group, claim.shape));
        lines.push(format!("    proved by {}: {}", claim.proof, claim.because));
        lines.push(format!("    {} -> {}", claim.action, claim.replacement));
    }
    for miss in &told.near_misses {
        let (start, end) = (miss.start, miss.end);
        lines.push(carets(start, end));
        lines.push(format!("  not {}, bytes {start} to {end}: {}", miss.rule, miss.shape));
        lines.push(format!("    {}", miss.because));
    }
    lines.extend(told.name.iter().map(|name| format!("  {name}")));
    if told.claims.is_empty() && told.near_misses.is_empty() {
        let kept = told.redacted == text;
        lines.push(if kept { "  no rule claims anything" } else { "  the whole value goes" }.to_owned());
    }
    lines.join("\n") + "\n"
}

fn masked(text: &str, told: &Explanation) -> String {
    let claimed = told.claims.iter().map(|c| (c.start, c.end));
    let mut spans: Vec<_> = claimed.chain(told.near_misses.iter().map(|m| (m.start, m.end))).collect();
    spans.sort_unstable();
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end) in spans {
        let start = start.max(done);
        if start < end {
            out.push_str(&plain(&text[done..start]));
            out.push_str(&plain(&shape(&text[start..end])));
            done = end;
        }
    }
    out.push_str(&plain(&text[done..]));
    out
}

/// Without what would move the carets or the terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ConfigArgs;

    fn page(key: Option<&str>, text: &str) -> String {
        let Ok(settings) = settings(&ConfigArgs::default()) else { unreachable!("the defaults are valid") };
        for_people(1, text, &settings.redactor().explain(key, text))
    }

    #[test]
    fn pages_are_readable_and_hold_no_value() {
        let expected = "\
line 1: GET /users?mail=aa9@aa.aaa&card=9999999999999999 ok
                        ^^^^^^^^^^
  email (personal), bytes 16 to 26: aa9@aa.aaa
    proved by itself: a mailbox, `@` and a domain
    replace -> {email}
                                        ^^^^^^^^^^^^^^^^
  not card, bytes 32 to 48: 9999999999999999
    Luhn's check digit does not fit
";
        assert_eq!(page(None, "GET /users?mail=jo9@ex.org&card=4111111111111112 ok"), expected);
        let expected = "\
line 1: aaaaaa9aaaaaa9
        ^^^^^^^^^^^^^^
  password (secret), bytes 0 to 14: aaaaaa9aaaaaa9
    proved by name: the attribute's name `password` says what it holds
    replace -> {password}
  `password` names what rule `password` protects
";
        assert_eq!(page(Some("password"), "hunter2hunter2"), expected);
        assert_eq!(page(None, "GET /stock 200"), "line 1: GET /stock 200\n  no rule claims anything\n");
    }
}
