//! The judgement over all partitions, saved with the offset it includes.

use std::sync::Arc;

use lapwing_detection::{
    Baselines, Calibration, EngineStats, FeatureRow, Marks, Mesh, Model, PairSummary, Reading, Settings,
    Watch,
};
use lapwing_telemetry::{Calls, EventTime, Finding, Offset, Position};
use serde::{Deserialize, Serialize};

/// The engines of all partitions. Each partition's state has exactly one writer: its engine.
pub struct Engines {
    mesh: Mesh,
    offset: Option<Offset>,
}

/// What is saved: enough to go on as if nothing had happened.
#[derive(Serialize, Deserialize)]
struct Saved {
    offset: Option<Offset>,
    mesh: Vec<u8>,
}

impl Engines {
    /// Makes engines that have seen nothing.
    pub fn new(partitions: u16, settings: &Arc<Settings>, model: Option<&Arc<Model>>) -> Engines {
        Engines { mesh: Mesh::new(partitions, settings.clone(), model), offset: None }
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
        let mesh = Mesh::restore(partitions, settings.clone(), model, &saved.mesh);
        Ok(Engines { mesh: mesh.map_err(|e| e.to_string())?, offset: saved.offset })
    }

    /// Makes engines to look at of what [`Engines::save`] gave: windows and partitions are those of the state.
    ///
    /// # Errors
    /// Says in words why the state cannot be read.
    pub fn view(settings: &Settings, saved: &[u8]) -> Result<Engines, String> {
        let saved: Saved =
            postcard::from_bytes(saved).map_err(|e| format!("the saved state cannot be read: {e}"))?;
        let mesh = Mesh::view(settings, &saved.mesh).map_err(|e| e.to_string())?;
        Ok(Engines { mesh, offset: saved.offset })
    }

    /// What has been learned.
    pub fn baselines(&self) -> Baselines {
        self.mesh.baselines()
    }

    /// The state of all engines and the offset it includes, in one piece so that it is saved atomically.
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved { offset: self.offset, mesh: self.mesh.save() };
        postcard::to_stdvec(&saved).expect("plain vectors of bytes and integers always encode")
    }

    /// The last offset of the log that the state includes.
    pub fn offset(&self) -> Option<Offset> {
        self.offset
    }

    /// Takes in one frame, in the order of the log.
    pub fn observe(&mut self, position: Position, calls: &Calls, out: &mut Vec<Finding>) {
        self.mesh.observe(position, calls, out);
        self.offset = self.offset.max(Some(position.offset));
    }

    /// Nothing with `received_at` before `up_to` will come in any partition.
    pub fn advance(&mut self, up_to: EventTime, out: &mut Vec<Finding>) {
        self.mesh.advance(up_to, out);
    }

    /// The end of a recording: every window that it completes is closed, in all partitions alike.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        self.mesh.finish(out);
    }

    /// Feature rows collected since the last call, when the settings ask for them.
    pub fn take_features(&mut self) -> Vec<FeatureRow> {
        self.mesh.take_features()
    }

    /// Judges by what people said of findings from now on.
    pub fn mark(&mut self, marks: &Marks) {
        self.mesh.mark(marks);
    }

    /// Says which offset of the journal the state includes, after it has learned from an archive; `None` if from
    /// another log, so that the whole journal follows.
    pub fn go_on_after(&mut self, offset: Option<Offset>) {
        self.mesh.go_on_after(offset);
        self.offset = offset;
    }

    /// Writes down the windows of some pairs from now on.
    pub fn watch(&mut self, watch: &Watch) {
        self.mesh.watch(watch);
    }

    /// What was written down since the last call.
    pub fn take_readings(&mut self) -> Vec<Reading> {
        self.mesh.take_readings()
    }

    /// The learned pairs, sorted by name.
    pub fn pairs(&self) -> Vec<PairSummary> {
        self.mesh.pairs()
    }

    /// How each detector is calibrated by its own scores.
    pub fn calibration(&self) -> Vec<Calibration> {
        self.mesh.calibration()
    }

    /// The counters of all engines, added up.
    pub fn stats(&self) -> EngineStats {
        self.mesh.stats()
    }
}
