//! Learning from history, so that nothing is silently new after a start without state.
//!
//! What was received lies in the archive; a lapwing that has lost its state, or that has just been put beside an
//! archive, replays it through its engines before it goes on with the journal. What that finds was found when it
//! happened, and is not published again. The state is saved once, after the last call: `kill -9` on the way starts
//! anew.

use std::path::PathBuf;

use lapwing_storage::{Journal, JournalReader, archive, state};
use lapwing_telemetry::{Finding, FindingState, Offset};
use tokio::sync::watch;

use crate::StageError;
use crate::engines::Engines;
use crate::replay::{Observer, Summary, learn};
use crate::settings::Settings;

/// Hours that a pair must have learned for every detector to judge it.
const JUDGED_HOURS: u32 = 24;
/// How often a history that changes under our hands is read anew: retention may delete its oldest hour.
const ATTEMPTS: usize = 3;
/// Calls between two words about progress.
const TELL_EVERY: u64 = 10_000_000;

/// Part of an archive: what the journal's detect has judged already, or will never see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    files: Vec<(PathBuf, Offset)>,
}

impl History {
    /// The history that detect begins after: files whose last offset lies before the first frame that waits for
    /// detect; all of them if none waits. `None` if there is none.
    ///
    /// What waits in the journal has not been judged, so it must not be learned from silently.
    pub fn find(settings: &Settings, journal: &Journal) -> Option<History> {
        let stats = journal.stats();
        let waiting = stats.lag_frames.get("detect").copied().unwrap_or(0);
        let judged = if waiting == 0 { u64::MAX } else { stats.next - waiting };
        let mut files = archive::files(&settings.archive_dir());
        files.retain(|(_, last)| last.0 < judged);
        (!files.is_empty()).then_some(History { files })
    }

    /// The history in the whole archive; `None` if there is none.
    pub fn whole(settings: &Settings) -> Option<History> {
        let files = archive::files(&settings.archive_dir());
        (!files.is_empty()).then_some(History { files })
    }

    /// Places the journal's reader after the history. If frames between the two are gone, says so and leaves it.
    pub fn place(&self, reader: &mut JournalReader) {
        if let Err(error) = reader.resume_after(self.last()) {
            tracing::warn!(%error, "calls between the archive and the journal are in neither; going on after them");
        }
    }

    fn last(&self) -> Option<Offset> {
        self.files.iter().map(|(_, last)| *last).max()
    }

    /// Learns it; `None` if told to stop, or if it cannot be read, which is logged.
    pub fn learn(&self, settings: &Settings, stop: &watch::Receiver<bool>) -> Option<Engines> {
        for attempt in 1..=ATTEMPTS {
            // What was deleted since is too old to be missed.
            let inputs: Vec<PathBuf> =
                self.files.iter().map(|(path, _)| path.clone()).filter(|path| path.exists()).collect();
            let mut watcher = Watcher { stop: stop.clone(), told: 0, again: 0 };
            tracing::info!(files = inputs.len(), "no saved state: learning from the archive");
            match learn(settings, &inputs, &mut watcher) {
                Ok(_) if *stop.borrow() => return None,
                Ok((mut engines, summary)) => {
                    engines.go_on_after(self.last());
                    tell(&engines, &summary, watcher.again);
                    return Some(engines);
                }
                Err(reason) => {
                    tracing::warn!(reason, attempt, "the archive could not be learned from");
                }
            }
        }
        tracing::error!("learning anew, without history");
        None
    }
}

/// Learns the history and saves the state, so that a crash from here on goes on with it.
///
/// # Errors
/// [`StageError`] if the state cannot be saved, unless the disk is full: then it is saved at the next interval.
pub fn begin(
    history: &History,
    settings: &Settings,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Engines>, StageError> {
    let Some(engines) = history.learn(settings, stop) else { return Ok(None) };
    match state::save(&settings.state_file(), &engines.save()) {
        Ok(()) => {}
        Err(error) if error.is_busy() => tracing::error!(%error, "no room to save what was learned"),
        Err(error) => return Err(StageError::new("detect", &error)),
    }
    Ok(Some(engines))
}

/// Learns recordings or an archive into a state file that is not there yet, for a process to start with.
///
/// # Errors
/// Says in words what is in the way.
pub fn prepare(
    settings: &Settings,
    inputs: &[PathBuf],
    observer: &mut dyn Observer,
) -> Result<(Engines, Summary), String> {
    let file = settings.state_file();
    if file.exists() {
        return Err(format!(
            "there is a state file `{}`: that lapwing has learned already; move it away to learn anew",
            file.display()
        ));
    }
    let history = if inputs.is_empty() {
        Some(History::whole(settings).ok_or_else(|| {
            format!(
                "there is no archive in `{}`; name a recording with --input",
                settings.archive_dir().display()
            )
        })?)
    } else {
        None
    };
    let files = history.as_ref().map(|h| h.files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>());
    let (mut engines, summary) = learn(settings, files.as_deref().unwrap_or(inputs), observer)?;
    // Offsets of another log mean nothing in this one's journal.
    engines.go_on_after(history.and_then(|history| history.last()));
    state::save(&file, &engines.save()).map_err(|e| e.to_string())?;
    Ok((engines, summary))
}

/// Says what was learned and what is missing.
fn tell(engines: &Engines, summary: &Summary, again: u64) {
    let baselines = engines.baselines();
    let young = baselines.pairs.iter().filter(|pair| pair.hours_learned < JUDGED_HOURS).count();
    let from = summary.first_received_at.as_deref().unwrap_or("-");
    let to = summary.last_received_at.as_deref().unwrap_or("-");
    tracing::info!(
        calls = summary.calls,
        from,
        to,
        pairs = baselines.pairs.len(),
        findings_not_published = again,
        "learned from the archive"
    );
    if young > 0 {
        tracing::warn!(
            pairs = young,
            "pairs with less than 24 h of history are not judged by every detector yet; `lapwing baseline show` says what each lacks"
        );
    }
}

/// Drops what is found again, looks whether to stop, and says now and then how far it is.
struct Watcher {
    stop: watch::Receiver<bool>,
    told: u64,
    again: u64,
}

impl Observer for Watcher {
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        self.again += findings.iter().filter(|f| f.state == FindingState::Open).count() as u64;
        Ok(())
    }

    fn is_done(&self) -> bool {
        *self.stop.borrow()
    }

    fn progress(&mut self, done: u64, total: u64) {
        if done / TELL_EVERY > self.told {
            self.told = done / TELL_EVERY;
            tracing::info!(calls = done, of = total, "learning from the archive");
        }
    }
}
