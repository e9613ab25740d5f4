//! `models/<name>/<version>/{model.json, card.md}`: written once, never changed.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lapwing_detection::Model;

use crate::card::Card;
use crate::fit::Fitted;

/// What can keep a model from being saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The name cannot be a folder's; choose letters, digits, `-` and `_`. `Rejected`.
    #[error("model name of {length} characters: use 1 to 64 lower-case letters, digits, '-' and '_'")]
    Name {
        /// How long the name is.
        length: usize,
    },
    /// The folder could not be written; check its rights and the space left. `Broken`.
    #[error("write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The numbers have no text; one of them is not finite. `Rejected`.
    #[error("write the model as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Saves a model below the folder of models, under the next free version, and returns its folder.
///
/// The folder appears whole or not at all, and no version is ever written twice: of two that save at once,
/// one takes the next version.
pub fn save(models: &Path, fitted: &Fitted, card: &Card) -> Result<PathBuf, SaveError> {
    let name = &fitted.model.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(SaveError::Name { length: name.chars().count() });
    }
    let folder = models.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SaveError::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let mut version = latest_version(&folder).map_err(failed(&folder))? + 1;
    loop {
        let target = folder.join(version.to_string());
        let draft = folder.join(format!(".{version}.{}.draft", std::process::id()));
        let model = serde_json::to_string_pretty(&Model { version, ..fitted.model.clone() })? + "\n";
        write_whole(&draft, &model, &card.to_markdown(version, fitted)).map_err(failed(&draft))?;
        // A folder is not renamed onto one that has files in it.
        match fs::rename(&draft, &target) {
            Ok(()) => return Ok(target),
            Err(_) if target.exists() => {
                fs::remove_dir_all(&draft).map_err(failed(&draft))?;
                version += 1;
            }
            Err(source) => return Err(SaveError::Write { path: target, source }),
        }
    }
}

/// The highest version in a model's folder; 0 if there is none.
fn latest_version(folder: &Path) -> io::Result<u32> {
    let mut latest = 0;
    for entry in fs::read_dir(folder)? {
        let version = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        latest = latest.max(version.unwrap_or(0));
    }
    Ok(latest)
}

fn write_whole(folder: &Path, model: &str, card: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, content) in [("model.json", model), ("card.md", card)] {
        let mut file = fs::File::create(folder.join(name))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
    }
    Ok(())
}
