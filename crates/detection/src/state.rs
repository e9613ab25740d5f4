//! Saving and restoring a mesh, so that it goes on as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use lapwing_telemetry::{EventTime, Offset, Pair};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Overflow};
use crate::incidents::Incidents;
use crate::mesh::{Mesh, Round};
use crate::pair_state::PairState;
use crate::shared::Shared;
use crate::sources::Sources;
use crate::{Model, Settings};

/// Raised whenever what is saved changes.
const VERSION: u16 = 4;

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
    /// The log had another number of partitions. Set it back, or delete the state to learn anew.
    #[error(
        "saved detection state has {found} partitions, the configuration says {wanted}: set it back, or delete it"
    )]
    Partitions {
        /// Partitions in the state.
        found: usize,
        /// Partitions of the log.
        wanted: usize,
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
    sharers: u64,
    round: Round,
    sources: Sources,
    incidents: Incidents,
    shared: Shared,
    engines: Vec<SavedEngine>,
}

#[derive(Serialize, Deserialize)]
struct SavedEngine {
    latest: EventTime,
    included: Option<Offset>,
    partition: u16,
    overflow: Overflow,
    pairs: Vec<(Pair, PairState)>,
}

impl Mesh {
    /// The state in full: windows, baselines, open findings and incidents, and the offsets that they include.
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved {
            version: VERSION,
            window: self.grid.base(),
            lateness: self.grid.lateness,
            began_at: self.began_at,
            boundary: self.boundary,
            sharers: self.sharers,
            round: self.round.clone(),
            sources: self.sources.clone(),
            incidents: self.incidents.clone(),
            shared: self.shared.clone(),
            engines: self.engines.iter().map(SavedEngine::of).collect(),
        };
        postcard::to_stdvec(&saved).expect("plain numbers, lists and text always encode")
    }

    /// Makes a mesh from what [`Mesh::save`] gave. Settings may differ, but not those of windows.
    ///
    /// # Errors
    /// [`StateError`] if the state does not fit this program or these settings.
    pub fn restore(
        partitions: u16,
        settings: Arc<Settings>,
        model: Option<&Arc<Model>>,
        bytes: &[u8],
    ) -> Result<Mesh, StateError> {
        let saved = Saved::parse(bytes)?;
        let mut mesh = Mesh::new(partitions, settings, model);
        if (saved.window, saved.lateness) != (mesh.grid.base(), mesh.grid.lateness) {
            let seconds = |micros: i64| micros / crate::grid::SECOND;
            return Err(StateError::Windows {
                window_s: seconds(saved.window),
                lateness_s: seconds(saved.lateness),
            });
        }
        if saved.engines.len() != mesh.engines.len() {
            return Err(StateError::Partitions { found: saved.engines.len(), wanted: mesh.engines.len() });
        }
        saved.into(&mut mesh);
        Ok(mesh)
    }

    /// Makes a mesh to look at of what [`Mesh::save`] gave: windows and partitions are those of the state, all else
    /// is as the settings say.
    ///
    /// # Errors
    /// [`StateError`] if the state is not of this program.
    pub fn view(settings: &Settings, bytes: &[u8]) -> Result<Mesh, StateError> {
        let saved = Saved::parse(bytes)?;
        let duration = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        let settings = Settings {
            window: duration(saved.window),
            lateness: duration(saved.lateness),
            ..settings.clone()
        };
        let partitions = u16::try_from(saved.engines.len()).unwrap_or(u16::MAX);
        let mut mesh = Mesh::new(partitions, Arc::new(settings), None);
        saved.into(&mut mesh);
        Ok(mesh)
    }
}

impl Saved {
    fn parse(bytes: &[u8]) -> Result<Saved, StateError> {
        let damaged = |_| StateError::Damaged { size: bytes.len() };
        let (version, _) = postcard::take_from_bytes::<u16>(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        postcard::from_bytes(bytes).map_err(damaged)
    }

    fn into(self, mesh: &mut Mesh) {
        let saved = self;
        mesh.began_at = saved.began_at;
        mesh.boundary = saved.boundary;
        mesh.sharers = saved.sharers;
        mesh.round = saved.round;
        mesh.sources = saved.sources;
        mesh.incidents = saved.incidents;
        mesh.shared = saved.shared;
        for (engine, saved) in mesh.engines.iter_mut().zip(saved.engines) {
            engine.began_at = mesh.began_at;
            engine.boundary = mesh.boundary;
            saved.into(engine);
        }
    }
}

impl SavedEngine {
    fn of(engine: &Engine) -> SavedEngine {
        let state = |place: u32| engine.slots[place as usize].as_deref().cloned();
        let pairs = engine.order.iter().filter_map(|(pair, place)| Some((pair.clone(), state(*place)?)));
        SavedEngine {
            latest: engine.stats.latest,
            included: engine.included,
            partition: engine.partition,
            overflow: engine.overflow.clone(),
            pairs: pairs.collect(),
        }
    }

    fn into(self, engine: &mut Engine) {
        engine.stats.latest = self.latest;
        engine.included = self.included;
        engine.partition = self.partition;
        engine.overflow = self.overflow;
        for (pair, state) in self.pairs {
            engine.insert(pair, state);
        }
    }
}
