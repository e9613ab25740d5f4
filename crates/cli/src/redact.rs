//! `lapwing redact`: text in, redacted text out.

use std::io::{self, BufRead, BufWriter, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::args::RedactArgs;
use crate::explain::explain;
use crate::run::system_clock;
use crate::{Failure, settings};

/// A line of `--jsonl`.
#[derive(Deserialize, Serialize)]
struct Line {
    id: serde_json::Value,
    text: String,
    #[serde(default, skip_serializing)]
    key: Option<String>,
}

pub(crate) fn redact(args: &RedactArgs) -> Result<(), Failure> {
    if args.explain {
        return explain(args);
    }
    let mut redactor = settings(&args.config)?.redactor();
    // By the same rule as in the pipeline: the keys that hold when a text arrives make its pseudonyms.
    redactor.set_time(args.at.unwrap_or_else(&*system_clock()));
    let mut out = BufWriter::new(io::stdout().lock());
    let key = args.key.as_deref();
    for text in &args.text {
        writeln!(out, "{}", redactor.redact_text(key, text))?;
    }
    let input = args.text.is_empty().then(|| io::stdin().lock().lines());
    for (number, line) in input.into_iter().flatten().enumerate() {
        let line = line.with_context(|| format!("line {} of standard input", number + 1))?;
        if args.jsonl {
            // The error names the place, never the content.
            let parsed: Line = serde_json::from_str(&line).map_err(|e| {
                anyhow::anyhow!(
                    "line {}: not a JSON object with `id` and `text` (column {})",
                    number + 1,
                    e.column()
                )
            })?;
            let text = redactor.redact_text(parsed.key.as_deref(), &parsed.text).into_owned();
            serde_json::to_writer(&mut out, &Line { text, ..parsed })?;
        } else {
            out.write_all(redactor.redact_text(key, &line).as_bytes())?;
        }
        out.write_all(b"\n")?;
    }
    out.flush()?;
    if args.stats {
        for (rule, hits) in redactor.counts() {
            eprintln!("{hits:>10}  {rule}");
        }
    }
    Ok(())
}
