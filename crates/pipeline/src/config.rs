//! Configuration: text → [`Tree`] → [`ConfigFile`] → [`crate::settings::Settings`]. Parsed once; nothing validates later.

mod check;
mod exporters;
mod file;
mod secret;
mod tree;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};

pub use check::schema;
pub use exporters::*;
pub use file::*;
pub use secret::{HeaderText, SecretRef};
pub use tree::{Place, Sources, Tree};
pub use units::{Size, Span};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` if it stands nowhere (a missing file).
    pub place: Option<Place>,
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem whose place is looked up later.
    pub fn new(key: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { place: None, key: key.into(), reason: reason.into(), hint: hint.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.file, place.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n  hint: {}", self.reason, self.hint)
    }
}

/// A configuration that has been read and is well-formed, with the place of each key.
#[derive(Debug)]
pub struct Config {
    /// Its content.
    pub file: ConfigFile,
    tree: Tree,
}

impl Config {
    /// Reads and merges files and `--set` values; references are looked up in the environment and on disk.
    ///
    /// # Errors
    /// Every problem there is, not the first.
    pub fn read(paths: &[PathBuf], sets: &[String]) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            match std::fs::read_to_string(path) {
                Ok(text) => files.push((path.clone(), text)),
                Err(error) => problems.push(Problem::new(
                    "",
                    format!("file `{}` cannot be read: {error}", path.display()),
                    "check the path and its permissions",
                )),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let env = |name: &str| std::env::var(name).ok();
        let file = |path: &str| std::fs::read_to_string(Path::new(path)).map_err(|e| e.to_string());
        Config::parse(&files, sets, &Sources { env: &env, file: &file })
    }

    /// Reads configuration from text.
    ///
    /// # Errors
    /// Every problem there is, not the first.
    pub fn parse(
        files: &[(PathBuf, String)],
        sets: &[String],
        sources: &Sources<'_>,
    ) -> Result<Config, Vec<Problem>> {
        let mut tree = Tree::read(files, sets, sources)?;
        let checked = check::check(&tree);
        if !checked.problems.is_empty() {
            return Err(checked.problems);
        }
        tree.take_back(&checked.secrets);
        let file = serde_json::from_value(tree.value.clone())
            .map_err(|e| vec![Problem::new("", e.to_string(), "see `lapwing schema` for the shape")])?;
        Ok(Config { file, tree })
    }

    /// Fills in where each problem stands.
    pub fn located(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        for problem in &mut problems {
            if problem.place.is_none() {
                problem.place = self.tree.place(&problem.key);
            }
        }
        problems
    }
}
