//! A text with the words found in it: what stands near a number decides what the number may be.

use std::cell::Cell;

use crate::action::Action;
use crate::builtin::{Rule, RuleSet};
use crate::keys::{Keys, Meaning, NAME_BYTES, is_technical};
use crate::lexicon::Lexicon;

/// A stretch of text that a rule claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: u16,
}

/// A word of the lexicon, found at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Number of the word in the lexicon.
    pub(crate) word: u16,
}

/// Hints that four numbers with dots are a version, not an address.
pub(crate) const VERSION: RuleSet = 1 << (RuleSet::BITS - 1);

/// How far a word may stand before what it explains, in bytes.
const REACH_BYTES: usize = 48;
/// How far before a value a word of the name may end that labels it: a name of 64 bytes, and what OTLP/JSON puts
/// between, `","value":{"stringValue":"`.
pub(crate) const LABEL_BYTES: usize = 112;

/// The name before a place that labels what stands there.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    place: usize,
    /// Where it begins and ends.
    pub(crate) name: Option<(usize, usize)>,
    /// What it means, by rules that are on.
    pub(crate) meaning: Option<Meaning>,
}

impl Label {
    /// Of no place.
    pub(crate) const NONE: Label = Label { place: usize::MAX, name: None, meaning: None };
}

/// A text under examination.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hits: &'a [Hit],
    pub(crate) lexicon: &'a Lexicon,
    pub(crate) keys: &'a Keys,
    /// What the name of the field says that holds the text.
    pub(crate) field: Option<Meaning>,
    /// Whether that name is a technical one.
    pub(crate) field_is_technical: bool,
    /// The rule that the field's name speaks for, as a bit.
    pub(crate) field_may: RuleSet,
    /// Rules that a word of the text or the field's name may speak for; while a number is looked at, a word near it.
    pub(crate) may: RuleSet,
    /// Rules that are switched off.
    pub(crate) disabled: RuleSet,
    /// Rules for addresses that generalise: what they leave is no longer theirs.
    pub(crate) truncated: RuleSet,
    /// What each rule does here, by number.
    pub(crate) actions: &'a [Action],
    /// How many bytes may still be looked at again.
    pub(crate) work: &'a Cell<usize>,
    /// The label that was asked for last: several rules ask at one place.
    pub(crate) last_label: &'a Cell<Label>,
}

impl Text<'_> {
    pub(crate) fn at(&self, index: usize) -> u8 {
        self.bytes.get(index).copied().unwrap_or(b' ')
    }

    pub(crate) fn before(&self, index: usize) -> u8 {
        if index == 0 { b' ' } else { self.bytes[index - 1] }
    }

    /// Takes `bytes` of looking again from what is left.
    pub(crate) fn spend(&self, bytes: usize) {
        self.work.set(self.work.get().saturating_sub(bytes));
    }

    /// Whether the rule of this number is on.
    pub(crate) fn is_on(&self, rule: u16) -> bool {
        self.actions.get(usize::from(rule)).is_none_or(|action| *action != Action::Off)
    }

    /// What the name of a field says, by rules that are on.
    pub(crate) fn meaning(&self, name: &[u8]) -> Option<Meaning> {
        self.keys.meaning(name).filter(|m| self.is_on(m.rule))
    }

    pub(crate) fn allows(&self, rule: Rule) -> bool {
        self.disabled & rule.bit() == 0
    }

    /// Whether any word of the text hints at one of `rules`.
    pub(crate) fn hints_at(&self, rules: RuleSet) -> bool {
        self.may & rules != 0 && self.hits.iter().any(|h| self.lexicon.hints(h) & rules != 0)
    }

    /// Whether a word that hints at one of `hints` stands shortly before `place`.
    pub(crate) fn near(&self, hints: RuleSet, place: usize) -> bool {
        if self.may & hints == 0 {
            return false;
        }
        let after = self.hits.partition_point(|h| (h.end as usize) <= place);
        let near = self.hits[..after].iter().rev().take_while(|h| h.end as usize + REACH_BYTES >= place);
        near.into_iter().any(|h| self.lexicon.hints(h) & hints != 0)
    }

    /// Whether a value at `place`, which by its form alone could be many things, is `rule`'s: its label
    /// says so or, without a label, a word near by.
    pub(crate) fn says(&self, rule: Rule, place: usize) -> bool {
        if self.may & rule.bit() == 0 {
            return false;
        }
        if self.field.is_some_and(|m| m.rule == rule.id()) {
            return true;
        }
        match self.labelled(place) {
            Label { meaning: Some(meaning), .. } => meaning.rule == rule.id(),
            Label { name: Some((start, end)), .. } => {
                self.hints(rule, place) && !is_technical(&self.bytes[start..end])
            }
            _ => self.hints(rule, place),
        }
    }

    /// Whether a word near by hints at `rule`, and no other number stands between: `born 12/3/1980, joined
    /// 1/2/2020` has one date of birth.
    fn hints(&self, rule: Rule, place: usize) -> bool {
        let listed = matches!(rule, Rule::Nhs | Rule::Phone | Rule::Card | Rule::Postcode);
        if listed {
            return self.near(rule.bit(), place);
        }
        let after = self.hits.partition_point(|h| (h.end as usize) <= place);
        let near = self.hits[..after].iter().rev().take_while(|h| h.end as usize + REACH_BYTES >= place);
        near.into_iter().any(|h| {
            self.lexicon.hints(h) & rule.bit() != 0
                && !self.bytes[h.end as usize..place].iter().any(u8::is_ascii_digit)
        })
    }

    /// Whether the name right before the value at `place`, or of the field, is one of `rule`'s.
    pub(crate) fn is_labelled(&self, rule: Rule, place: usize) -> bool {
        let label = self.labelled(place);
        let meaning = if label.name.is_some() { label.meaning } else { self.field };
        meaning.is_some_and(|m| m.rule == rule.id())
    }

    /// The label of the value at `place`, and what it means.
    pub(crate) fn labelled(&self, place: usize) -> Label {
        let last = self.last_label.get();
        if last.place == place {
            return last;
        }
        let name = self.label(place);
        let meaning = name.and_then(|(start, end)| self.meaning(&self.bytes[start..end]));
        let label = Label { place, name, meaning };
        self.last_label.set(label);
        label
    }

    /// Whether the value at `place` is labelled as a technical number or id.
    pub(crate) fn is_technical(&self, place: usize) -> bool {
        let label = self.label(place).or_else(|| self.word_before(place));
        match label {
            Some((start, end)) => is_technical(&self.bytes[start..end]),
            None => self.field_is_technical && self.at_the_start(place),
        }
    }

    fn at_the_start(&self, place: usize) -> bool {
        self.bytes[..place].iter().all(|b| !b.is_ascii_alphanumeric())
    }

    /// The name that labels the value at `place`: `name=`, `"name": "`, `<name>`, and the pairs of
    /// OTLP/JSON.
    pub(crate) fn label(&self, place: usize) -> Option<(usize, usize)> {
        let mut i = self.skip_back(place, |b| matches!(b, b'"' | b'\'' | b'\\' | b'[' | b'('), 6);
        i = self.skip_back(i, |b| b == b' ', 2);
        if !matches!(self.before(i), b'=' | b':' | b'>') {
            return None;
        }
        i = self.skip_back(i, |b| matches!(b, b'=' | b':' | b'>' | b' '), 4);
        i = self.skip_back(i, |b| matches!(b, b'"' | b'\'' | b'\\' | b'`' | b']'), 4);
        let start = self.name_start(i);
        let name = &self.bytes[start..i];
        if matches!(name, b"stringValue" | b"intValue" | b"doubleValue") {
            return self.otlp_key(start);
        }
        (!name.is_empty()).then_some((start, i))
    }

    /// The name in `"key":"name","value":{"stringValue":` before `place`, where `stringValue` begins.
    fn otlp_key(&self, place: usize) -> Option<(usize, usize)> {
        let quote = |b: u8| matches!(b, b'"' | b'\\' | b'{' | b' ' | b':');
        let i = self.skip_back(place, quote, 12);
        let i = i.checked_sub(5).filter(|i| &self.bytes[*i..i + 5] == b"value")?;
        let end = self.skip_back(i, |b| matches!(b, b'"' | b'\\' | b',' | b' '), 10);
        let start = self.name_start(end);
        (start < end).then_some((start, end))
    }

    /// The word before `place`, a space or quote between them.
    fn word_before(&self, place: usize) -> Option<(usize, usize)> {
        let end = self.skip_back(place, |b| matches!(b, b' ' | b'"' | b'\'' | b'#'), 3);
        let start = self.name_start(end);
        (start < end && end < place).then_some((start, end))
    }

    pub(crate) fn name_start(&self, end: usize) -> usize {
        let floor = end.saturating_sub(NAME_BYTES);
        // Letters of other alphabets are part of names: `prénom`, `straße`.
        let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || *b >= 0x80;
        end - self.bytes[floor..end].iter().rev().take_while(|b| name(b)).count()
    }

    fn skip_back(&self, from: usize, skip: impl Fn(u8) -> bool, most: usize) -> usize {
        let floor = from.saturating_sub(most);
        from - self.bytes[floor..from].iter().rev().take_while(|b| skip(**b)).count()
    }
}
