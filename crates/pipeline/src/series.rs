//! Rows of `timestamp,source,destination,metric,value` from any tool, read and judged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
pub use lapwing_detection::series::{MetricKind, SeriesFinding, SeriesKey, SeriesSettings, SeriesSummary};
use lapwing_detection::series::{Sample, SeriesData, judge_series};
use lapwing_redaction::Redactor;
use lapwing_telemetry::EventTime;

/// Limits of one file. Beyond any of them reading ends with an error that names it.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLimits {
    /// Rows.
    pub max_rows: u64,
    /// Series.
    pub max_series: usize,
    /// Bytes of one line.
    pub max_line_bytes: usize,
}

impl Default for SeriesLimits {
    fn default() -> SeriesLimits {
        SeriesLimits { max_rows: 50_000_000, max_series: 100_000, max_line_bytes: 65_536 }
    }
}

/// Why rows could not be read. *Rejected*: the file is wrong and always will be, but for [`SeriesError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The file cannot be opened or read.
    #[error("series file `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A row is not one. Values are never repeated.
    #[error("series file `{}`, line {line}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1, the head included.
        line: u64,
        /// What is wrong and what is expected.
        reason: String,
    },
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct SeriesReport {
    /// Rows without a number: empty, `NaN` or infinite. They are gaps.
    pub rows_without_value: u64,
    /// What was judged.
    #[serde(flatten)]
    pub judged: SeriesSummary,
}

/// Reads a file, plain or gzip by content, and judges its series. `kinds` says what metrics measure that
/// are not recognised by name. What findings say is redacted, names included; series are told apart by their whole
/// names. `progress` is told what is done of a total: bytes, and then series.
///
/// # Errors
/// A file that cannot be read, a row that is none, or a limit.
pub fn replay_series(
    path: &Path,
    kinds: &BTreeMap<String, MetricKind>,
    settings: &SeriesSettings,
    redactor: &mut Redactor,
    limits: SeriesLimits,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Vec<SeriesFinding>, SeriesReport), SeriesError> {
    let io = |source| SeriesError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    let read = Arc::new(AtomicU64::new(0));
    let mut input = BufReader::with_capacity(1 << 16, Counted { inner: file, read: read.clone() });
    let gzip = input.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
    let inner: Box<dyn Read> =
        if gzip { Box::new(BufReader::new(MultiGzDecoder::new(input))) } else { Box::new(input) };
    let mut rows = Rows { path, kinds, limits, series: BTreeMap::new(), without_value: 0 };
    rows.read(inner, &mut || progress(read.load(Ordering::Relaxed), total))?;
    let n = rows.series.len() as u64;
    let (mut findings, judged) = judge_series(&rows.series, settings, |done| progress(done, n));
    for finding in &mut findings {
        let SeriesFinding { source, destination, metric, origins, explanation, .. } = finding;
        for text in [source, destination, metric, explanation].into_iter().chain(origins) {
            *text = redactor.redact_text(None, text).into_owned();
        }
    }
    Ok((findings, SeriesReport { rows_without_value: rows.without_value, judged }))
}

struct Rows<'a> {
    path: &'a Path,
    kinds: &'a BTreeMap<String, MetricKind>,
    limits: SeriesLimits,
    series: BTreeMap<SeriesKey, SeriesData>,
    without_value: u64,
}

/// Columns, by position.
struct Head {
    timestamp: usize,
    source: Option<usize>,
    destination: usize,
    metric: usize,
    value: usize,
}

/// Rows between two reports of progress.
const REPORT_EVERY: u64 = 16_384;

impl Rows<'_> {
    fn read(&mut self, input: impl Read, progress: &mut dyn FnMut()) -> Result<(), SeriesError> {
        let limited = ShortLines { inner: input, most: self.limits.max_line_bytes, line: 0 };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(limited);
        let names = reader.headers().map_err(|e| self.csv(&e))?.clone();
        let head = self.head(&names)?;
        let mut record = csv::StringRecord::new();
        let mut n = 0;
        while reader.read_record(&mut record).map_err(|e| self.csv(&e))? {
            let line = record.position().map_or(n + 2, csv::Position::line);
            n += 1;
            if n > self.limits.max_rows {
                return Err(self.row(line, format!("more than {} rows", self.limits.max_rows)));
            }
            self.take(&head, &record).map_err(|reason| self.row(line, reason))?;
            if n.is_multiple_of(REPORT_EVERY) {
                progress();
            }
        }
        Ok(())
    }

    fn head(&self, names: &csv::StringRecord) -> Result<Head, SeriesError> {
        let of = |name: &str| names.iter().position(|n| n.trim_start_matches('\u{feff}') == name);
        let needed = |name: &str| {
            let hint = "the head must be `timestamp,source,destination,metric,value`";
            of(name).ok_or_else(|| self.row(1, format!("no column `{name}`; {hint}")))
        };
        Ok(Head {
            timestamp: needed("timestamp")?,
            source: of("source"),
            destination: needed("destination")?,
            metric: needed("metric")?,
            value: needed("value")?,
        })
    }

    fn take(&mut self, head: &Head, record: &csv::StringRecord) -> Result<(), String> {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let at = moment(field(head.timestamp)).ok_or(
            "the timestamp is not epoch seconds or milliseconds, nor RFC 3339 like 2026-03-02T09:00:00Z",
        )?;
        let value = match field(head.value) {
            "" => f64::NAN,
            text => text.parse::<f64>().ok().ok_or("the value is not a number")?,
        };
        if !value.is_finite() {
            self.without_value += 1;
            return Ok(());
        }
        let key = SeriesKey {
            source: head.source.map_or("", field).to_owned(),
            destination: field(head.destination).to_owned(),
            metric: field(head.metric).to_owned(),
        };
        if !self.series.contains_key(&key) && self.series.len() >= self.limits.max_series {
            return Err(format!("more than {} series", self.limits.max_series));
        }
        let kinds = self.kinds;
        let series = self.series.entry(key).or_insert_with_key(|key| SeriesData {
            kind: kinds.get(&key.metric).copied().unwrap_or_else(|| MetricKind::of(&key.metric)),
            samples: Vec::new(),
        });
        series.samples.push(Sample { at, value });
        Ok(())
    }

    fn row(&self, line: u64, reason: String) -> SeriesError {
        SeriesError::Row { path: self.path.to_owned(), line, reason }
    }

    fn csv(&self, error: &csv::Error) -> SeriesError {
        let line = error.position().map_or(1, csv::Position::line);
        match error.kind() {
            csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::InvalidData => self.row(line, e.to_string()),
            csv::ErrorKind::Io(e) => SeriesError::Io {
                path: self.path.to_owned(),
                source: io::Error::new(e.kind(), e.to_string()),
            },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                self.row(line, format!("{len} fields where the head has {expected_len}"))
            }
            csv::ErrorKind::Utf8 { .. } => self.row(line, "not UTF-8".to_owned()),
            _ => self.row(line, "not CSV".to_owned()),
        }
    }
}

/// Reads epoch seconds, epoch milliseconds (from 10^11 on, which as seconds would be the year 5138), or RFC 3339.
pub fn moment(text: &str) -> Option<EventTime> {
    let Ok(number) = text.parse::<f64>() else { return EventTime::parse_rfc3339(text) };
    let micros = number * if number.abs() >= 1e11 { 1e3 } else { 1e6 };
    (0.0..1e17).contains(&micros).then_some(EventTime(micros.round() as i64))
}

/// Counts bytes as they are read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Refuses lines that are too long, before anything holds them.
struct ShortLines<R> {
    inner: R,
    most: usize,
    line: usize,
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        for byte in &into[..n] {
            self.line = if *byte == b'\n' { 0 } else { self.line + 1 };
            if self.line > self.most {
                let reason = format!("a line is longer than {} bytes", self.most);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn replay(bytes: &[u8], limits: SeriesLimits) -> Result<(Vec<SeriesFinding>, SeriesReport), SeriesError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let kinds = BTreeMap::from([("answers".to_owned(), MetricKind::Ratio)]);
        let mut redactor = Redactor::new(Arc::new(lapwing_redaction::Rules::builtin()));
        replay_series(file.path(), &kinds, &SeriesSettings::default(), &mut redactor, limits, &mut |_, _| ())
    }

    fn rows() -> String {
        let rows = (0..200).map(|i| {
            let value = if i == 150 { 900.0 } else { f64::from(100 + i * 7_919 % 7) };
            format!("{},web,cart,calls,{value}\n", 1_772_409_600 + i * 60)
        });
        format!("timestamp,source,destination,metric,value\n{}", rows.collect::<String>())
    }

    #[test]
    fn plain_gzip_and_any_notation_of_time_give_the_same_findings() {
        let (plain, report) = replay(rows().as_bytes(), SeriesLimits::default()).unwrap();
        assert_eq!((plain.len(), report.judged.series, report.judged.samples), (1, 1, 200));
        assert_eq!(plain[0].timestamp, EventTime((1_772_409_600 + 150 * 60) * 1_000_000));
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(rows().as_bytes()).unwrap();
        let mut lines: Vec<String> = rows().lines().map(str::to_owned).collect();
        for line in &mut lines[1..] {
            let (time, rest) = line.split_once(',').unwrap();
            let seconds: i64 = time.parse().unwrap();
            *line = match seconds / 60 % 3 {
                0 => format!("{},{rest}", seconds * 1_000),
                1 => format!("{},{rest}", EventTime(seconds * 1_000_000)),
                _ => line.clone(),
            };
        }
        for bytes in [gz.finish().unwrap(), lines.join("\r\n").into_bytes()] {
            assert_eq!(replay(&bytes, SeriesLimits::default()).unwrap().0, plain);
        }
    }

    #[test]
    fn what_findings_say_is_redacted_and_series_stay_apart() {
        let rows = rows();
        let named = |row: &str| {
            let other = row.replace("cart", "jo.bloggs@example.org").replace("900", "100");
            [row.replace("cart", "ada.lovelace@example.org"), other].join("\n")
        };
        let two: Vec<String> = rows.lines().skip(1).map(named).collect();
        let text = format!("timestamp,source,destination,metric,value\n{}\n", two.join("\n"));
        let (findings, report) = replay(text.as_bytes(), SeriesLimits::default()).unwrap();
        assert_eq!((findings.len(), report.judged.series), (1, 2));
        let said = serde_json::to_string(&findings).unwrap();
        assert!(!said.contains("lovelace") && said.contains("{email}"), "{said}");
    }

    #[test]
    fn what_is_no_row_is_named_by_line_and_never_repeated() {
        let head = "timestamp,source,destination,metric,value\n";
        let limits = SeriesLimits { max_rows: 2, max_series: 1, max_line_bytes: 60 };
        for (text, expected) in [
            ("time,destination,metric,value\n".to_owned(), "line 1: no column `timestamp`"),
            (format!("{head}1772409600,a,b,c,secret\n"), "line 2: the value is not a number"),
            (format!("{head}1772409600,a,b,c,1\nsecret,a,b,c,1\n"), "line 3: the timestamp is not"),
            (format!("{head}1772409600,a,b,c\n"), "line 2: 4 fields where the head has 5"),
            (format!("{head}1,a,b,c,1\n1,a,b,d,1\n"), "line 3: more than 1 series"),
            (format!("{head}1,a,b,c,1\n1,a,b,c,1\n1,a,b,c,1\n"), "line 4: more than 2 rows"),
            (format!("{head}1,a,{},c,1\n", "x".repeat(99)), "a line is longer than 60 bytes"),
        ] {
            let said = replay(text.as_bytes(), limits).unwrap_err().to_string();
            assert!(said.contains(expected) && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn empty_values_are_gaps_and_kinds_may_be_given() {
        let text = "timestamp,destination,metric,value\n1,a,answers,\n2,a,answers,NaN\n3,a,answers,0.5\n";
        let (_, report) = replay(text.as_bytes(), SeriesLimits::default()).unwrap();
        assert_eq!((report.rows_without_value, report.judged.samples), (2, 1));
        assert_eq!(report.judged.kinds, BTreeMap::from([(MetricKind::Ratio, 1)]));
    }
}
