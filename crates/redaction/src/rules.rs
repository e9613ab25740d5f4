//! Rules, compiled once: the built-in ones, changed and extended by rule files.

use crate::action::Action;
use crate::builtin::{BUILTINS, Group};
use crate::compile::Compiler;
use crate::fields::Fields;
use crate::file::RuleFile;
use crate::kinds::KINDS;
use crate::policy::{self, Ends, Policies, Scope};
use crate::pseudonym::{Epoch, PseudonymKeys};
use crate::scan::Scanner;

/// The longest value that is scanned, in bytes, unless a rule file says otherwise.
pub const VALUE_BYTES: usize = 64 * 1024;
/// Memory for remembered decisions, in bytes, unless a rule file says otherwise.
pub const CACHE_BYTES: usize = 32 << 20;

/// Compiled rules. Cheap to share; never changes.
pub struct Rules {
    pub(crate) scanner: Scanner,
    pub(crate) fields: Fields,
    pub(crate) table: Vec<RuleEntry>,
    pub(crate) policies: Policies,
    pub(crate) keys: PseudonymKeys,
    pub(crate) value_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) allow: Vec<Allow>,
}

/// What is known of a rule by its number.
pub(crate) struct RuleEntry {
    pub(crate) name: String,
    pub(crate) placeholder: String,
    /// What it does where no policy says otherwise.
    pub(crate) action: Action,
    /// What it does where a policy switches it on.
    pub(crate) own: Action,
}

impl RuleEntry {
    pub(crate) fn set(&mut self, action: Action) {
        self.action = action;
        if action != Action::Off {
            self.own = action;
        }
    }
}

/// A value that stays.
pub(crate) struct Allow {
    /// `None`: every rule but those for secrets.
    pub(crate) rule: Option<u16>,
    pub(crate) value: Option<String>,
    pub(crate) suffix: Option<String>,
}

/// Something wrong with a rule file; the file is refused as a whole, and the rules in force stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The rule or setting, by name.
    pub rule: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl std::fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rule `{}`: {} ({})", self.rule, self.reason, self.hint)
    }
}

impl std::error::Error for RuleProblem {}

impl Rules {
    /// The built-in rules as they are, without a key for pseudonyms.
    pub fn builtin() -> Rules {
        Rules::compile(&[], None).expect("without a file there is nothing to be wrong with")
    }

    /// Compiles the built-in rules with the changes of `files`, in order; later files win. Without `keys`
    /// there are placeholders where there would be pseudonyms.
    ///
    /// # Errors
    /// Every problem of every file, not only the first.
    pub fn compile(files: &[RuleFile], keys: Option<PseudonymKeys>) -> Result<Rules, Vec<RuleProblem>> {
        let keys = keys.unwrap_or_default();
        let mut compiler = Compiler::new(!keys.is_empty());
        files.iter().for_each(|file| compiler.add(file));
        compiler.finish(files, keys)
    }

    /// Names of all rules, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.iter().map(|r| r.name.as_str())
    }

    /// What holds for calls between ends with these policies, by kind of field.
    pub(crate) fn scopes(&self, ends: Ends, epoch: Epoch) -> [Scope; KINDS] {
        let base: Vec<Action> = self.table.iter().map(|rule| rule.action).collect();
        policy::scopes(&self.policies, ends, epoch, &base, BUILTINS.len(), self.scanner.disabled)
    }

    /// Whether what `rule` found in `value` (plain, without encoding) stays.
    pub(crate) fn allows(&self, rule: u16, value: &str) -> bool {
        let secret = BUILTINS.get(usize::from(rule)).is_some_and(|b| b.group == Group::Secret);
        self.allow.iter().any(|a| {
            let rule_fits = a.rule.map_or(!secret, |r| r == rule);
            let value_fits = a.value.as_ref().is_none_or(|v| v.eq_ignore_ascii_case(value));
            let suffix_fits = a.suffix.as_ref().is_none_or(|s| {
                value.len() >= s.len()
                    && value.as_bytes()[value.len() - s.len()..].eq_ignore_ascii_case(s.as_bytes())
            });
            rule_fits && value_fits && suffix_fits
        })
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::builtin()
    }
}
