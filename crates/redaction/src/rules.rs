//! Rules, compiled once: the built-in ones, changed and extended by rule files.

use std::collections::{BTreeSet, HashSet};

use regex::bytes::Regex;

use crate::builtin::{self, BUILTINS, Group, Rule};
use crate::context::Found;
use crate::fields::Fields;
use crate::file::{ActionWord, KeyRuleFile, RuleFile, ValueRuleFile};
use crate::keys::Keys;
use crate::lexicon::Lexicon;
use crate::patterns::{self, Pattern, Patterns};
use crate::placeholder::{Placeholders, PseudonymKey};
use crate::scan::Scanner;

/// The longest value that is scanned, in bytes, unless a rule file says otherwise.
pub const VALUE_BYTES: usize = 64 * 1024;
/// Memory for remembered decisions, in bytes, unless a rule file says otherwise.
pub const CACHE_BYTES: usize = 32 << 20;
/// The most rules there may be; rule numbers are 16 bits wide with room for marks.
const MAX_RULES: usize = 4_096;

/// Compiled rules. Cheap to share; never changes.
pub struct Rules {
    pub(crate) scanner: Scanner,
    pub(crate) fields: Fields,
    pub(crate) table: Vec<RuleEntry>,
    pub(crate) key: Option<PseudonymKey>,
    pub(crate) value_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) allow: Vec<Allow>,
}

/// What is known of a rule by its number.
pub(crate) struct RuleEntry {
    pub(crate) name: String,
    pub(crate) placeholder: String,
    pub(crate) action: Action,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Replace,
    Pseudonymise,
    Truncate,
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

    /// Compiles the built-in rules with the changes of `files`, in order; later files win. Without `key`
    /// there are placeholders where there would be pseudonyms.
    ///
    /// # Errors
    /// Every problem of every file, not only the first.
    pub fn compile(files: &[RuleFile], key: Option<PseudonymKey>) -> Result<Rules, Vec<RuleProblem>> {
        let mut compiler = Compiler::new(key.is_some());
        files.iter().for_each(|file| compiler.add(file));
        compiler.finish(key)
    }

    /// Names of all rules, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.iter().map(|r| r.name.as_str())
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

struct Compiler {
    has_key: bool,
    problems: Vec<RuleProblem>,
    disabled: u64,
    table: Vec<RuleEntry>,
    names: HashSet<String>,
    key_names: Vec<(String, u16)>,
    key_patterns: Vec<(Regex, u16)>,
    never_scan: Vec<String>,
    patterns: Vec<Pattern>,
    examples: Vec<(u16, ValueRuleFile)>,
    allow: Vec<Allow>,
    value_bytes: usize,
    cache_bytes: usize,
}

impl Compiler {
    fn new(has_key: bool) -> Compiler {
        let table = BUILTINS.iter().map(|b| RuleEntry {
            name: b.name.to_owned(),
            placeholder: b.placeholder.to_owned(),
            action: match b.group {
                Group::Secret => Action::Replace,
                Group::Personal => Action::Pseudonymise,
                Group::Address => Action::Truncate,
            },
        });
        Compiler {
            has_key,
            problems: Vec::new(),
            // Addresses of the mesh itself are topology: kept unless a file says otherwise.
            disabled: Rule::PrivateIp.bit(),
            table: table.collect(),
            names: BUILTINS.iter().map(|b| b.name.to_owned()).collect(),
            key_names: Vec::new(),
            key_patterns: Vec::new(),
            never_scan: Vec::new(),
            patterns: Vec::new(),
            examples: Vec::new(),
            allow: Vec::new(),
            value_bytes: VALUE_BYTES,
            cache_bytes: CACHE_BYTES,
        }
    }

    fn problem(&mut self, rule: &str, reason: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(RuleProblem { rule: rule.to_owned(), reason: reason.into(), hint: hint.into() });
    }

    fn add(&mut self, file: &RuleFile) {
        if file.version != 1 {
            self.problem("version", format!("version {} is not known", file.version), "write `version: 1`");
        }
        self.builtin(file);
        self.addresses(file);
        file.keys.iter().for_each(|rule| self.key_rule(rule));
        file.values.iter().for_each(|rule| self.value_rule(rule));
        self.never_scan.extend(file.never_scan.iter().cloned());
        self.allow(file);
        if let Some(bytes) = file.limits.value_bytes {
            if bytes < 256 {
                self.problem(
                    "limits.value_bytes",
                    "less than 256 would hide most values",
                    "write at least 256",
                );
            }
            self.value_bytes = bytes as usize;
        }
        if let Some(bytes) = file.limits.cache_bytes {
            self.cache_bytes = bytes as usize;
        }
    }

    fn builtin(&mut self, file: &RuleFile) {
        for name in &file.builtin.disable {
            match builtin::by_name(name) {
                Some(id) => self.disabled |= 1 << id,
                None => self.unknown(name),
            }
        }
        for (name, action) in &file.builtin.actions {
            match builtin::by_name(name) {
                Some(id) => self.set_action(id, name, *action),
                None => self.unknown(name),
            }
        }
    }

    fn unknown(&mut self, name: &str) {
        let alike =
            |b: &&str| b.contains(name) || name.contains(b) || name.len() > 2 && b.get(..2) == name.get(..2);
        let near = BUILTINS.iter().map(|b| b.name).find(alike);
        let hint = near.map_or_else(
            || "`lapwing redact --stats` lists the names".to_owned(),
            |n| format!("did you mean `{n}`?"),
        );
        self.problem(name, "there is no built-in rule of this name", hint);
    }

    fn addresses(&mut self, file: &RuleFile) {
        for (rule, action) in [(Rule::PublicIp, file.ip.public), (Rule::PrivateIp, file.ip.private)] {
            let Some(action) = action else { continue };
            self.disabled &= !rule.bit();
            self.set_action(rule.id(), BUILTINS[usize::from(rule.id())].name, action);
        }
    }

    fn set_action(&mut self, id: u16, name: &str, word: ActionWord) {
        let group = BUILTINS.get(usize::from(id)).map_or(Group::Personal, |b| b.group);
        let action = match (word, group) {
            (ActionWord::Keep, _) => {
                self.disabled |= if id < 64 { 1 << id } else { 0 };
                return;
            }
            (ActionWord::Replace, _) => Action::Replace,
            (ActionWord::Pseudonymise, Group::Secret) => {
                return self.problem(
                    name,
                    "secrets are always replaced whole",
                    "remove the action, or write `replace`",
                );
            }
            (ActionWord::Pseudonymise, _) if !self.has_key => {
                return self.problem(
                    name,
                    "there is no key for pseudonyms",
                    "configure one, or write `replace`",
                );
            }
            (ActionWord::Pseudonymise, _) => Action::Pseudonymise,
            (ActionWord::Truncate, Group::Address) => Action::Truncate,
            (ActionWord::Truncate, _) => {
                return self.problem(
                    name,
                    "only addresses can be truncated",
                    "write `replace` or `pseudonymise`",
                );
            }
        };
        self.table[usize::from(id)].action = action;
    }

    /// Numbers a rule of a file; `None` if its name will not do.
    fn number(&mut self, name: &str, action: Option<ActionWord>) -> Option<u16> {
        let fits = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.as_bytes()[0].is_ascii_lowercase();
        if !fits {
            self.problem(
                name,
                "the name cannot stand in a placeholder",
                "use 1 to 32 small letters, digits and `_`, a letter first",
            );
            return None;
        }
        if !self.names.insert(name.to_owned()) {
            self.problem(name, "there is another rule of this name", "choose another name");
            return None;
        }
        if self.table.len() >= MAX_RULES {
            self.problem(
                name,
                format!("there are more than {MAX_RULES} rules"),
                "put several keys into one rule",
            );
            return None;
        }
        let id = self.table.len() as u16;
        self.table.push(RuleEntry {
            name: name.to_owned(),
            placeholder: name.to_owned(),
            action: Action::Replace,
        });
        match action {
            None => {}
            Some(ActionWord::Keep) => {
                self.problem(name, "a rule that keeps what it finds does nothing", "remove the rule");
            }
            Some(word) => self.set_action(id, name, word),
        }
        Some(id)
    }

    fn key_rule(&mut self, rule: &KeyRuleFile) {
        let Some(id) = self.number(&rule.name, rule.action) else { return };
        if rule.keys.is_empty() && rule.pattern.is_none() {
            self.problem(&rule.name, "it names no key", "give `keys`, `pattern`, or both");
        }
        for key in &rule.keys {
            if key.bytes().any(|b| b.is_ascii_alphanumeric()) {
                self.key_names.push((key.clone(), id));
            } else {
                self.problem(&rule.name, "a key has no letters", "write the name of a field");
            }
        }
        if let Some(pattern) = &rule.pattern {
            match patterns::compile(pattern) {
                Ok(regex) => self.key_patterns.push((regex, id)),
                Err(refusal) => self.problem(&rule.name, refusal.reason, refusal.hint),
            }
        }
    }

    fn value_rule(&mut self, rule: &ValueRuleFile) {
        let Some(id) = self.number(&rule.name, rule.action) else { return };
        if rule.examples.finds.is_empty() {
            self.problem(&rule.name, "it has no example", "give at least one text under `examples.true`");
        }
        match patterns::compile(&rule.pattern) {
            Ok(regex) => {
                self.patterns.push(Pattern { rule: id, regex, validator: rule.validator });
                self.examples.push((id, rule.clone()));
            }
            Err(refusal) => self.problem(&rule.name, refusal.reason, refusal.hint),
        }
    }

    fn allow(&mut self, file: &RuleFile) {
        for allow in &file.allow {
            let rule = match &allow.rule {
                None => None,
                Some(name) => {
                    let Some(id) = self.table.iter().position(|r| r.name == *name) else {
                        self.unknown(name);
                        continue;
                    };
                    Some(id as u16)
                }
            };
            let empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
            if allow.value.is_none() && allow.suffix.is_none() || empty(&allow.value) || empty(&allow.suffix)
            {
                self.problem("allow", "an entry names no value", "give `value` or `suffix`, not empty");
                continue;
            }
            self.allow.push(Allow { rule, value: allow.value.clone(), suffix: allow.suffix.clone() });
        }
    }

    fn check_examples(&mut self) {
        for (id, rule) in std::mem::take(&mut self.examples) {
            let Some(pattern) = self.patterns.iter().find(|p| p.rule == id) else { continue };
            let finds = |text: &String| {
                let mut found: Vec<Found> = Vec::new();
                pattern.find(text.as_bytes(), &mut found);
                !found.is_empty()
            };
            let missed = rule.examples.finds.iter().position(|t| !finds(t));
            let taken = rule.examples.leaves.iter().position(finds);
            if let Some(index) = missed {
                let reason = format!("it finds nothing in `examples.true`, number {}", index + 1);
                self.problem(&rule.name, reason, "correct the pattern, the validator or the example");
            }
            if let Some(index) = taken {
                let reason = format!("it finds something in `examples.false`, number {}", index + 1);
                self.problem(&rule.name, reason, "make the pattern narrower, or correct the example");
            }
        }
    }

    fn finish(mut self, key: Option<PseudonymKey>) -> Result<Rules, Vec<RuleProblem>> {
        self.check_examples();
        let mut keys = Keys::builtin(self.disabled);
        self.key_names.iter().for_each(|(name, id)| keys.insert(name, *id));
        self.never_scan.iter().for_each(|name| keys.exempt(name));
        let patterns = Patterns::new(std::mem::take(&mut self.patterns)).unwrap_or_else(|refusal| {
            self.problem("values", refusal.reason, refusal.hint);
            Patterns::default()
        });
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let truncates = |rule: &Rule| self.table[usize::from(rule.id())].action == Action::Truncate;
        let addresses = [Rule::PublicIp, Rule::PrivateIp];
        let truncated = addresses.iter().filter(|r| truncates(r)).fold(0, |bits, rule| bits | rule.bit());
        let words: BTreeSet<&str> = self.table.iter().map(|r| r.placeholder.as_str()).collect();
        let placeholders = Placeholders::new(words.into_iter().map(str::to_owned));
        Ok(Rules {
            scanner: Scanner {
                lexicon: Lexicon::new(&keys, self.disabled),
                keys,
                patterns,
                placeholders,
                disabled: self.disabled,
                truncated,
            },
            fields: Fields::new(&self.never_scan, self.key_patterns),
            table: self.table,
            key,
            value_bytes: self.value_bytes,
            cache_bytes: self.cache_bytes,
            allow: self.allow,
        })
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::builtin()
    }
}
