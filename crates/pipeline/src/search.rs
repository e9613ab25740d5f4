//! Searches files for what redaction would not have left there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing_redaction::{Redactor, shape};
pub use lapwing_storage::texts::Place;
use lapwing_storage::texts::{Taker, Text, read_texts};
use serde::Serialize;

/// Places that are told one by one; further ones are only counted.
pub const MOST_PLACES: usize = 1_000;
/// Combinations of file, column, key and rule that are counted apart; further ones are counted by rule alone.
const MOST_COUNTS: usize = 10_000;

/// What a search found. Holds no value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SearchReport {
    /// Files read to the end.
    pub files: u64,
    /// Texts looked at: values of columns and JSON objects, lines, printable runs.
    pub texts: u64,
    /// Values found.
    pub found: u64,
    /// Values found, by rule.
    pub by_rule: BTreeMap<String, u64>,
    /// Values found, by file, column, key and rule.
    pub counts: Vec<Count>,
    /// The first places, in the order in which they were found.
    pub places: Vec<FoundAt>,
    /// Files that could not be read or are damaged; what was read of them before is in the other numbers.
    pub unread: Vec<Unread>,
}

/// How many values of a kind stand in one place of a file's structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The file.
    pub file: PathBuf,
    /// The column or the path in a JSON object, redacted; empty for plain text.
    pub column: String,
    /// The attribute's name, redacted.
    pub key: Option<String>,
    /// The rule.
    pub rule: String,
    /// How many.
    pub found: u64,
}

/// Where one value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundAt {
    /// The file.
    pub file: PathBuf,
    /// The row, line or byte.
    #[serde(flatten)]
    pub place: Place,
    /// The column or the path in a JSON object, redacted; empty for plain text.
    pub column: String,
    /// The attribute's name, redacted.
    pub key: Option<String>,
    /// The rule.
    pub rule: String,
    /// First byte in the text of that row, line or run.
    pub start: usize,
    /// Bytes of the value.
    pub length: usize,
    /// Its form: `aaaa9@aa.aaa`.
    pub shape: String,
}

/// A file that was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The file or directory.
    pub file: PathBuf,
    /// Why not.
    pub reason: String,
}

impl SearchReport {
    /// Whether everything was read and nothing was found.
    pub fn is_clean(&self) -> bool {
        self.found == 0 && self.unread.is_empty()
    }
}

/// Searches files, and folders with all that lies below them but for hidden entries, which are still being
/// written. `progress` is told how many bytes of how many have been read.
pub fn search(redactor: Redactor, paths: &[PathBuf], progress: &mut dyn FnMut(u64, u64)) -> SearchReport {
    let mut report = SearchReport::default();
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut files, &mut report.unread);
    }
    let total = files.iter().map(|(_, size)| size).sum();
    let mut search =
        Search { redactor, report, counts: BTreeMap::new(), file: Path::new(""), done: 0, total, progress };
    for (file, size) in &files {
        search.file = file;
        match read_texts(file, &mut search) {
            Ok(()) => search.report.files += 1,
            Err(error) => search.report.unread.push(Unread { file: file.clone(), reason: error.reason }),
        }
        search.done += size;
    }
    let Search { mut report, counts, .. } = search;
    report.counts = counts
        .into_iter()
        .map(|((file, column, key, rule), found)| Count { file, column, key, rule, found })
        .collect();
    report
}

/// Files below `path` with their sizes, in order of their names.
fn list(path: &Path, files: &mut Vec<(PathBuf, u64)>, unread: &mut Vec<Unread>) {
    let mut fail = |e: &std::io::Error| unread.push(Unread { file: path.to_owned(), reason: e.to_string() });
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return fail(&error),
    };
    if !metadata.is_dir() {
        return files.push((path.to_owned(), metadata.len()));
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => return fail(&error),
    };
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link to a folder could lead round in a circle.
        let leads_away = entry.is_symlink() && entry.is_dir();
        if !hidden && !leads_away {
            list(&entry, files, unread);
        }
    }
}

struct Search<'a> {
    redactor: Redactor,
    report: SearchReport,
    counts: BTreeMap<(PathBuf, String, Option<String>, String), u64>,
    file: &'a Path,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Taker for Search<'_> {
    fn text(&mut self, text: Text<'_>) {
        self.report.texts += 1;
        let places = match text.key {
            None if text.of_calls => self.redactor.places_in_column(text.column, text.text),
            key => self.redactor.places(key, text.text),
        };
        for place in places {
            self.report.found += 1;
            *self.report.by_rule.entry(place.rule.clone()).or_default() += 1;
            // A map may be keyed by personal data.
            let column = self.redactor.redact_text(None, text.column).into_owned();
            let key = text.key.map(|key| self.redactor.redact_text(None, key).into_owned());
            let count = (self.file.to_owned(), column.clone(), key.clone(), place.rule.clone());
            if self.counts.len() < MOST_COUNTS || self.counts.contains_key(&count) {
                *self.counts.entry(count).or_default() += 1;
            }
            if self.report.places.len() < MOST_PLACES {
                self.report.places.push(FoundAt {
                    file: self.file.to_owned(),
                    place: text.place,
                    column,
                    key,
                    rule: place.rule,
                    start: place.start,
                    length: place.end - place.start,
                    shape: shape(&text.text[place.start..place.end]),
                });
            }
        }
    }

    fn progress(&mut self, bytes: u64) {
        (self.progress)(self.done + bytes, self.total);
    }
}
