//! `lapwing retention`: what of the archive is kept, shown or enforced.

use std::path::PathBuf;

use lapwing_pipeline::config::Span;
use lapwing_pipeline::retention::{self, Hour, RetentionPolicy, RetentionReport};

use crate::args::{OutputFormat, RetentionArgs, RetentionCommand};
use crate::output::{bytes, count, table};
use crate::run::system_clock;
use crate::{Failure, settings};

pub(crate) fn retention(action: &RetentionCommand) -> Result<(), Failure> {
    let now = system_clock()();
    let (args, report) = match action {
        RetentionCommand::Apply(args) => {
            let (archive, policy) = plan(args)?;
            (args, retention::apply(&archive, &policy, now)?)
        }
        RetentionCommand::Show(args) => {
            let (archive, policy) = plan(args)?;
            let listing = retention::list(&archive)?;
            let deleted = retention::expired(&listing, now, &policy);
            let sum = |hours: &[Hour]| hours.iter().map(|h| h.bytes).sum::<u64>();
            let kept_bytes = sum(&listing) - sum(&deleted);
            (
                args,
                RetentionReport { kept_hours: (listing.len() - deleted.len()) as u64, kept_bytes, deleted },
            )
        }
    };
    if args.format == OutputFormat::Json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    let done = if matches!(action, RetentionCommand::Apply(_)) { "deleted" } else { "would be deleted" };
    if !report.deleted.is_empty() {
        let mut rows = vec![vec!["hour".to_owned(), "files".to_owned(), "size".to_owned()]];
        rows.extend(
            report
                .deleted
                .iter()
                .map(|h| vec![h.start.to_string()[..13].to_owned(), h.files.to_string(), bytes(h.bytes)]),
        );
        print!("{}", table(&rows));
    }
    println!(
        "{} {done}; {} with {} kept",
        count(report.deleted.len() as u64, "hour"),
        count(report.kept_hours, "hour"),
        bytes(report.kept_bytes)
    );
    Ok(())
}

fn plan(args: &RetentionArgs) -> Result<(PathBuf, RetentionPolicy), Failure> {
    let settings = settings(&args.config)?;
    let mut policy = settings.retention;
    if let Some(age) = &args.max_age {
        let age = Span::parse(age)
            .ok_or_else(|| anyhow::anyhow!("--max-age `{age}` is not a duration; write for example `30d`"))?;
        policy.max_age = Some(age.0);
    }
    Ok((args.archive.clone().unwrap_or_else(|| settings.archive_dir()), policy))
}
