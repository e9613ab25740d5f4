//! A dataset's manifest: what it is, where it came from, and the hash of every file in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The name of the manifest in a dataset's folder.
pub const MANIFEST: &str = "dataset.toml";

/// What a dataset says about itself: the content of its `dataset.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The dataset's name, the same as its folder's.
    pub name: String,
    /// One sentence on what is in it.
    pub description: String,
    /// Where it came from.
    pub source: String,
    /// The licence it may be used under, as an SPDX expression.
    pub licence: String,
    /// Its parts by folder name; empty if it has none.
    #[serde(default)]
    pub parts: BTreeMap<String, Part>,
    /// Lower-case hexadecimal SHA-256 by path, relative to the folder, `/` between names.
    pub sha256: BTreeMap<String, String>,
}

/// One part of a dataset: a folder with recordings that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// One line on what is in it.
    pub about: String,
    /// RFC 3339 start of the time it covers.
    pub from: String,
    /// RFC 3339 end of the time it covers.
    pub to: String,
}

/// What can be wrong with a dataset. Every variant is `Rejected`: fetch or make the dataset anew.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file could not be read; check that the dataset is complete.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The manifest is not one; the position is in the source.
    #[error("read {} as a dataset manifest: {source}", path.display())]
    Malformed {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A file differs from its hash; it was changed or cut short.
    #[error("{}: SHA-256 is {found}, the manifest says {expected}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The hash in the manifest.
        expected: String,
        /// The hash of the file.
        found: String,
    },
    /// A file in the folder is not in the manifest; add it or remove it.
    #[error("{} is not named in the manifest", path.display())]
    Unlisted {
        /// The file.
        path: PathBuf,
    },
}

impl Manifest {
    /// Reads the manifest of the dataset in `folder`.
    pub fn load(folder: &Path) -> Result<Manifest, ManifestError> {
        let path = folder.join(MANIFEST);
        let text =
            fs::read_to_string(&path).map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|source| ManifestError::Malformed { path, source: Box::new(source) })
    }

    /// Compares every file of `folder` with its hash, and finds files that have none.
    pub fn verify(&self, folder: &Path) -> Result<(), ManifestError> {
        for (name, expected) in &self.sha256 {
            let path = folder.join(name);
            let found = sha256_file(&path)?;
            if found != *expected {
                return Err(ManifestError::Changed { path, expected: expected.clone(), found });
            }
        }
        for path in files_below(folder)? {
            let listed = path.strip_prefix(folder).is_ok_and(|name| {
                let name = name.to_string_lossy().replace('\\', "/");
                name == MANIFEST || self.sha256.contains_key(&name)
            });
            if !listed {
                return Err(ManifestError::Unlisted { path });
            }
        }
        Ok(())
    }
}

/// Returns one hash for several files, and all files below folders: SHA-256 over their own hashes in the given
/// order (below a folder, by path), in lower-case hexadecimal. It names the data a model was fitted on; file names are not part of it.
pub fn data_hash(paths: &[PathBuf]) -> Result<String, ManifestError> {
    let mut hash = Sha256::new();
    for path in paths {
        let files = if path.is_dir() { files_below(path)? } else { vec![path.clone()] };
        for file in files {
            hash.update(sha256_file(&file)?.as_bytes());
        }
    }
    Ok(hex(&hash.finalize()))
}

fn sha256_file(path: &Path) -> Result<String, ManifestError> {
    let read = |source| ManifestError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = |source| ManifestError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let found = if entry.file_type().map_err(read)?.is_dir() { &mut folders } else { &mut files };
            found.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
