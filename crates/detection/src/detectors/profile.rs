//! Windows that are unlike everything the trained model has seen.

use std::sync::Arc;

use lapwing_telemetry::{FindingKind, Severity};

use super::Case;
use crate::Model;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::features::{FEATURES, features};
use crate::grid::{Grid, LEVELS, SECOND};

/// Calls that a window must have: the features of fewer vary by chance.
const MIN_CALLS: u64 = 5;

/// Asks the model for the distance of a window from ordinary ones ([`Model::score`]) and claims those beyond
/// its threshold. The probability is that of Chebyshev's inequality, scaled to one in a thousand there.
pub(crate) struct Profile {
    model: Arc<Model>,
    /// The level whose windows are nearest in length to those that the model was fitted on.
    level: usize,
}

impl Profile {
    pub(crate) fn new(grid: &Grid, model: Arc<Model>) -> Profile {
        let fitted = i64::from(model.window_s) * SECOND;
        let level = (0..LEVELS).min_by_key(|l| (grid.lengths[*l] - fitted).abs()).unwrap_or(0);
        Profile { model, level }
    }

    pub(crate) fn judge(&self, case: &Case<'_>) -> Option<Claim> {
        let state = case.state;
        if case.level != self.level || !state.is_learned() || state.reported(case.counts)?.calls < MIN_CALLS {
            return None;
        }
        let values = features(case.counts, state, case.hours());
        let score = self.model.score(&values);
        let threshold = self.model.threshold;
        if score.is_nan() || score <= threshold {
            return None;
        }
        let contributions = self.model.contributions(&values);
        let mut order: Vec<usize> = (0..FEATURES.len()).collect();
        order.sort_by(|a, b| contributions[*b].total_cmp(&contributions[*a]));
        let most: Vec<&str> = order.iter().take(3).map(|i| FEATURES[*i]).collect();
        Some(Claim {
            kind: FindingKind::Profile,
            detector: "profile",
            severity: if score > 4.0 * threshold { Severity::Medium } else { Severity::Low },
            p: 0.001 * threshold / score,
            confidence: state.confidence(),
            signal: state.reporter,
            start: case.start(),
            end: case.end,
            observed: score,
            expected: 1.0,
            low: None,
            high: Some(threshold),
            unit: "score".to_owned(),
            explanation: format!(
                "the window of {} scores {} by model {} version {}, usually 1 and at most {}; most by {}",
                crate::grid::span(case.length()),
                number(score),
                self.model.name,
                self.model.version,
                number(threshold),
                most.join(", "),
            ),
            class: Class::Any,
            evidence: score,
            quiet: case.quiet(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::detectors::tests::{judge, learned, window};
    use crate::features::{FEATURE_VERSION, N};
    use crate::grid::{HOURS, TENS};

    fn model() -> Arc<Model> {
        Arc::new(Model {
            name: "profile".to_owned(),
            version: 3,
            feature_version: FEATURE_VERSION,
            features: FEATURES.iter().map(|f| (*f).to_owned()).collect(),
            mean: vec![0.0; N],
            scale: vec![0.5; N],
            components: Vec::new(),
            variances: Vec::new(),
            residual_variance: N as f64,
            threshold: 3.0,
            window_s: 600,
            trained_rows: 1_000,
        })
    }

    #[test]
    fn a_window_beyond_the_models_threshold_is_claimed_with_what_made_it_so() {
        let profile = Profile::new(&Grid::new(&Settings::default()), model());
        let state = learned(60);
        let of = |ms, level| judge(&state, &window(10, ms), level, |case| profile.judge(case));
        let claim = of(900, TENS).unwrap();
        assert!(claim.observed > 3.0 && claim.p < 0.001, "{claim:?}");
        assert!(claim.explanation.contains("most by latency_"), "{}", claim.explanation);
        assert!(of(20, TENS).is_none());
        assert!(of(900, HOURS).is_none(), "the model was fitted on windows of ten minutes");
    }
}
