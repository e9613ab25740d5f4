//! Offline work on recorded datasets: fits models, and scores findings against what was really done.
//!
//! The one design decision: a model is **plain numbers** in a JSON file of our own. linfa finds them here and
//! nowhere else; detection needs a few multiplications and knows nothing of linfa. What it costs: only models
//! whose numbers can be written down fit this mould, which principal components do.
//!
//! The invariant it keeps: the same rows, in whatever order and batches, give the same model; and a version of
//! a model, once written, never changes.

pub mod backtest;
mod card;
pub mod compare;
mod fit;
mod labels;
mod manifest;
mod principal;
mod sample;
mod store;

pub use backtest::{Report, Revision, score};
pub use card::Card;
pub use fit::{FitOptions, Fitted, Fitter, TrainError, fit};
pub use labels::{Incident, Labels, LabelsError, Timeline, load_labels};
pub use manifest::{MANIFEST, Manifest, ManifestError, Part, data_hash};
pub use store::{SaveError, save};
