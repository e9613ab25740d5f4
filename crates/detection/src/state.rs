//! Saving and restoring an engine, so that it goes on as if nothing had happened.

use std::sync::Arc;

use lapwing_telemetry::{EventTime, Offset, Pair};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Overflow};
use crate::pair_state::PairState;
use crate::{Model, Settings};

/// Raised whenever what is saved changes.
const VERSION: u16 = 1;

/// Why a saved state was refused; the state kind of every variant is *rejected*: it never will fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version of lapwing. Delete it and replay the archive to learn anew.
    #[error(
        "saved detection state has version {found}, this program reads {VERSION}: delete it and replay the archive"
    )]
    Version {
        /// The version in the state.
        found: u16,
    },
    /// Windows had another length or lateness. Set them back, or delete the state to learn anew.
    #[error(
        "saved detection state has windows of {window_s} s and a lateness of {lateness_s} s: set them back, or delete it"
    )]
    Windows {
        /// Length of the windows in the state, seconds.
        window_s: i64,
        /// Lateness in the state, seconds.
        lateness_s: i64,
    },
    /// The bytes are not a saved state. Restore the file from a copy, or delete it to learn anew.
    #[error("saved detection state of {size} bytes cannot be read: restore or delete it")]
    Damaged {
        /// Size of the state.
        size: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u16,
    window: i64,
    lateness: i64,
    began_at: Option<i64>,
    boundary: i64,
    latest: EventTime,
    included: Option<Offset>,
    partition: u16,
    overflow: Overflow,
    pairs: Vec<(Pair, PairState)>,
}

impl Engine {
    /// The state in full: windows, baselines, open findings, and the offset that they include.
    pub fn save(&self) -> Vec<u8> {
        let state = |place: u32| self.slots[place as usize].clone();
        let saved = Saved {
            version: VERSION,
            window: self.grid.base(),
            lateness: self.grid.lateness,
            began_at: self.began_at,
            boundary: self.boundary,
            latest: self.stats.latest,
            included: self.included,
            partition: self.partition,
            overflow: self.overflow.clone(),
            pairs: self
                .order
                .iter()
                .filter_map(|(pair, place)| Some((pair.clone(), state(*place)?)))
                .collect(),
        };
        postcard::to_stdvec(&saved).expect("plain numbers, lists and text always encode")
    }

    /// Makes an engine from what [`Engine::save`] gave. Settings may differ, but not those of windows.
    pub fn restore(
        settings: Arc<Settings>,
        model: Option<Arc<Model>>,
        bytes: &[u8],
    ) -> Result<Engine, StateError> {
        let damaged = |_| StateError::Damaged { size: bytes.len() };
        let (version, _) = postcard::take_from_bytes::<u16>(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        let saved: Saved = postcard::from_bytes(bytes).map_err(damaged)?;
        let mut engine = Engine::new(settings, model);
        if (saved.window, saved.lateness) != (engine.grid.base(), engine.grid.lateness) {
            let seconds = |micros: i64| micros / crate::grid::SECOND;
            return Err(StateError::Windows {
                window_s: seconds(saved.window),
                lateness_s: seconds(saved.lateness),
            });
        }
        engine.began_at = saved.began_at;
        engine.boundary = saved.boundary;
        engine.stats.latest = saved.latest;
        engine.included = saved.included;
        engine.partition = saved.partition;
        engine.overflow = saved.overflow;
        for (pair, state) in saved.pairs {
            engine.insert(pair, state);
        }
        Ok(engine)
    }
}
