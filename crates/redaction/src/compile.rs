//! Compiles rule files: every problem of every file is found, not only the first.

use std::collections::{BTreeMap, HashSet};

use regex::bytes::Regex;

use crate::action::{self, Action, Refused};
use crate::builtin::{self, BUILTINS, Group, Rule, RuleSet};
use crate::context::Found;
use crate::fields::Fields;
use crate::file::{ActionWord, KeyRuleFile, PolicyFile, RuleFile, ValueRuleFile};
use crate::keys::Keys;
use crate::kinds::FieldKind;
use crate::lexicon::Lexicon;
use crate::patterns::{self, Pattern, Patterns};
use crate::placeholder::Placeholders;
use crate::policy::{MAX_POLICIES, Policies, Policy, ServicePattern};
use crate::pseudonym::PseudonymKeys;
use crate::rules::{Allow, CACHE_BYTES, RuleEntry, RuleProblem, Rules, VALUE_BYTES};
use crate::scan::Scanner;

/// The most rules there may be; rule numbers are 16 bits wide with room for marks.
const MAX_RULES: usize = 4_096;

/// Rules on their way from files to [`Rules`].
pub(crate) struct Compiler {
    has_key: bool,
    problems: Vec<RuleProblem>,
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
    pub(crate) fn new(has_key: bool) -> Compiler {
        let table = BUILTINS.iter().enumerate().map(|(id, b)| {
            let own = match b.group {
                Group::Personal if has_key => Action::Pseudonymise,
                Group::Secret | Group::Personal => Action::Replace,
                Group::Address => Action::Generalise,
            };
            // Addresses of the mesh itself are topology: kept unless a file says otherwise.
            let action = if id == usize::from(Rule::PrivateIp.id()) { Action::Off } else { own };
            RuleEntry { name: b.name.to_owned(), placeholder: b.placeholder.to_owned(), action, own }
        });
        Compiler {
            has_key,
            problems: Vec::new(),
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

    pub(crate) fn add(&mut self, file: &RuleFile) {
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
        for (name, action) in &file.builtin.actions {
            match builtin::by_name(name) {
                Some(id) => self.set_action(id, name, *action),
                None => self.unknown(name),
            }
        }
        for name in &file.builtin.disable {
            match builtin::by_name(name) {
                Some(id) => self.table[usize::from(id)].action = Action::Off,
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
            self.set_action(rule.id(), BUILTINS[usize::from(rule.id())].name, action);
        }
    }

    fn set_action(&mut self, id: u16, name: &str, word: ActionWord) {
        match Action::of(word, id, self.has_key) {
            Ok(action) => self.table[usize::from(id)].set(action),
            Err(Refused { reason, hint }) => self.problem(name, reason, hint),
        }
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
            own: Action::Replace,
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
            match patterns::compile(pattern, &[]) {
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
        match patterns::compile(&rule.pattern, &rule.examples.finds) {
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

    fn policy(&mut self, file: &PolicyFile) -> Policy {
        let place = format!("policies.{}", file.name);
        if file.disable.is_empty() && file.enable.is_empty() && file.actions.is_empty() && !file.drop {
            self.problem(&place, "it changes nothing", "give `disable`, `enable`, `actions` or `drop`");
        }
        let mut services = Vec::new();
        let namespaces = file.namespaces.iter().map(|namespace| format!("{namespace}/*"));
        for text in file.services.iter().cloned().chain(namespaces) {
            match ServicePattern::parse(&text) {
                Some(pattern) => services.push(pattern),
                None => self.problem(
                    &place,
                    format!("`{text}` is no pattern for services"),
                    "write `namespace/name`, with `*` for any characters of a part",
                ),
            }
        }
        let all = FieldKind::ALL.iter().fold(0, |bits, kind| bits | kind.bit());
        let kinds = file.fields.iter().fold(0, |bits, kind| bits | kind.bit());
        let joined = [FieldKind::Operation, FieldKind::Identity, FieldKind::Name];
        if file.drop && (kinds == 0 || joined.iter().any(|kind| kinds & kind.bit() != 0)) {
            self.problem(
                &place,
                "operations, identities and names of attributes cannot be dropped whole: detection joins by them",
                "list other kinds under `fields`, for example `[body, sql]`",
            );
        }
        let mut changes = BTreeMap::new();
        for name in &file.enable {
            if let Some(id) = self.by_name(name) {
                changes.insert(id, self.table[usize::from(id)].own);
            }
        }
        for (name, word) in &file.actions {
            let Some(id) = self.by_name(name) else { continue };
            match Action::of(*word, id, self.has_key) {
                Ok(action) => drop(changes.insert(id, action)),
                Err(Refused { reason, hint }) => self.problem(&format!("{place}.{name}"), reason, hint),
            }
        }
        for name in &file.disable {
            if let Some(id) = self.by_name(name) {
                changes.insert(id, Action::Off);
            }
        }
        let kinds = if kinds == 0 { all } else { kinds };
        Policy { services, kinds, changes: changes.into_iter().collect(), drop: file.drop }
    }

    /// The number of the rule of this name, built in or not.
    fn by_name(&mut self, name: &str) -> Option<u16> {
        let id = self.table.iter().position(|rule| rule.name == name);
        if id.is_none() {
            self.unknown(name);
        }
        id.map(|id| id as u16)
    }

    fn policies(&mut self, files: &[RuleFile]) -> Policies {
        let mut names = HashSet::new();
        let all = files.iter().flat_map(|file| &file.policies);
        for policy in all.clone() {
            if !names.insert(&policy.name) {
                let place = format!("policies.{}", policy.name);
                self.problem(&place, "there is another policy of this name", "choose another name");
            }
        }
        if all.clone().count() > MAX_POLICIES {
            let reason = format!("there are more than {MAX_POLICIES} policies");
            self.problem("policies", reason, "put services with the same changes into one policy");
            return Policies::default();
        }
        Policies { list: all.map(|file| self.policy(file)).collect() }
    }

    /// Built-in rules that are off whatever the policy, as bits.
    fn disabled(&self, policies: &Policies) -> RuleSet {
        let off = self.table[..BUILTINS.len()].iter().enumerate().filter(|(id, rule)| {
            let turned_on =
                |(rule, action): &(u16, Action)| usize::from(*rule) == *id && *action != Action::Off;
            rule.action == Action::Off && !policies.list.iter().any(|p| p.changes.iter().any(turned_on))
        });
        off.fold(0, |bits, (id, _)| bits | 1 << id)
    }

    /// The words of placeholders, with the parts that any policy lets stay.
    fn placeholders(&self, policies: &Policies) -> Placeholders {
        let changed = policies.list.iter().flat_map(|p| p.changes.iter().copied());
        let own = self.table.iter().enumerate().map(|(id, rule)| (id as u16, rule.action));
        let partial: HashSet<u16> = own
            .chain(changed)
            .filter(|(_, action)| matches!(action, Action::KeepPart | Action::Generalise))
            .map(|(rule, _)| rule)
            .collect();
        let words = self.table.iter().enumerate().map(|(id, rule)| {
            let part = action::part_rule(id as u16).filter(|_| partial.contains(&(id as u16)));
            (rule.placeholder.clone(), part)
        });
        Placeholders::new(words)
    }

    pub(crate) fn finish(
        mut self,
        files: &[RuleFile],
        keys: PseudonymKeys,
    ) -> Result<Rules, Vec<RuleProblem>> {
        self.check_examples();
        let policies = self.policies(files);
        let disabled = self.disabled(&policies);
        let placeholders = self.placeholders(&policies);
        let mut names = Keys::builtin(disabled);
        self.key_names.iter().for_each(|(name, id)| names.insert(name, *id));
        self.never_scan.iter().for_each(|name| names.exempt(name));
        let patterns = Patterns::new(std::mem::take(&mut self.patterns)).unwrap_or_else(|refusal| {
            self.problem("values", refusal.reason, refusal.hint);
            Patterns::default()
        });
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(Rules {
            scanner: Scanner {
                lexicon: Lexicon::new(&names, disabled),
                keys: names,
                patterns,
                placeholders,
                disabled,
            },
            fields: Fields::new(&self.never_scan, self.key_patterns),
            table: self.table,
            policies,
            keys,
            value_bytes: self.value_bytes,
            cache_bytes: self.cache_bytes,
            allow: self.allow,
        })
    }
}
