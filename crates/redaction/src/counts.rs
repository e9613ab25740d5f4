//! What was redacted, counted by rule, action and kind of field: never a value, never a name a sender chose.

use std::collections::BTreeMap;

use crate::action::{ACTIONS, Action};
use crate::kinds::{FieldKind, KINDS};
use crate::rules::Rules;

/// How often one rule did one thing in one kind of field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// Name of the rule; `unscanned` for values that could not be looked at, `field` for those that a policy
    /// drops whatever they are.
    pub rule: String,
    /// What became of the values, in the words of rule files.
    pub action: &'static str,
    /// The kind of field they stood in, in the words of rule files.
    pub field: &'static str,
    /// Values since start.
    pub count: u64,
}

/// Marks a value that could not be scanned, where a rule's number stands.
pub(crate) const UNSCANNED_RULE: u16 = u16::MAX;
/// Marks a value that goes because of the field it stands in, where a rule's number stands.
pub(crate) const FIELD_RULE: u16 = u16::MAX - 1;

/// Hits since start.
#[derive(Default)]
pub(crate) struct Counts {
    /// By rule, and in it by action and kind; behind the rules, the two marks above.
    now: Vec<u64>,
    rules: usize,
    /// Hits under rules that are no longer in force.
    past: BTreeMap<(String, &'static str, &'static str), u64>,
}

impl Counts {
    pub(crate) fn new(rules: &Rules) -> Counts {
        let rules = rules.table.len();
        Counts { now: vec![0; (rules + 2) * ACTIONS * KINDS], rules, past: BTreeMap::new() }
    }

    /// Counts `times` values in which the rules `hits` found something; `actions` are those in force there.
    pub(crate) fn add(&mut self, hits: &[u16], actions: &[Action], kind: FieldKind, times: u64) {
        for rule in hits {
            let (row, action) = match *rule {
                FIELD_RULE => (self.rules, Action::Drop),
                rule => match actions.get(usize::from(rule)) {
                    Some(action) => (usize::from(rule), *action),
                    None => (self.rules + 1, Action::Replace),
                },
            };
            self.now[(row * ACTIONS + action as usize) * KINDS + kind as usize] += times;
        }
    }

    /// Everything that is not zero, in order.
    pub(crate) fn all(&self, rules: &Rules) -> Vec<Count> {
        let mut all = self.past.clone();
        self.collect(rules, &mut all);
        all.into_iter().map(|((rule, action, field), count)| Count { rule, action, field, count }).collect()
    }

    /// Keeps what was counted under `rules`, and goes on under `next`.
    pub(crate) fn retire(&mut self, rules: &Rules, next: &Rules) {
        let mut past = std::mem::take(&mut self.past);
        self.collect(rules, &mut past);
        *self = Counts { past, ..Counts::new(next) };
    }

    fn collect(&self, rules: &Rules, into: &mut BTreeMap<(String, &'static str, &'static str), u64>) {
        for (index, count) in self.now.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (row, kind) = (index / KINDS, FieldKind::ALL[index % KINDS]);
            let (row, action) = (row / ACTIONS, Action::of_index(row % ACTIONS));
            let rule = match rules.table.get(row) {
                Some(entry) => &*entry.name,
                None if row == self.rules => "field",
                None => "unscanned",
            };
            *into.entry((rule.to_owned(), action.word(), kind.word())).or_default() += count;
        }
    }
}
