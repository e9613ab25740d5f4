//! Windows, baselines and detectors: calls in, findings out.
//!
//! The one design decision: a [`Mesh`] is a pure function of the calls of a log. It owns no clock, file or
//! thread; time moves by the watermark, which the arrival times in the data drive. Each partition has an engine,
//! which knows its pairs alone: a pair's calls are counted in short base windows; whole base windows make the
//! longer horizons that are judged, and hours make the baselines. Each closed window is judged first and learned
//! afterwards, and not learned where it was found unusual. What is about a source or about several pairs is a
//! second step over what pairs tell at the same boundary.
//!
//! What it costs: a finding waits for its window and the lateness; and an engine that falls behind cannot skip.
//!
//! The invariant it keeps: findings depend on the calls and the settings alone, not on how calls come in
//! batches, partitions or sessions, nor on when anybody looked. Windows count in integers, pairs know nothing
//! of each other, and all that is judged is judged at a boundary of event time.

mod baseline;
mod claim;
mod contact;
mod counts;
mod detectors;
mod engine;
mod exemplars;
pub mod features;
pub mod feedback;
mod grid;
mod hash;
mod incidents;
mod intake;
mod lifecycle;
mod mesh;
pub mod model;
#[cfg(test)]
mod monotone;
#[cfg(test)]
mod null;
mod pair_state;
mod readout;
mod scores;
mod sensitivity;
pub mod series;
pub mod settings;
mod shared;
mod sources;
pub mod state;
pub mod stats;
mod structure;
mod tails;
mod watch;
mod zone;

pub use baseline::volume::HourOfWeek;
pub use engine::FeatureRow;
pub use features::{FEATURE_VERSION, FEATURES};
pub use feedback::{Mark, Marks, deviation};
pub use mesh::Mesh;
pub use model::{Model, ModelError};
pub use pair_state::PairSummary;
pub use readout::{Baselines, ErrorRate, PairBaseline, Quantiles, Rate, Threshold};
pub use scores::Calibration;
pub use sensitivity::Sensitivity;
pub use settings::Settings;
pub use state::StateError;
pub use stats::EngineStats;
pub use watch::{Reading, Value, Watch};
pub use zone::Zone;
