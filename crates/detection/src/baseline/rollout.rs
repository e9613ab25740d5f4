//! When the called service was replaced.

use serde::{Deserialize, Serialize};

use crate::grid::{DAY, MINUTE};

/// The instances of the called service that the pair knows, and when they joined.
///
/// A rolling update may answer with errors until its instances are ready; one that is not within ten minutes has
/// failed (Kubernetes, `progressDeadlineSeconds`). Errors until then are the update's own, and what lasts longer
/// is reported. A service whose instances come and go all day has no such grace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    /// Hashes of instances and the number of the window in which each was last seen, the latest last.
    known: Vec<(u64, u32)>,
    /// Windows in which any instance was seen.
    windows: u32,
    /// Starts of the windows in which the latest updates began, oldest first.
    updates: Vec<i64>,
    /// Whether the latest of them has a grace.
    graced: bool,
}

/// Instances remembered.
const MAX_INSTANCES: usize = 12;
/// An instance that was not seen in so many windows with calls, times the number of instances known, joins anew, as
/// one does that is rolled out after a trial. One that takes its share of the calls is missed in so many by chance once
/// in `exp(20)`.
const ABSENT_WINDOWS: u32 = 20;
/// How long an update may take: ten minutes and what its windows add.
const GRACE: i64 = 15 * MINUTE;
/// With this many updates within a day, the next has no grace.
const MAX_UPDATES: usize = 4;

impl Rollout {
    /// Takes in the instances of a window. The very first ones are no update.
    pub(crate) fn see(&mut self, instances: &[u64], start: i64) {
        if instances.is_empty() {
            return;
        }
        self.windows = self.windows.saturating_add(1);
        let first = self.known.is_empty();
        let absent = ABSENT_WINDOWS * self.known.len() as u32;
        let mut joined = false;
        for instance in instances {
            let place = self.known.iter().position(|(known, _)| known == instance);
            let seen_at = place.map(|place| self.known.remove(place).1);
            joined |= seen_at.is_none_or(|at| self.windows - at > absent);
            self.known.push((*instance, self.windows));
        }
        let surplus = self.known.len().saturating_sub(MAX_INSTANCES);
        self.known.drain(..surplus);
        let part_of_last = self.updates.last().is_some_and(|at| start - at < GRACE);
        if joined && !first && !part_of_last {
            self.updates.retain(|at| start - at < DAY);
            self.graced = self.updates.len() < MAX_UPDATES;
            self.updates.push(start);
            let surplus = self.updates.len().saturating_sub(MAX_UPDATES);
            self.updates.drain(..surplus);
        }
    }

    /// Whether an update began within a day before `start`: new operations are what updates bring.
    pub(crate) fn is_recent(&self, start: i64) -> bool {
        self.updates.last().is_some_and(|at| (0..DAY).contains(&(start - at)))
    }

    /// Whether a window that starts at `start` lies in an update.
    pub(crate) fn covers(&self, start: i64) -> bool {
        self.graced && self.updates.last().is_some_and(|at| (0..GRACE).contains(&(start - at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_covered_for_its_grace_and_churn_is_not() {
        let mut rollout = Rollout::default();
        let at = |minute| minute * MINUTE;
        rollout.see(&[1, 2], at(0));
        assert!(!rollout.covers(at(0)), "the first instances are no update");
        rollout.see(&[1, 2], at(50));
        rollout.see(&[2, 3], at(60));
        rollout.see(&[3, 4], at(65));
        assert!(rollout.covers(at(74)));
        assert!(!rollout.covers(at(75)), "one update has one grace");
        (80..140).for_each(|minute| rollout.see(&[4], at(minute)));
        rollout.see(&[3, 4], at(140));
        assert!(!rollout.covers(at(140)), "missed for a while");
        (141..240).for_each(|minute| rollout.see(&[4], at(minute)));
        rollout.see(&[3, 4], at(240));
        assert!(rollout.covers(at(240)), "back after a long time");
        for update in 0..40 {
            rollout.see(&[100 + update], at(300 + 20 * update as i64));
            assert_eq!(rollout.covers(at(300 + 20 * update as i64)), update < 2, "{update}");
        }
        assert_eq!((rollout.known.len(), rollout.updates.len()), (MAX_INSTANCES, MAX_UPDATES));
    }
}
