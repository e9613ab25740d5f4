//! Which operations a pair calls.

use serde::{Deserialize, Serialize};

use super::KEEP_PER_HOUR;

/// Operations that a pair, or a window, tells apart. A pair with as many makes names up (paths that were not templated), and none
/// of them is a surprise.
pub(crate) const MAX_OPERATIONS: usize = 64;

/// The operations that a pair has called, hashed, and how often it found new ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operations {
    /// Ascending.
    known: Vec<u32>,
    /// Discoveries, and hours with calls, forgotten like all that is learned.
    found: f32,
    hours: f32,
}

impl Operations {
    /// Whether an operation would be new to the pair.
    pub(crate) fn lacks(&self, operation: u32) -> bool {
        self.known.len() < MAX_OPERATIONS && self.known.binary_search(&operation).is_err()
    }

    /// Hours with calls that this rests on.
    pub(crate) fn hours(&self) -> f64 {
        f64::from(self.hours)
    }

    /// The chance that an hour with calls has a new operation: the rule of succession (Laplace) with the prior of
    /// Jeffreys.
    pub(crate) fn chance(&self) -> f64 {
        ((f64::from(self.found) + 0.5) / (f64::from(self.hours) + 1.0)).min(1.0)
    }

    /// Remembers the operations of a window that has been judged.
    pub(crate) fn see(&mut self, operations: &[(u32, u32)]) {
        for (operation, _) in operations {
            if self.known.len() >= MAX_OPERATIONS {
                return;
            }
            if let Err(at) = self.known.binary_search(operation) {
                self.known.insert(at, *operation);
                self.found += 1.0;
            }
        }
    }

    /// Counts an hour.
    pub(crate) fn hour(&mut self, has_calls: bool) {
        if has_calls {
            self.found *= KEEP_PER_HOUR;
            self.hours = self.hours * KEEP_PER_HOUR + 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_and_a_flood_of_names_is_no_surprise() {
        let mut operations = Operations::default();
        operations.see(&[(5, 1), (9, 4)]);
        assert!(operations.lacks(7) && !operations.lacks(5) && !operations.lacks(9));
        let young = operations.chance();
        (0..500).for_each(|_| operations.hour(true));
        assert!(operations.chance() < 0.01 && operations.chance() < young);
        operations.see(&(0..200).map(|i| (i, 1)).collect::<Vec<_>>());
        assert!(!operations.lacks(1_000));
        assert_eq!(operations.known.len(), MAX_OPERATIONS);
    }
}
