//! Redaction rules and pseudonym keys: read from files, at start and again while running.
//!
//! A set of files is taken whole or not at all. What is wrong with it is told without what it holds: allow-lists
//! name people, and keys are secrets.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lapwing_redaction::{PseudonymKey, PseudonymKeys, Redactor, RuleFile, Rules};
use lapwing_telemetry::EventTime;

use crate::config::{self, Problem};

/// A rule file larger than this is none, in bytes.
const RULE_FILE_BYTES: u64 = 4 << 20;
/// A key file larger than this is none, in bytes.
const KEY_FILE_BYTES: u64 = 4_096;

/// Where rules and keys come from.
#[derive(Clone, Debug, Default)]
pub struct RuleSources {
    /// Rule files, in order.
    pub files: Vec<PathBuf>,
    /// Keys and when each holds.
    pub keys: Vec<config::PseudonymKeySource>,
}

/// How the files looked when they were read: when changed, size and place on disk of each.
pub type Fingerprint = Vec<Option<(SystemTime, u64, u64)>>;

/// How reloading went since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RulesStatus {
    /// Times that new rules came into force.
    pub applied: u64,
    /// Times that files were refused, and the rules before them stayed.
    pub refused: u64,
    /// What is wrong with the files on disk; 0 while what they say is in force.
    pub problems: usize,
}

impl RuleSources {
    /// Reads and compiles everything.
    ///
    /// # Errors
    /// Every problem there is, by file and rule.
    pub fn read(&self) -> Result<Arc<Rules>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for (i, path) in self.files.iter().enumerate() {
            match rule_file(path) {
                Ok(file) => files.push(file),
                Err(reason) => problems.push(Problem::new(
                    format!("redaction.rules[{i}]"),
                    format!("`{}`: {reason}", path.display()),
                    "see pipelines/rules/default.yaml for the form of a rule file",
                )),
            }
        }
        let wrong_files = problems.len();
        let keys = self.keys(&mut problems);
        // A key that is wrong is told once, and not again for each rule that needs one.
        let keys = if problems.len() > wrong_files { any_key() } else { Some(keys) };
        match Rules::compile(&files, keys) {
            Ok(rules) if problems.is_empty() => Ok(Arc::new(rules)),
            Ok(_) => Err(problems),
            Err(bad) => {
                problems.extend(bad.into_iter().map(|p| {
                    Problem::new("redaction.rules", format!("rule `{}`: {}", p.rule, p.reason), p.hint)
                }));
                Err(problems)
            }
        }
    }

    /// Checks rule files without the keys of a deployment: what needs a key is taken to have one.
    ///
    /// # Errors
    /// Every problem there is, by file and rule.
    pub fn check(files: &[PathBuf]) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for path in files {
            let place = path.display().to_string();
            match rule_file(path) {
                Err(reason) => problems.push(Problem::new(
                    place,
                    reason,
                    "see pipelines/rules/default.yaml for the form of a rule file",
                )),
                Ok(file) => {
                    let bad = Rules::compile(&[file], any_key()).err().unwrap_or_default();
                    problems.extend(bad.into_iter().map(|p| {
                        Problem::new(place.clone(), format!("rule `{}`: {}", p.rule, p.reason), p.hint)
                    }));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// How the files look now.
    pub fn fingerprint(&self) -> Fingerprint {
        let keys = self.keys.iter().map(|key| Path::new(&key.file));
        let all = self.files.iter().map(PathBuf::as_path).chain(keys);
        all.map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
        .collect()
    }

    fn keys(&self, problems: &mut Vec<Problem>) -> PseudonymKeys {
        let mut keys = Vec::new();
        for (i, source) in self.keys.iter().enumerate() {
            match key(source) {
                Ok(key) => keys.push(key),
                Err((field, reason, hint)) => problems.push(Problem::new(
                    format!("redaction.pseudonym_keys[{i}].{field}"),
                    reason,
                    hint,
                )),
            }
        }
        PseudonymKeys::new(keys).unwrap_or_else(|problem| {
            problems.push(Problem::new(
                "redaction.pseudonym_keys",
                problem.to_string(),
                "let each key begin (`from`) before the one before it ends (`until`), and two hold at most",
            ));
            PseudonymKeys::default()
        })
    }
}

/// A key for checking only: nothing is ever redacted with it.
fn any_key() -> Option<PseudonymKeys> {
    PseudonymKey::new("check", &[0; 32]).map(PseudonymKeys::from).ok()
}

fn rule_file(path: &Path) -> Result<RuleFile, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut text = String::new();
    let read = file.take(RULE_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if read as u64 > RULE_FILE_BYTES {
        return Err(format!("it is larger than {RULE_FILE_BYTES} bytes"));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        // A message may quote what stands where something else should.
        let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
        redactor.redact_text(None, &error.to_string()).into_owned()
    })
}

/// Reads a key. The error names the setting at fault, what is wrong and what to do.
fn key(source: &config::PseudonymKeySource) -> Result<PseudonymKey, (&'static str, String, &'static str)> {
    let time = |field: &'static str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => EventTime::parse_rfc3339(text).map(Some).ok_or((
            field,
            "this is not a time".to_owned(),
            "write for example `2026-11-22T00:00:00Z`",
        )),
    };
    let (from, until) = (time("from", &source.from)?, time("until", &source.until)?);
    let bytes = key_bytes(Path::new(&source.file)).map_err(|reason| {
        let reason = format!("`{}`: {reason}", source.file);
        (
            "file",
            reason,
            "make one with `(umask 077; head -c 32 /dev/urandom > FILE)`, owned by lapwing's user",
        )
    })?;
    let key = PseudonymKey::new(&source.id, &bytes).map_err(|problem| {
        let field = if problem == lapwing_redaction::KeyProblem::Id { "id" } else { "file" };
        (field, problem.to_string(), "see docs/adr/0006-policies-and-pseudonym-keys.md")
    })?;
    Ok(key.valid(from, until))
}

fn key_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    // Of the file that is open: the path may name another by now.
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others than its owner may use it (mode {mode:04o}); write `chmod 600`"));
    }
    let mut bytes = Vec::new();
    file.take(KEY_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > KEY_FILE_BYTES {
        return Err(format!("it is larger than {KEY_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}
