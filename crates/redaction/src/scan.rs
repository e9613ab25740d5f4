//! Finds everything in one text that a rule claims.

use std::cell::Cell;

use crate::builtin::{BUILTINS, Rule, RuleSet};
use crate::classes::is_run;
use crate::context::{Found, Label, Text};
use crate::decode::{self, Decoded};
use crate::keys::{Keys, Meaning};
use crate::lexicon::{Act, Lexicon, Walk};
use crate::patterns::Patterns;
use crate::placeholder::Placeholders;
use crate::policy::Scope;
use crate::{accounts, inserts, network, numbers, pairs, tokens, words};

/// Everything that finding needs, compiled once.
pub(crate) struct Scanner {
    pub(crate) keys: Keys,
    pub(crate) lexicon: Lexicon,
    pub(crate) patterns: Patterns,
    pub(crate) placeholders: Placeholders,
    /// Built-in rules that are switched off.
    pub(crate) disabled: RuleSet,
}

/// What the name of a field says about the text in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) meaning: Option<Meaning>,
    pub(crate) technical: bool,
}

/// What is given with a text, and holds for everything read out of it.
#[derive(Clone, Copy)]
struct Given<'a> {
    field: Field,
    scope: &'a Scope,
    /// How many bytes may still be looked at again.
    work: &'a Cell<usize>,
}

/// Memory that scans reuse.
#[derive(Default)]
pub(crate) struct Scratch {
    walk: Walk,
    inner_walk: Walk,
    pub(crate) found: Vec<Found>,
    /// Whether the text asked for more work than its length allows; then it was not looked at to the end.
    pub(crate) exhausted: bool,
    placeholders: Vec<(usize, usize)>,
    /// Whether nothing in the text that was scanned last had to be decoded.
    is_plain: bool,
    /// Whether `walk` describes the text that is scanned next.
    is_walked: bool,
    /// What was replaced, and by how much the text had grown behind each.
    spans: Vec<(usize, usize)>,
    grown: Vec<isize>,
}

impl Scratch {
    /// Another text comes next.
    pub(crate) fn forget(&mut self) {
        self.is_walked = false;
    }

    /// Says that everything found in `text` was replaced by a placeholder each, `ends` being where they end: the
    /// walk over the new text is made of the one over the old, if no word or run went over an edge of what was found.
    pub(crate) fn replaced(&mut self, text: &str, ends: &[usize]) {
        let bytes = text.as_bytes();
        let runs = |at: usize| at > 0 && at < bytes.len() && is_run(bytes[at - 1]) && is_run(bytes[at]);
        if !self.is_plain || self.found.iter().any(|f| runs(f.start) || runs(f.end)) {
            return;
        }
        self.spans.clear();
        self.spans.extend(self.found.iter().map(|f| (f.start, f.end)));
        self.grown.clear();
        self.grown.extend(self.found.iter().zip(ends).map(|(f, end)| *end as isize - f.end as isize));
        self.walk.replaced(&self.spans, &self.grown);
        self.is_walked = true;
    }
}

/// Bytes that may be looked at again for each byte of a text, in search of where values end. Texts that people
/// and proxies write need one or two; a text made to need more is not worth the time.
const WORK_PER_BYTE: usize = 32;
/// Bytes that may be looked at again in any text.
const WORK_BYTES: usize = 4_096;

/// How deep text is looked for in base64 inside base64.
const DEPTH: usize = 2;

impl Scanner {
    /// Leaves in `scratch.found` what the rules claim of `text`, in order, without overlaps.
    pub(crate) fn scan(&self, text: &str, field: Field, scope: &Scope, scratch: &mut Scratch) {
        let bytes = text.as_bytes();
        scratch.found.clear();
        scratch.exhausted = false;
        let work = Cell::new(WORK_PER_BYTE * bytes.len() + WORK_BYTES);
        let given = Given { field, scope, work: &work };
        if let Some(meaning) = field.meaning
            && let Some((start, end)) = pairs::whole(bytes, meaning)
        {
            scratch.found.push(Found { start, end, rule: meaning.rule });
        }
        let decoded = if std::mem::take(&mut scratch.is_walked) {
            None
        } else {
            self.walk(bytes, &mut scratch.walk, &mut scratch.placeholders);
            if scratch.walk.classes.encoded { Decoded::of(bytes) } else { None }
        };
        scratch.is_plain = decoded.is_none();
        self.view(bytes, &scratch.walk, given, decoded.is_none().then_some(DEPTH), &mut scratch.found);
        self.patterns.find(bytes, &mut scratch.found);
        if let Some(decoded) = decoded {
            let first = scratch.found.len();
            self.walk(&decoded.bytes, &mut scratch.inner_walk, &mut scratch.placeholders);
            self.view(&decoded.bytes, &scratch.inner_walk, given, Some(DEPTH), &mut scratch.found);
            self.patterns.find(&decoded.bytes, &mut scratch.found);
            for found in &mut scratch.found[first..] {
                (found.start, found.end) = decoded.original(found.start, found.end);
            }
        }
        scratch.exhausted = work.get() == 0;
        if scope.partial {
            // Before overlaps are settled: a rule that is off here must not hide one that is on.
            scratch.found.retain(|f| scope.is_on(f.rule));
        }
        if !scratch.found.is_empty() {
            self.settle(text, scratch);
        }
    }

    fn walk(&self, bytes: &[u8], walk: &mut Walk, placeholders: &mut Vec<(usize, usize)>) {
        self.lexicon.walk(bytes, walk);
        if walk.classes.braces {
            // The word in a placeholder says nothing about what stands beside it.
            self.placeholders.find(bytes, placeholders);
            walk.without(placeholders);
        }
    }

    /// Looks at one reading of the text. `numbers`: nothing hides numbers, so they are
    /// looked for here, and text in base64 inside base64 so deep.
    fn view(
        &self,
        bytes: &[u8],
        walk: &Walk,
        given: Given<'_>,
        numbers: Option<usize>,
        found: &mut Vec<Found>,
    ) {
        let Given { field, scope, work } = given;
        let named = field.meaning.filter(|m| m.is_built_in()).map_or(0, |m| 1 << m.rule);
        let last_label = Cell::new(Label::NONE);
        let text = Text {
            bytes,
            hits: &walk.hits,
            lexicon: &self.lexicon,
            keys: &self.keys,
            field: field.meaning,
            field_is_technical: field.technical,
            field_may: named,
            may: walk.may | named,
            disabled: scope.disabled,
            truncated: scope.generalised,
            actions: &scope.actions,
            work,
            last_label: &last_label,
        };
        let mut after = 0;
        for hit in &walk.hits {
            let (start, end) = (hit.start as usize, hit.end as usize);
            if work.get() == 0 {
                return;
            }
            let act = self.lexicon.act(hit);
            let alone = if let Act::Name(alone) = act { alone } else { None };
            // Words that do something may be part of a name as well: `basic_auth=`.
            let names = matches!(act, Act::Name(_)) || act != Act::Hint && self.lexicon.may(hit) != 0;
            if names && start >= after {
                after = self.name(&text, start, end, alone, found);
            }
            match act {
                Act::Hint | Act::Name(_) => {}
                Act::Insert => inserts::find(&text, start, found),
                Act::Pem => {
                    let key = pem(bytes, start).map(|end| (end, Rule::PrivateKey));
                    claim(&text, start.saturating_sub(5), key, found);
                }
                Act::Bearer => {
                    claim(&text, end + 1, bearer(bytes, end).map(|end| (end, Rule::Bearer)), found);
                }
                Act::Basic => claim(&text, end + 1, basic(bytes, end).map(|end| (end, Rule::Basic)), found),
                Act::Street => {
                    if let Some(begin) = words::street_before(bytes, start) {
                        claim(&text, begin, Some((end, Rule::StreetAddress)), found);
                    }
                }
                Act::User => accounts::user(&text, start, end, found),
                Act::Login => accounts::login(&text, end, found),
                Act::Home => accounts::home(&text, start, end, found),
                Act::Curl => accounts::curl(&text, end, found),
                Act::Auth => {
                    let password = redis_auth(bytes, start, end).map(|end| (end, Rule::Password));
                    claim(&text, end + 1, password, found);
                }
            }
        }
        let mut ats = walk.classes.ats.iter().map(|at| *at as usize).peekable();
        for scheme in walk.classes.schemes.iter().map(|at| *at as usize) {
            claim(&text, text.name_start(scheme), tokens::webhook(bytes, scheme), found);
            let taken = network::userinfo(&text, scheme, found);
            // The `@` behind a password makes no address with the host.
            while let Some(at) = ats.next_if(|at| *at <= taken.unwrap_or(scheme)) {
                if taken != Some(at) {
                    network::email(&text, at, found);
                }
            }
        }
        ats.for_each(|at| network::email(&text, at, found));
        for (start, index) in &walk.tokens {
            claim(&text, *start as usize, tokens::end_of(usize::from(*index), bytes, *start as usize), found);
        }
        for start in &walk.jwts {
            claim(&text, *start as usize, jwt(bytes, *start as usize).map(|end| (end, Rule::Jwt)), found);
        }
        if let Some(depth) = numbers {
            numbers::find(&text, &walk.classes.numbers, found);
            if depth > 0 {
                self.spelled(bytes, &walk.classes.long, given, depth, found);
            }
        }
    }

    /// A word that may name a field: the whole name decides, with the words before it if it is several.
    /// Gives how far the text is dealt with.
    fn name(
        &self,
        text: &Text<'_>,
        start: usize,
        end: usize,
        alone: Option<Meaning>,
        found: &mut Vec<Found>,
    ) -> usize {
        let bytes = text.bytes;
        let name_start = text.name_start(start);
        let more = bytes[end..]
            .iter()
            .take(64)
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-') || **b >= 0x80)
            .count();
        let mut name_end = end + more;
        while bytes.get(name_end) == Some(&b'.')
            && bytes.get(name_end + 1).is_some_and(u8::is_ascii_alphanumeric)
        {
            name_end += 1 + bytes[name_end + 1..]
                .iter()
                .take(64)
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                .count();
        }
        // What follows decides first, because it costs less than what the name means.
        let Some(value) = pairs::value(text, name_start, name_end) else { return name_end };
        text.spend(value.end - value.start);
        if !value.is_telling(bytes) || self.placeholders.is_one(&bytes[value.start..value.end]) {
            return name_end;
        }
        let mut from = name_start;
        let meaning = if (name_start, name_end) == (start, end) {
            alone
        } else {
            self.keys.meaning(&bytes[name_start..name_end])
        };
        // `date of birth`, `unexpected token`: the words before may belong to the name.
        let mut meaning = meaning;
        for _ in 0..3 {
            if from < 2 || bytes[from - 1] != b' ' || !bytes[from - 2].is_ascii_alphabetic() {
                break;
            }
            let wider = text.name_start(from - 1);
            if wider == from - 1 {
                break;
            }
            from = wider;
            let phrase = &bytes[from..name_end];
            if let Some(longer) = self.keys.phrase(phrase) {
                meaning = longer;
            }
        }
        let Some(meaning) = meaning.filter(|m| text.is_on(m.rule)) else { return name_end };
        pairs::find(text, (name_start, name_end), value, meaning, found)
            .map_or(name_end, |end| end.max(name_end))
    }

    /// Text spelled in base64 or hexadecimal digits: if a rule claims anything in it, the whole run goes.
    fn spelled(
        &self,
        bytes: &[u8],
        runs: &[(u32, u32)],
        given: Given<'_>,
        depth: usize,
        found: &mut Vec<Found>,
    ) {
        let mut done = 0;
        for (start, end) in runs.iter().map(|(start, end)| (*start as usize, *end as usize)) {
            if start < done {
                continue;
            }
            done = end;
            if !decode::may_spell(&bytes[start..end]) {
                continue;
            }
            // With `+` and `/`, or the segments of a path.
            let more = bytes[end..].iter().take_while(|b| is_base64(**b)).count();
            let text = decode::spelled_text(&bytes[start..end + more]);
            let (text, end) = match text {
                Some(text) => (text, end + more),
                None if more > 0 => match decode::spelled_text(&bytes[start..end]) {
                    Some(text) => (text, end),
                    None => continue,
                },
                None => continue,
            };
            done = end;
            let (mut walk, mut inner) = (Walk::default(), Vec::new());
            self.walk(&text, &mut walk, &mut Vec::new());
            self.view(&text, &walk, given, Some(depth - 1), &mut inner);
            if let Some(first) = inner.iter().filter(|f| given.scope.is_on(f.rule)).min_by_key(|f| f.rule) {
                let padding = bytes[end..].iter().take(2).take_while(|b| **b == b'=').count();
                found.push(Found { start, end: end + padding, rule: first.rule });
            }
        }
    }

    /// Sorts, joins what overlaps (the rule that stands first names it), and spares placeholders.
    fn settle(&self, text: &str, scratch: &mut Scratch) {
        let found = &mut scratch.found;
        found.sort_unstable_by_key(|f| (f.start, std::cmp::Reverse(f.end), precedence(f.rule)));
        for f in found.iter_mut() {
            f.start = text.floor_char_boundary(f.start);
            f.end = text.ceil_char_boundary(f.end);
        }
        self.placeholders.find(text.as_bytes(), &mut scratch.placeholders);
        if !scratch.placeholders.is_empty() {
            let spans = &scratch.placeholders;
            found.retain_mut(|f| {
                let first = spans.partition_point(|(_, end)| *end <= f.start);
                let mut outside = f.start;
                let mut only = true;
                for (start, end) in &spans[first..] {
                    if *start >= f.end {
                        break;
                    }
                    only &= !has_letters(text.as_bytes(), outside, *start);
                    outside = *end;
                    (f.start, f.end) = (f.start.min(*start), f.end.max(*end));
                }
                !(only && outside > f.start && !has_letters(text.as_bytes(), outside, f.end))
            });
            found.sort_unstable_by_key(|f| (f.start, std::cmp::Reverse(f.end), precedence(f.rule)));
        }
        let mut kept = 0;
        for i in 0..found.len() {
            let next = found[i];
            if kept > 0 && next.start < found[kept - 1].end {
                let last = &mut found[kept - 1];
                last.end = last.end.max(next.end);
                if precedence(next.rule) < precedence(last.rule) {
                    last.rule = next.rule;
                }
            } else {
                found[kept] = next;
                kept += 1;
            }
        }
        found.truncate(kept);
    }
}

/// Rules of a rule file go before the built-in ones, those in their order.
fn precedence(rule: u16) -> u16 {
    if usize::from(rule) < BUILTINS.len() { rule + 0x8000 } else { rule }
}

fn has_letters(bytes: &[u8], start: usize, end: usize) -> bool {
    bytes.get(start..end).is_some_and(|b| b.iter().any(|b| b.is_ascii_alphanumeric() || *b >= 0x80))
}

fn claim(text: &Text<'_>, start: usize, end: Option<(usize, Rule)>, found: &mut Vec<Found>) {
    if let Some((end, rule)) = end
        && text.allows(rule)
    {
        found.push(Found { start, end, rule: rule.id() });
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Where the JSON web token (RFC 7519) or its encrypted form with five parts ends that begins at `start`.
fn jwt(bytes: &[u8], start: usize) -> Option<usize> {
    let word = |at: usize| {
        bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count()
    };
    let header = decode::spelled_text(&bytes[start..start + word(start)]);
    let is_header = header.is_some_and(|h| h.starts_with(b"{\"") && h.ends_with(b"}"));
    if !is_header || start > 0 && (bytes[start - 1].is_ascii_alphanumeric()) {
        return None;
    }
    let (mut end, mut parts, mut second) = (start + word(start), 1, 0);
    let first = end - start;
    while parts < 5 && bytes.get(end) == Some(&b'.') {
        let length = word(end + 1);
        if length == 0 && parts != 2 {
            break;
        }
        if parts == 1 {
            second = length;
        }
        end += 1 + length;
        parts += 1;
    }
    (first >= 10 && second >= 10 && parts >= 2 && first + second >= 30).then_some(end)
}

/// Where the private key ends that begins with `-----BEGIN`, `start` being where `BEGIN` does; to the end of
/// the text if it is cut off.
fn pem(bytes: &[u8], start: usize) -> Option<usize> {
    let head = &bytes[start..bytes.len().min(start + 64)];
    if !bytes[..start].ends_with(b"-----") {
        return None;
    }
    memchr::memmem::find(head, b"PRIVATE KEY")?;
    let Some(end) = memchr::memmem::find(&bytes[start..], b"-----END") else { return Some(bytes.len()) };
    let tail = start + end + 8;
    let close = memchr::memmem::find(&bytes[tail..bytes.len().min(tail + 64)], b"-----");
    Some(close.map_or(tail, |c| tail + c + 5))
}

/// Where the token ends that follows `Bearer`, which ends at `word`.
fn bearer(bytes: &[u8], word: usize) -> Option<usize> {
    let start = after_space(bytes, word)?;
    let token = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%')
    };
    let mut length = bytes[start..].iter().take_while(|b| token(b)).count();
    while length > 0 && bytes[start + length - 1] == b'.' {
        length -= 1;
    }
    let value = &bytes[start..start + length];
    let digits = value.iter().any(u8::is_ascii_digit);
    (length >= 8 && digits || length >= 24 && words::is_random(value, 24)).then_some(start + length)
}

/// Where the credentials end that follow `Basic`, which ends at `word`.
fn basic(bytes: &[u8], word: usize) -> Option<usize> {
    let start = after_space(bytes, word)?;
    let length = bytes[start..].iter().take_while(|b| is_base64(**b)).count();
    let padding = bytes[start + length..].iter().take(2).take_while(|b| **b == b'=').count();
    let value = &bytes[start..start + length];
    let text = decode::spelled_text(value);
    let pair = text.is_some_and(|t| t.contains(&b':'));
    (length >= 6 && (pair || padding > 0 && length >= 8)).then_some(start + length + padding)
}

/// Where the password ends of Redis' `AUTH [user] password`: the command begins the text or a line, and has one
/// or two words. The user's name goes too.
fn redis_auth(bytes: &[u8], start: usize, word: usize) -> Option<usize> {
    let begins = start == 0 || matches!(bytes[start - 1], b'\n' | b'"' | b'\'');
    if !begins || &bytes[start..word] != b"AUTH" || bytes.get(word) != Some(&b' ') {
        return None;
    }
    let rest = &bytes[word + 1..];
    let line = rest.iter().take_while(|b| !matches!(b, b'\r' | b'\n' | b'"' | b'\'')).count();
    let words = rest[..line].split(|b| *b == b' ').filter(|w| !w.is_empty()).count();
    let telling = rest[..line].iter().any(u8::is_ascii_digit);
    ((1..=2).contains(&words) && telling).then_some(word + 1 + line)
}

fn after_space(bytes: &[u8], at: usize) -> Option<usize> {
    matches!(bytes.get(at), Some(b' ' | b'+')).then_some(at + 1)
}
