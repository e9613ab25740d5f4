//! One engine per partition, saved and restored together.

use std::sync::Arc;

use lapwing_detection::{Engine, FeatureRow, Model, PairSummary, Settings};
use lapwing_telemetry::{Calls, EventTime, Finding, Offset, Position};
use serde::{Deserialize, Serialize};

/// The engines of all partitions. Each partition's state has exactly one writer: its engine.
pub struct Engines {
    engines: Vec<Engine>,
    began_at: Option<EventTime>,
    latest: EventTime,
    offset: Option<Offset>,
}

/// What is saved: enough to go on as if nothing had happened.
#[derive(Serialize, Deserialize)]
struct Saved {
    began_at: Option<EventTime>,
    latest: EventTime,
    offset: Option<Offset>,
    engines: Vec<Vec<u8>>,
}

impl Engines {
    /// Makes engines that have seen nothing.
    pub fn new(partitions: u16, settings: &Arc<Settings>, model: Option<&Arc<Model>>) -> Engines {
        let engines = (0..partitions).map(|_| Engine::new(settings.clone(), model.cloned())).collect();
        Engines { engines, began_at: None, latest: EventTime::MIN, offset: None }
    }

    /// Restores what [`Engines::save`] gave.
    ///
    /// # Errors
    /// Says in words why the saved state does not fit, and what to do.
    pub fn restore(
        partitions: u16,
        settings: &Arc<Settings>,
        model: Option<&Arc<Model>>,
        saved: &[u8],
    ) -> Result<Engines, String> {
        let saved: Saved =
            postcard::from_bytes(saved).map_err(|e| format!("the saved state cannot be read: {e}"))?;
        if saved.engines.len() != usize::from(partitions) {
            return Err(format!(
                "the state was saved with log.partitions = {}, the configuration says {partitions}; set it back, or delete the state to learn anew",
                saved.engines.len()
            ));
        }
        let engines: Result<Vec<Engine>, _> = saved
            .engines
            .iter()
            .map(|bytes| Engine::restore(settings.clone(), model.cloned(), bytes))
            .collect();
        let engines = engines.map_err(|e| e.to_string())?;
        Ok(Engines { engines, began_at: saved.began_at, latest: saved.latest, offset: saved.offset })
    }

    /// The state of all engines and the offset it includes, in one piece so that it is saved atomically.
    pub fn save(&self) -> Vec<u8> {
        let engines = self.engines.iter().map(Engine::save).collect();
        let saved = Saved { began_at: self.began_at, latest: self.latest, offset: self.offset, engines };
        postcard::to_stdvec(&saved).expect("plain vectors of bytes and integers always encode")
    }

    /// The last offset of the log that the state includes.
    pub fn offset(&self) -> Option<Offset> {
        self.offset
    }

    /// Takes in one frame. Frames of a partition come in order.
    pub fn observe(&mut self, position: Position, calls: &Calls, out: &mut Vec<Finding>) {
        if let Some(&first) = calls.columns().received_at().first() {
            self.begin(EventTime(first));
        }
        if let Some(&last) = calls.columns().received_at().last() {
            self.latest = self.latest.max(EventTime(last));
        }
        let engine = usize::from(position.partition.0) % self.engines.len();
        self.engines[engine].observe(position, calls, out);
        self.offset = self.offset.max(Some(position.offset));
    }

    /// Nothing with `received_at` before `up_to` will come in any partition.
    pub fn advance(&mut self, up_to: EventTime, out: &mut Vec<Finding>) {
        if self.began_at.is_some() {
            self.latest = self.latest.max(up_to);
            self.engines.iter_mut().for_each(|engine| engine.advance(up_to, out));
        }
    }

    /// The end of a recording: every window that it completes is closed, in all partitions alike.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        let latest = self.latest;
        self.advance(latest, out);
        self.engines.iter_mut().for_each(|engine| engine.finish(out));
    }

    /// Feature rows collected since the last call, when the settings ask for them.
    pub fn take_features(&mut self) -> Vec<FeatureRow> {
        self.engines.iter_mut().flat_map(Engine::take_features).collect()
    }

    /// The learned pairs, sorted by name.
    pub fn pairs(&self) -> Vec<PairSummary> {
        let mut pairs: Vec<PairSummary> = self.engines.iter().flat_map(Engine::pairs).collect();
        pairs.sort_by(|a, b| a.pair.cmp(&b.pair));
        pairs
    }

    /// The engines, for their counters.
    pub fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter()
    }

    /// Learning starts with the first call of the log, not of the partition, or partitioning would change findings.
    fn begin(&mut self, at: EventTime) {
        if self.began_at.is_none() {
            self.began_at = Some(at);
            self.engines.iter_mut().for_each(|engine| engine.begin(at));
        }
    }
}
