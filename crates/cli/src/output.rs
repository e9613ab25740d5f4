//! Tables, numbers and progress for people.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error; hidden where nobody looks.
pub(crate) fn progress_bar(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {percent:>3} %  {elapsed} (eta {eta})")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1).with_style(style).with_message(what)
}

/// Rows in aligned columns; the first row is the head. Numbers are set to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_number = |cell: &str| cell.chars().all(|c| c.is_ascii_digit() || " .-".contains(c));
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let numeric = rows.get(1).and_then(|r| r.get(column)).is_some_and(|c| is_number(c));
            let pad = " ".repeat(widths[column] - cell.chars().count());
            if numeric { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _infallible = writeln!(text, "  {}", line.trim_end());
        if i == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
            let _infallible = writeln!(text, "  {}", rule.join("  "));
        }
    }
    text
}

/// A number with its thing, in the plural where it is not one.
pub(crate) fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number with its digits in groups of three.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the largest unit that leaves at least one.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// An error with its causes, each said once: many errors already say their cause.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether an error comes from a reader that closed the pipe.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tables_read_well() {
        assert_eq!(
            (grouped(1_234_567), grouped(12), count(1, "call"), count(2_000, "call")),
            ("1 234 567".into(), "12".into(), "1 call".into(), "2 000 calls".into())
        );
        assert_eq!(
            (bytes(12), bytes(1_536), bytes(3 << 30)),
            ("12 B".into(), "1.5 KiB".into(), "3.0 GiB".into())
        );
        let rows = [["pair", "calls"], ["a", "7"], ["bcd", "1000"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "  pair  calls\n  ────  ─────\n  a         7\n  bcd    1000\n");
    }
}
