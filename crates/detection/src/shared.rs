//! What is known over all pairs, and every pair is judged with: as of the last boundary, so that no order of pairs or
//! partitions can matter.

use serde::{Deserialize, Serialize};

use crate::baseline::Learn;
use crate::contact::Contact;
use crate::grid::LEVELS;
use crate::scores::Scores;
use crate::structure::Structure;

/// Knowledge that pairs share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// Probabilities below which a window is unusual, by level.
    pub(crate) tails: [f64; LEVELS],
    /// The budget: findings a day over the whole mesh.
    pub(crate) budget: f64,
    pub(crate) structure: Structure,
    /// How far the small probabilities of detectors are to be trusted.
    pub(crate) scores: Scores,
}

impl Shared {
    /// Takes in what pairs told at a boundary; `hour` if one ends there.
    pub(crate) fn learn(&mut self, contacts: &[Contact], hour: bool, reports: bool) {
        contacts.iter().for_each(|contact| self.structure.see(contact));
        if hour {
            self.structure.hour(if reports { Learn::Usual } else { Learn::KeepOut });
            self.scores.hour();
        }
    }
}
