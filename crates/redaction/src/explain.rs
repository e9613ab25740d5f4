//! Says why the rules did what they did with a text, without repeating what they found.
//!
//! Reasons are found by asking again: what is claimed without the attribute's name, alone in a sentence, or
//! after only some of the words before it, is claimed by what is left then. So the reasons follow the rules,
//! however these come to their decision.

use std::sync::Arc;

use serde::Serialize;

use crate::action::Action;
use crate::builtin::{BUILTINS, Group};
use crate::cache::Outcome;
use crate::columns::is_left_as_identity;
use crate::context::Found;
use crate::decode::{self, Decoded};
use crate::fields::{FieldClass, looks_technical};
use crate::near_miss;
use crate::policy::Scope;
use crate::redactor::Redactor;
use crate::rules::Rules;
use crate::scan::{Field, Scratch};

/// What became of a text and why. Holds no value: only places, shapes and what stands there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is left of the text.
    pub redacted: String,
    /// What the attribute's name decides before the text is looked at; `None` if nothing.
    pub name: Option<String>,
    /// What rules claim, in order of place.
    pub claims: Vec<Claim>,
    /// What looks like something and is not claimed, in order of place.
    pub near_misses: Vec<NearMiss>,
}

/// A stretch of text that a rule claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The rule's name.
    pub rule: String,
    /// `secret`, `personal`, `address`, or `file` for a rule of a rule file.
    pub group: &'static str,
    /// First byte, counted from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Letters as `a` and `A`, digits as `9`, everything else as it is: `aaaa9@aa.aaa`.
    pub shape: String,
    /// `itself` (check digits, structure or a marker prove it), `name` (the attribute's name says so) or
    /// `context` (what stands beside it says so).
    pub proof: &'static str,
    /// Why the rule believes it, in words.
    pub because: String,
    /// `replace`, `pseudonymise`, `generalise`, or another word of a rule file.
    pub action: &'static str,
    /// What stands there now.
    pub replacement: String,
}

/// A stretch of text that looks like something and stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// The rule that does not claim it.
    pub rule: String,
    /// First byte, counted from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// As in [`Claim::shape`].
    pub shape: String,
    /// Why not, in words.
    pub because: String,
}

/// A place in a text that a rule claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The rule's name; `unscanned` for a text that cannot be looked at.
    pub rule: String,
    /// First byte, counted from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// How far back from a value the words are tried that may speak for it, in bytes.
const CONTEXT_BYTES: usize = 128;

impl Redactor {
    /// Where the rules claim anything of `text`, in order; nothing is replaced and nothing is counted. `key` is
    /// the name of the attribute that holds the text, if it is one.
    pub fn places(&mut self, key: Option<&str>, text: &str) -> Vec<Place> {
        let class = self.class_of(key);
        match self.decide(class, text) {
            Outcome::Clean => Vec::new(),
            Outcome::Dropped { .. } if class.drop => {
                vec![Place { rule: "field".to_owned(), start: 0, end: text.len() }]
            }
            Outcome::Replaced { .. } | Outcome::Dropped { .. } => {
                let found = self.asking(class).claimed(text, class.field);
                let place =
                    |f: &Found| Place { rule: self.rules.rule_name(f.rule), start: f.start, end: f.end };
                if found.is_empty() {
                    return vec![Place { rule: "unscanned".to_owned(), start: 0, end: text.len() }];
                }
                found.iter().map(place).collect()
            }
        }
    }

    /// The same for a value of a column of calls, which redaction judges by its content alone.
    pub fn places_in_column(&mut self, column: &str, text: &str) -> Vec<Place> {
        if is_left_as_identity(column, text) { Vec::new() } else { self.places(None, text) }
    }

    /// Explains what the rules do with `text`, the value of the attribute `key` if it is one. Far slower than
    /// redaction: every claim costs some twenty further looks at the text.
    pub fn explain(&mut self, key: Option<&str>, text: &str) -> Explanation {
        let class = self.class_of(key);
        let redacted = match self.decide(class, text) {
            Outcome::Clean => text.to_owned(),
            Outcome::Replaced { text, .. } => text.into(),
            Outcome::Dropped { .. } => String::new(),
        };
        let mut asking = self.asking(class);
        let looked_at = !(class.skip && looks_technical(text)) && text.len() <= self.rules.value_bytes;
        let found = if looked_at { asking.claimed(text, class.field) } else { Vec::new() };
        let claims: Vec<Claim> = found.iter().map(|f| asking.claim(key, text, class.field, f)).collect();
        let name = asking.name(key, class, text);
        let near_misses = if text.len() <= self.rules.value_bytes {
            near_miss::find(&mut asking, class.field, text, &found)
        } else {
            Vec::new()
        };
        Explanation { redacted, name, claims, near_misses }
    }

    fn asking(&self, class: FieldClass) -> Asking<'_> {
        Asking::new(&self.rules, self.scopes[usize::from(class.scope)].clone())
    }
}

/// The rules, to be asked many times.
pub(crate) struct Asking<'a> {
    pub(crate) rules: &'a Rules,
    /// What holds where the text stands.
    pub(crate) scope: Arc<Scope>,
    scratch: Scratch,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(rules: &'a Rules, scope: Arc<Scope>) -> Asking<'a> {
        Asking { rules, scope, scratch: Scratch::default() }
    }

    /// What the rules claim of `text`; nothing if it asks for more work than it may.
    pub(crate) fn claimed(&mut self, text: &str, field: Field) -> Vec<Found> {
        let mut found = self.unspared(text, field);
        self.rules.spare_allowed(text, &mut found);
        found
    }

    /// The same before the allow-list is asked.
    pub(crate) fn unspared(&mut self, text: &str, field: Field) -> Vec<Found> {
        self.rules.scanner.scan(text, field, &self.scope, &mut self.scratch);
        if self.scratch.exhausted { Vec::new() } else { self.scratch.found.clone() }
    }

    /// Whether `rule` claims all of `value` between two words that say nothing.
    pub(crate) fn proves_itself(&mut self, value: &str, rule: u16) -> bool {
        const BEFORE: &str = "at ";
        let found = self.claimed(&format!("{BEFORE}{value} now"), Field::default());
        found.iter().any(|f| f.rule == rule && f.start <= BEFORE.len() && f.end >= BEFORE.len() + value.len())
    }

    fn claim(&mut self, key: Option<&str>, text: &str, field: Field, found: &Found) -> Claim {
        let value = &text[found.start..found.end];
        let (proof, because) = self.because(key, text, field, found);
        let because = match reading(value) {
            Some(reading) => format!("{because}; {reading}"),
            None => because,
        };
        let action = self.scope.actions[usize::from(found.rule)];
        let replacement = if action == Action::Drop {
            String::new()
        } else {
            let replaced =
                self.rules.replace(text, std::slice::from_ref(found), &self.scope, &mut Vec::new());
            replaced[found.start..replaced.len() - (text.len() - found.end)].to_owned()
        };
        let entry = &self.rules.table[usize::from(found.rule)];
        Claim {
            rule: entry.name.clone(),
            group: group(found.rule),
            start: found.start,
            end: found.end,
            shape: shape(value),
            proof,
            because,
            action: action.word(),
            replacement,
        }
    }

    fn because(
        &mut self,
        key: Option<&str>,
        text: &str,
        field: Field,
        found: &Found,
    ) -> (&'static str, String) {
        let rule = self.rules.rule_name(found.rule);
        let plain = Decoded::of(&text.as_bytes()[found.start..found.end]);
        let value = plain.map_or_else(
            || text[found.start..found.end].to_owned(),
            |plain| String::from_utf8_lossy(&plain.bytes).into_owned(),
        );
        if self.proves_itself(&value, found.rule) {
            return ("itself", evidence(&rule).to_owned());
        }
        let same = |f: &Found| f.rule == found.rule && f.end > found.start;
        if field.meaning.is_some() && !self.claimed(text, Field::default()).iter().any(same) {
            let key = key.unwrap_or_default();
            return ("name", format!("the attribute's name `{key}` says what it holds"));
        }
        ("context", self.context(text, found))
    }

    /// Which of the words before a value speaks for it: the last one with which the rule claims it.
    fn context(&mut self, text: &str, found: &Found) -> String {
        let bytes = text.as_bytes();
        let floor = text.ceil_char_boundary(found.start.saturating_sub(CONTEXT_BYTES));
        let begins = |i: &usize| is_word(bytes[*i]) && (*i == floor || !is_word(bytes[*i - 1]));
        for start in std::iter::once(found.start).chain((floor..found.start).rev().filter(begins)) {
            let claims = self.claimed(&text[start..], Field::default());
            if claims.iter().any(|f| f.rule == found.rule && f.end > found.start - start) {
                if start == found.start {
                    return "its form, standing alone as a whole value or beside what follows it".to_owned();
                }
                let end = start + bytes[start..found.start].iter().take_while(|b| is_word(**b)).count();
                return self.spoken(text, start, end, found.start);
            }
        }
        "what stands around it".to_owned()
    }

    /// Names the word only if the rules know it: any other might be a value.
    fn spoken(&self, text: &str, start: usize, end: usize, value: usize) -> String {
        let word = &text[start..end];
        let known = self.rules.scanner.keys.meaning(word.as_bytes()).is_some();
        let labels = text[end..value].trim_matches(|c| " \"'\\".contains(c)).starts_with([':', '=', '>']);
        let what = if labels { "its name" } else { "a word before it" };
        if known { format!("{what}, `{word}`, says so") } else { format!("{what}, at byte {start}, says so") }
    }

    fn name(&mut self, key: Option<&str>, class: FieldClass, text: &str) -> Option<String> {
        let key = key?;
        if text.len() > self.rules.value_bytes {
            return Some(format!(
                "the value has more than {} bytes and is not looked at",
                self.rules.value_bytes
            ));
        }
        if class.skip {
            let left = looks_technical(text);
            let left = if left { "this one is left alone" } else { "this one does not, so it is scanned" };
            return Some(format!(
                "`{key}` holds what detection joins by: a value that looks technical stays; {left}"
            ));
        }
        let meaning = class.field.meaning?;
        Some(format!("`{key}` names what rule `{}` protects", self.rules.rule_name(meaning.rule)))
    }
}

impl Rules {
    pub(crate) fn rule_name(&self, rule: u16) -> String {
        self.table.get(usize::from(rule)).map_or_else(|| "unscanned".to_owned(), |entry| entry.name.clone())
    }
}

fn group(rule: u16) -> &'static str {
    match BUILTINS.get(usize::from(rule)).map(|b| b.group) {
        Some(Group::Secret) => "secret",
        Some(Group::Personal) => "personal",
        Some(Group::Address) => "address",
        None => "file",
    }
}

/// The form of a value: letters as `a` and `A`, digits as `9`, everything else as it is.
pub fn shape(value: &str) -> String {
    let of = |c: char| match c {
        c if c.is_numeric() => '9',
        c if c.is_uppercase() => 'A',
        c if c.is_alphabetic() => 'a',
        c => c,
    };
    value.chars().map(of).collect()
}

/// How a value had to be read, if not as it stands.
fn reading(value: &str) -> Option<&'static str> {
    if Decoded::of(value.as_bytes()).is_some() {
        return Some("read through its encoding (percent, escapes or look-alike characters)");
    }
    let spelled = decode::may_spell(value.as_bytes()) && decode::spelled_text(value.as_bytes()).is_some();
    spelled.then_some("read through base64 or hexadecimal digits that spell text")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// What proves a value of a rule that needs nothing beside it.
fn evidence(rule: &str) -> &'static str {
    match rule {
        "card" => "Luhn's check digit fits, and an issuer has numbers of this prefix and length",
        "iban" => "check digits (modulus 97) and the country's length fit",
        "nhs_number" => "the check digit (modulus 11) fits, and the range is in use",
        "nino" => "prefix and suffix letters are ones that are given out",
        "driving_licence" => "its structure fits: surname, birth date, initials",
        "email" => "a mailbox, `@` and a domain",
        "phone" => "its length fits the numbering plan of its prefix",
        "public_ip" => "an address that is routed in public",
        "private_ip" => "an address of a private network",
        "mac_address" => "six bytes in hexadecimal with one separator",
        "jwt" => "a header in base64 that is JSON, and further parts",
        "postcode" => "upper case, a space, and an area that exists",
        "us_ssn" => "groups with dashes, in a range that is given out",
        "crypto_address" => "its checksum or alphabet and length fit",
        "url_credentials" => "a name and password before the host of a URL",
        "private_key" => "the frame of a PEM private key",
        "basic_credentials" | "bearer_token" | "authorization" => "the scheme's name stands before it",
        _ => "its marker or form is its own",
    }
}
