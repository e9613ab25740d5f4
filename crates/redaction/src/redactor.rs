//! Redacts texts and remembers what it decided.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lapwing_telemetry::EventTime;

use crate::action::{self, Action};
use crate::builtin::Rule;
use crate::cache::{Cache, Outcome};
use crate::context::Found;
use crate::counts::{Count, Counts, FIELD_RULE, UNSCANNED_RULE};
use crate::decode;
use crate::fields::{FieldClass, looks_technical};
use crate::kinds::{FieldKind, KINDS};
use crate::placeholder::UNSCANNED;
use crate::policy::{Ends, Scope};
use crate::pseudonym::Epoch;
use crate::rules::Rules;
use crate::scan::{Field, Scratch};

/// Redacts. Owns a bounded memory of decisions and the counters; one per thread.
pub struct Redactor {
    pub(crate) rules: Arc<Rules>,
    cache: Cache,
    pub(crate) counts: Counts,
    /// What holds somewhere, by number.
    pub(crate) scopes: Vec<Arc<Scope>>,
    scope_ids: HashMap<Arc<Scope>, u16, foldhash::fast::RandomState>,
    variants: Vec<Variant>,
    variant_ids: HashMap<(Ends, Epoch), u16, foldhash::fast::RandomState>,
    /// Names remembered in all variants.
    n_names: usize,
    /// The class of texts without a call and without a name, while these keys hold.
    text_class: Option<(Epoch, FieldClass)>,
    /// When texts without a call arrive; `None`: while the last key holds.
    text_time: Option<EventTime>,
    scratch: Scratch,
}

/// What holds for calls between services with some policies, while some keys hold.
struct Variant {
    /// Numbers of scopes, by kind of field.
    scopes: [u16; KINDS],
    /// What was decided about names of attributes.
    names: HashMap<Box<str>, (FieldClass, Outcome), foldhash::fast::RandomState>,
}

/// Names of attributes that are remembered; a mesh has a few hundred, and whoever invents them gains nothing.
const NAMES: usize = 4_096;
/// Variants for which so many are remembered each.
const VARIANTS_WITH_NAMES: usize = 16;
/// The longest name that is remembered, in bytes.
const NAME_BYTES: usize = 256;
/// Variants after which all are made anew. They come from the policies of a rule file, so few have more than ten.
const VARIANTS: usize = 1_024;

/// Passes over one value until nothing more is found: replacing one value may bring a word near another.
/// Three are enough for what people write; a value that needs more was made to need more.
const PASSES: usize = 6;

impl Redactor {
    /// Makes a redactor with an empty memory.
    pub fn new(rules: Arc<Rules>) -> Redactor {
        Redactor {
            cache: Cache::new(rules.cache_bytes),
            counts: Counts::new(&rules),
            scopes: Vec::new(),
            scope_ids: HashMap::default(),
            variants: Vec::new(),
            variant_ids: HashMap::default(),
            n_names: 0,
            rules,
            text_class: None,
            text_time: None,
            scratch: Scratch::default(),
        }
    }

    /// Puts other rules in force; what was remembered under the old ones is forgotten, the counts stay.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.counts.retire(&self.rules, &rules);
        self.rules = rules;
        self.forget();
    }

    /// Says when the texts given to [`Redactor::redact_text`] arrive, which decides the key of their
    /// pseudonyms. Until then it is the newest key's time.
    pub fn set_time(&mut self, at: EventTime) {
        self.text_time = Some(at);
    }

    /// Redacts one text; `key` is the name of the attribute that holds it, if it is one. A text that a rule
    /// drops becomes empty.
    pub fn redact_text<'a>(&mut self, key: Option<&str>, text: &'a str) -> Cow<'a, str> {
        let class = self.class_of(key);
        let (text, hits) = match self.decide(class, text) {
            Outcome::Clean => return Cow::Borrowed(text),
            Outcome::Replaced { text, hits } => (text.into(), hits),
            Outcome::Dropped { hits } => (String::new(), hits),
        };
        self.counts.add(&hits, &self.scopes[usize::from(class.scope)].actions, class.kind, 1);
        Cow::Owned(text)
    }

    /// Hits of each rule since start, `unscanned` for values that could not be looked at and `field` for those
    /// dropped whatever they are. Counts values, never holds them.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut by_rule = BTreeMap::new();
        for Count { rule, count, .. } in self.hits() {
            *by_rule.entry(rule).or_default() += count;
        }
        by_rule
    }

    /// The same by rule, action and kind of field, in order.
    pub fn hits(&self) -> Vec<Count> {
        self.counts.all(&self.rules)
    }

    /// The class of a text outside calls under this name, if it has one.
    pub(crate) fn class_of(&mut self, key: Option<&str>) -> FieldClass {
        self.forget_if_full();
        let keys = &self.rules.keys;
        let epoch = self.text_time.map_or_else(|| keys.last_epoch(), |at| keys.epoch(at));
        if let (None, Some((_, class))) = (key, self.text_class.filter(|(held, _)| *held == epoch)) {
            return class;
        }
        let variant = self.variant((None, None), epoch);
        let Some(key) = key else {
            let class = self.class_of_text(variant, FieldKind::Text);
            self.text_class = Some((epoch, class));
            return class;
        };
        self.name(variant, key).0
    }

    /// Decides about a text in a field of this class, from memory if it was seen before.
    pub(crate) fn decide(&mut self, class: FieldClass, text: &str) -> Outcome {
        if class.skip && looks_technical(text) {
            return Outcome::Clean;
        }
        if class.drop && !text.is_empty() {
            return Outcome::Dropped { hits: Box::new([FIELD_RULE]) };
        }
        if self.is_plain(class, text) {
            return Outcome::Clean;
        }
        if text.len() > self.rules.value_bytes {
            return Outcome::Replaced { text: UNSCANNED.into(), hits: Box::new([UNSCANNED_RULE]) };
        }
        let code = class.code();
        let hash = self.cache.hash(code, text);
        if let Some(outcome) = self.cache.get(hash, code, text) {
            return outcome;
        }
        let outcome = self.scan(class, text);
        self.cache.insert(hash, code, text, &outcome);
        outcome
    }

    /// The number of what holds for calls between these ends while these keys hold.
    pub(crate) fn variant(&mut self, ends: Ends, epoch: Epoch) -> u16 {
        if let Some(known) = self.variant_ids.get(&(ends, epoch)) {
            return *known;
        }
        let scopes = self.rules.scopes(ends, epoch).map(|scope| {
            let scope = Arc::new(scope);
            let next = self.scopes.len() as u16;
            *self.scope_ids.entry(scope).or_insert_with_key(|scope| {
                self.scopes.push(scope.clone());
                next
            })
        });
        let number = self.variants.len() as u16;
        self.variants.push(Variant { scopes, names: HashMap::default() });
        self.variant_ids.insert((ends, epoch), number);
        number
    }

    /// The class of texts in fields of a kind that has no names.
    pub(crate) fn class_of_text(&self, variant: u16, kind: FieldKind) -> FieldClass {
        let scope = self.variants[usize::from(variant)].scopes[kind as usize];
        let drop = self.scopes[usize::from(scope)].drop;
        FieldClass { skip: false, field: Field::default(), scope, kind, drop }
    }

    /// The class of an attribute's name, and what becomes of the name itself.
    pub(crate) fn name(&mut self, variant: u16, name: &str) -> (FieldClass, Outcome) {
        if let Some(known) = self.variants[usize::from(variant)].names.get(name) {
            return known.clone();
        }
        let class = self.class_of_text(variant, FieldKind::of_attribute(name));
        let scope = &self.scopes[usize::from(class.scope)];
        let (skip, field) = self.rules.fields.judge(name, &self.rules.scanner.keys, |rule| scope.is_on(rule));
        let class = FieldClass { skip, field, ..class };
        let outcome = self.decide(self.class_of_text(variant, FieldKind::Name), name);
        if name.len() <= NAME_BYTES {
            if self.n_names >= NAMES * self.variants.len().min(VARIANTS_WITH_NAMES) {
                self.variants.iter_mut().for_each(|v| v.names.clear());
                self.n_names = 0;
            }
            self.n_names += 1;
            self.variants[usize::from(variant)].names.insert(name.into(), (class, outcome.clone()));
        }
        (class, outcome)
    }

    /// Forgets what holds where if that is too much, before numbers of it are handed out.
    pub(crate) fn forget_if_full(&mut self) {
        if self.variants.len() >= VARIANTS {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.cache = Cache::new(self.rules.cache_bytes);
        self.scopes.clear();
        self.scope_ids.clear();
        self.variants.clear();
        self.variant_ids.clear();
        self.n_names = 0;
        self.text_class = None;
    }

    /// Whether a text is so short or plain that no built-in rule can find anything, and there are no others:
    /// a few bytes, a small number, a word in small letters.
    fn is_plain(&self, class: FieldClass, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        let bytes = text.as_bytes();
        class.field.meaning.is_none()
            && self.rules.scanner.patterns.is_empty()
            && (bytes.len() < 6
                || bytes.len() <= 8 && bytes[0] != b'0' && bytes.iter().all(u8::is_ascii_digit)
                || bytes.len() <= 40
                    && bytes.iter().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.')))
    }

    fn scan(&mut self, class: FieldClass, text: &str) -> Outcome {
        let scope = self.scopes[usize::from(class.scope)].clone();
        let mut hits = Vec::new();
        self.scratch.forget();
        let mut current = Cow::Borrowed(text);
        for _ in 0..PASSES {
            self.rules.scanner.scan(&current, class.field, &scope, &mut self.scratch);
            if self.scratch.exhausted {
                break;
            }
            self.rules.spare_allowed(&current, &mut self.scratch.found);
            let found = &self.scratch.found;
            if found.is_empty() {
                return match current {
                    Cow::Borrowed(_) => Outcome::Clean,
                    Cow::Owned(text) => Outcome::Replaced { text: text.into(), hits: hits.into() },
                };
            }
            hits.extend(found.iter().map(|f| f.rule));
            if found.iter().any(|f| scope.actions[usize::from(f.rule)] == Action::Drop) {
                return Outcome::Dropped { hits: hits.into() };
            }
            let mut ends = Vec::with_capacity(found.len());
            let replaced = self.rules.replace(&current, found, &scope, &mut ends);
            // An address that is generalised stays one, so that text is walked anew.
            if found.iter().all(|f| scope.actions[usize::from(f.rule)] != Action::Generalise) {
                self.scratch.replaced(&current, &ends);
            }
            current = Cow::Owned(replaced);
        }
        hits.push(UNSCANNED_RULE);
        Outcome::Replaced { text: UNSCANNED.into(), hits: hits.into() }
    }
}

impl Rules {
    pub(crate) fn spare_allowed(&self, text: &str, found: &mut Vec<Found>) {
        if !self.allow.is_empty() {
            found.retain(|f| {
                let plain = decode::plain(&text.as_bytes()[f.start..f.end]);
                !std::str::from_utf8(&plain).is_ok_and(|value| self.allows(f.rule, value))
            });
        }
    }

    /// `text` with what the rules put in the place of everything found; `ends` gets where each of that ends.
    pub(crate) fn replace(
        &self,
        text: &str,
        found: &[Found],
        scope: &Scope,
        ends: &mut Vec<usize>,
    ) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        let mut done = 0;
        for f in found {
            out.push_str(&text[done..f.start]);
            let quote = json_quote(text, f);
            out.push_str(quote);
            let action = scope.actions[usize::from(f.rule)];
            let varies = matches!(action, Action::Pseudonymise | Action::KeepPart);
            // A segment of a path gets the bare placeholder, so that the path reads like a template.
            let action =
                if varies && scope.is_url && is_segment(text, f.start) { Action::Replace } else { action };
            self.write(&text[f.start..f.end], f.rule, action, scope.epoch, &mut out);
            out.push_str(quote);
            ends.push(out.len());
            done = f.end;
        }
        out.push_str(&text[done..]);
        out
    }

    fn write(&self, value: &str, rule: u16, action: Action, epoch: Epoch, out: &mut String) {
        let entry = &self.table[usize::from(rule)];
        if action == Action::Generalise
            && let Some(network) = action::network_of(&canonical(rule, value))
        {
            return out.push_str(&network);
        }
        out.push('{');
        out.push_str(&entry.placeholder);
        match action {
            Action::Pseudonymise => self.keys.write(epoch, &entry.placeholder, &canonical(rule, value), out),
            Action::KeepPart | Action::Generalise => {
                if let Some(part) = action::part(rule, action, &canonical(rule, value)) {
                    out.push(':');
                    out.push_str(&part);
                }
            }
            Action::Off | Action::Replace | Action::Drop => {}
        }
        out.push('}');
    }
}

/// Whether a value that begins at `start` is a segment of a path: a slash stands before it, and no query.
fn is_segment(url: &str, start: usize) -> bool {
    url[..start].ends_with('/') && !url[..start].contains(['?', '#'])
}

/// A value as all its spellings are written: decoded, addresses in small letters, numbers without separators.
fn canonical(rule: u16, value: &str) -> String {
    let plain = decode::Decoded::of(value.as_bytes());
    let plain = plain
        .map_or_else(|| Cow::Borrowed(value), |d| Cow::Owned(String::from_utf8_lossy(&d.bytes).into_owned()));
    let numbers = [
        Rule::Card,
        Rule::Iban,
        Rule::Nino,
        Rule::Nhs,
        Rule::Utr,
        Rule::DrivingLicence,
        Rule::Passport,
        Rule::Plate,
        Rule::Ssn,
        Rule::Imei,
        Rule::Phone,
        Rule::MacAddress,
        Rule::Postcode,
        Rule::BankAccount,
    ];
    if numbers.iter().any(|n| n.id() == rule) {
        return plain.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    }
    plain.trim().to_lowercase()
}

/// The quotes a placeholder needs where a bare number of JSON stood: `"card":4111…,` becomes `"card":"{card}",`.
fn json_quote<'a>(text: &'a str, found: &Found) -> &'a str {
    let bytes = text.as_bytes();
    let number =
        bytes[found.start..found.end].iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    let next = bytes[found.end..].iter().find(|b| !b.is_ascii_whitespace());
    if !number || !matches!(next, Some(b',' | b'}' | b']')) {
        return "";
    }
    let before = text[..found.start].trim_end();
    let Some(name) = before.strip_suffix(':').map(str::trim_end) else { return "" };
    let Some(quoted) = name.strip_suffix('"') else { return "" };
    let slashes = quoted.len() - quoted.trim_end_matches('\\').len();
    &text[quoted.len() - slashes..=quoted.len()]
}
