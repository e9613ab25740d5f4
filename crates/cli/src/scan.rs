//! `lapwing redact scan`: whether files hold what redaction would not have left there.

use std::process::ExitCode;

use lapwing_pipeline::search::{FoundAt, MOST_PLACES, Place, SearchReport, search};

use crate::args::{OutputFormat, ScanArgs};
use crate::output::{count, grouped, progress_bar, table};
use crate::{Failure, settings};

/// Places that are printed for people; `--format json` has more.
const PRINTED: usize = 50;

/// Success only if every file was read and nothing was found.
pub(crate) fn scan(args: &ScanArgs) -> Result<ExitCode, Failure> {
    let redactor = settings(&args.config)?.redactor();
    let bar = progress_bar("searching");
    let report = search(redactor, &args.paths, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    match args.format {
        OutputFormat::Json => println!("{}", serde_json::to_string(&report)?),
        OutputFormat::Table => print!("{}", for_people(&report)),
    }
    for unread in &report.unread {
        eprintln!("error: `{}`: {}", unread.file.display(), unread.reason);
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn for_people(report: &SearchReport) -> String {
    let mut page = String::new();
    if report.found > 0 {
        let mut rows = vec![["rule", "found", "column", "name", "file"].map(str::to_owned).to_vec()];
        rows.extend(report.counts.iter().take(PRINTED).map(|c| {
            let name = c.key.clone().unwrap_or_default();
            vec![c.rule.clone(), grouped(c.found), c.column.clone(), name, c.file.display().to_string()]
        }));
        page = table(&rows) + "\n";
        let mut rows = vec![["rule", "at", "bytes", "form", "file"].map(str::to_owned).to_vec()];
        rows.extend(report.places.iter().take(PRINTED).map(row));
        page += &table(&rows);
        if report.found > PRINTED as u64 {
            let more = grouped(report.found - PRINTED as u64);
            page = format!("{page}  and {more} more; `--format json` lists the first {MOST_PLACES}\n");
        }
        page.push('\n');
    }
    page + &format!(
        "{} found in {} of {}; {} could not be read\n",
        count(report.found, "value"),
        count(report.texts, "text"),
        count(report.files, "file"),
        grouped(report.unread.len() as u64)
    )
}

fn row(found: &FoundAt) -> Vec<String> {
    let at = match found.place {
        Place::Row(row) => format!("row {row}"),
        Place::Line(line) => format!("line {line}"),
        Place::Byte(byte) => format!("byte {byte}"),
    };
    let bytes = format!("{}..{}", found.start, found.start + found.length);
    let form: String = found.shape.chars().take(40).collect();
    vec![found.rule.clone(), at, bytes, form, found.file.display().to_string()]
}
