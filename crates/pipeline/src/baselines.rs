//! The learned state read back, for people: without a running process, and without touching anything.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

pub use lapwing_detection::{Baselines, ErrorRate, HourOfWeek, PairBaseline, Quantiles, Rate, Threshold};
use lapwing_storage::state;
use lapwing_telemetry::EventTime;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::engines::Engines;
use crate::feedback::{self, Feedback};
use crate::settings::Settings;

/// What a state file says, and which file that was.
#[derive(Clone, Debug, Serialize)]
pub struct Readout {
    /// The file.
    pub state_file: PathBuf,
    /// Its size.
    pub state_bytes: u64,
    /// SHA-256 of the file as it lies on disk, hexadecimal: what `sha256sum` says.
    pub state_sha256: String,
    /// When it was saved, by the file system.
    pub saved_at: Option<String>,
    /// The last offset of the journal that it includes.
    pub included_offset: Option<u64>,
    /// What people said of findings, the latest word about each.
    pub feedback: Vec<Feedback>,
    /// What was learned.
    #[serde(flatten)]
    pub baselines: Baselines,
}

/// Reads a saved state. The running process replaces the file whole, so it may go on meanwhile.
///
/// # Errors
/// Says in words what is wrong with the file, and what to do.
pub fn read(settings: &Settings, file: &Path) -> Result<Readout, String> {
    let content = fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no state file `{}`: nothing was learned there yet; name the running process's --config, or the file with --state",
            file.display()
        ),
        _ => format!("state file `{}`: {error}", file.display()),
    })?;
    let saved = state::body(file, &content).map_err(|e| e.to_string())?;
    let engines = Engines::view(&settings.detection, saved)
        .map_err(|reason| format!("state file `{}`: {reason}", file.display()))?;
    let modified = fs::metadata(file).and_then(|m| m.modified()).ok();
    let saved_at = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let mut state_sha256 = String::new();
    for byte in Sha256::digest(&content) {
        let _infallible = write!(state_sha256, "{byte:02x}");
    }
    Ok(Readout {
        state_file: file.to_owned(),
        state_bytes: content.len() as u64,
        state_sha256,
        saved_at: saved_at.map(|since| EventTime(since.as_micros() as i64).to_string()),
        feedback: feedback::read(&settings.feedback_file())?,
        included_offset: engines.offset().map(|offset| offset.0),
        baselines: engines.baselines(),
    })
}
