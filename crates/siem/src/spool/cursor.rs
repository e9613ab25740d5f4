//! How far delivery has come, on disk.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The place after the last finding that is off our hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Number of the first finding of the segment that the place is in.
    pub(super) segment: u64,
    /// Bytes from the start of that segment.
    pub(super) offset: u64,
    /// Number of the next finding to deliver; so, how many are off our hands.
    pub(super) number: u64,
    /// How many of those went to the dead-letter file.
    pub(super) dead_lettered: u64,
}

const FILE: &str = "cursor.json";

impl Cursor {
    /// Reads the cursor; `None` if there is none or it cannot be read, in which case everything on disk is
    /// delivered again.
    pub(super) fn load(folder: &Path) -> io::Result<Option<Cursor>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the cursor file atomically. The rename itself need not be durable: an older cursor
    /// only repeats.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let draft = folder.join("cursor.json.tmp");
        let mut file = fs::File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(draft, folder.join(FILE))
    }
}
