//! One walk over a text that finds what makes it worth a look: words that name fields or hint at a kind,
//! runs with digits, marks such as `@`, and whether anything is encoded.

use crate::builtin::{Rule, RuleSet};
use crate::classes::Classes;
use crate::context::{Hit, VERSION};
use crate::keys::{Keys, Meaning};
use crate::tokens::TOKENS;
use crate::words;

/// What to do where a word or mark stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing: it only hints.
    Hint,
    /// It may be (part of) the name of a field; with what it means when it stands alone.
    Name(Option<Meaning>),
    /// `BEGIN`, as in `-----BEGIN PRIVATE KEY-----`.
    Pem,
    /// `Bearer`.
    Bearer,
    /// `Basic`.
    Basic,
    /// `VALUES`.
    Insert,
    /// `AUTH`, as in Redis.
    Auth,
    /// The last word of a street's name: `12 High Street`.
    Street,
    /// `user`, as in `for user alice from 10.0.0.1`.
    User,
    /// `Failed` and `Accepted`, as sshd writes them.
    Login,
    /// `home` and `Users`, as in `/home/alice`.
    Home,
    /// `curl`.
    Curl,
}

struct Word {
    text: Box<str>,
    act: Act,
    hints: RuleSet,
    /// Rules whose phrases hold the word.
    may: RuleSet,
}

/// All words, in a table that a hash finds.
pub(crate) struct Lexicon {
    words: Vec<Word>,
    /// For each hash of 16 bits whether a word has it: most words of a text are in no slot, and this is small.
    known: Box<[u64; KNOWN]>,
    /// For each slot the first word with its hash, counted from one; 0 if there is none.
    slots: Vec<u16>,
    /// For each word the next one in its slot.
    next: Vec<u16>,
    /// For each first byte the tokens that begin with it.
    tokens: Vec<Vec<u16>>,
    /// Tokens whose prefix ends with a dot.
    dotted: Vec<u16>,
}

/// What the walk found.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) classes: Classes,
    /// Words, in order.
    pub(crate) hits: Vec<Hit>,
    /// Tokens that may begin: place and number.
    pub(crate) tokens: Vec<(u32, u16)>,
    /// Where JSON web tokens may begin.
    pub(crate) jwts: Vec<u32>,
    /// Rules that any word of the text may speak for.
    pub(crate) may: RuleSet,
}

const SLOTS: usize = 1 << 13;
/// A bit for each hash.
const KNOWN: usize = 1 << (16 - 6);

/// Words that only hint, beside those of the names of fields.
const HINTS: &[(&str, RuleSet)] = &[
    ("patient", Rule::Nhs.bit()),
    ("nhs", Rule::Nhs.bit()),
    ("hospital", Rule::Nhs.bit()),
    ("medical", Rule::Nhs.bit()),
    ("gp", Rule::Nhs.bit()),
    ("visa", Rule::Card.bit()),
    ("mastercard", Rule::Card.bit()),
    ("amex", Rule::Card.bit()),
    ("maestro", Rule::Card.bit()),
    ("payment", Rule::Card.bit()),
    ("call", Rule::Phone.bit()),
    ("called", Rule::Phone.bit()),
    ("calling", Rule::Phone.bit()),
    ("ring", Rule::Phone.bit()),
    ("sms", Rule::Phone.bit()),
    ("dial", Rule::Phone.bit()),
    ("registered", Rule::Phone.bit()),
    ("contact", Rule::Phone.bit()),
    ("answering", Rule::Phone.bit()),
    ("hmrc", Rule::Utr.bit() | Rule::Nino.bit()),
    ("insurance", Rule::Nino.bit()),
    ("ni", Rule::Nino.bit()),
    ("taxpayer", Rule::Utr.bit()),
    ("sort", Rule::BankAccount.bit()),
    ("account", Rule::BankAccount.bit()),
    ("bacs", Rule::BankAccount.bit()),
    ("chaps", Rule::BankAccount.bit()),
    ("dvla", Rule::Plate.bit() | Rule::DrivingLicence.bit()),
    ("vehicle", Rule::Plate.bit()),
    ("registration", Rule::Plate.bit()),
    ("licence", Rule::DrivingLicence.bit()),
    ("license", Rule::DrivingLicence.bit()),
    ("passport", Rule::Passport.bit()),
    ("traveller", Rule::Passport.bit()),
    ("deliver", Rule::StreetAddress.bit()),
    ("birth", Rule::DateOfBirth.bit()),
    ("device", Rule::Imei.bit()),
    ("address", Rule::Postcode.bit()),
    ("position", Rule::Geo.bit()),
    ("location", Rule::Geo.bit()),
    ("version", VERSION),
    ("upgrade", VERSION),
    ("upgraded", VERSION),
    ("downgrade", VERSION),
    ("upgrading", VERSION),
    ("release", VERSION),
    ("released", VERSION),
    ("build", VERSION),
    ("firmware", VERSION),
    ("driver", VERSION | Rule::DrivingLicence.bit()),
    ("sdk", VERSION),
    ("ver", VERSION),
    ("tag", VERSION),
    ("package", VERSION),
    ("openssl", VERSION),
    ("chrome", VERSION),
    ("revision", VERSION),
];

impl Lexicon {
    pub(crate) fn new(keys: &Keys, disabled: RuleSet) -> Lexicon {
        let mut lexicon = Lexicon {
            words: Vec::new(),
            known: Box::new([0; KNOWN]),
            slots: vec![0; SLOTS],
            next: Vec::new(),
            tokens: vec![Vec::new(); 256],
            dotted: Vec::new(),
        };
        // First, because a word keeps the act it was added with.
        for (text, act) in [
            ("begin", Act::Pem),
            ("bearer", Act::Bearer),
            ("basic", Act::Basic),
            ("values", Act::Insert),
            ("auth", Act::Auth),
            ("user", Act::User),
            ("accepted", Act::Login),
            ("failed", Act::Login),
            ("home", Act::Home),
            ("users", Act::Home),
            ("curl", Act::Curl),
        ] {
            lexicon.add(text, act, 0, 0);
        }
        for ending in words::STREETS {
            lexicon.add(ending, Act::Street, 0, 0);
        }
        for (word, hints, may) in keys.words() {
            let meaning = keys.meaning(word.as_bytes());
            lexicon.add(&word, Act::Name(meaning), hints & !disabled, may & !disabled);
        }
        HINTS
            .iter()
            .for_each(|(word, hints)| lexicon.add(word, Act::Hint, hints & !disabled, hints & !disabled));
        lexicon.add_plurals();
        for (index, token) in TOKENS.iter().enumerate() {
            if token.prefix.ends_with('.') {
                lexicon.dotted.push(index as u16);
            } else {
                lexicon.tokens[usize::from(token.prefix.as_bytes()[0])].push(index as u16);
            }
        }
        lexicon
    }

    fn add(&mut self, text: &str, act: Act, hints: RuleSet, may: RuleSet) {
        // The same word may name a field and hint: it does both.
        if let Some(word) = self.words.iter_mut().find(|w| &*w.text == text) {
            word.hints |= hints;
            word.may |= may;
            return;
        }
        let mut padded = text.as_bytes().to_vec();
        padded.resize(text.len() + 8, 0);
        let hash = hash(&padded, 0, text.len());
        self.known[usize::from(hash >> 6)] |= 1 << (hash & 63);
        let slot = usize::from(hash) & (SLOTS - 1);
        self.words.push(Word { text: text.into(), act, hints, may });
        self.next.push(self.slots[slot]);
        self.slots[slot] = self.words.len() as u16;
    }

    /// Patients, addresses: they hint as the word does and may be part of a name, but name nothing alone.
    fn add_plurals(&mut self) {
        for i in 0..self.words.len() {
            let Word { text, act, hints, may } = &self.words[i];
            let act = if *act == Act::Hint { Act::Hint } else { Act::Name(None) };
            let (hints, may) = (*hints, *may);
            if text.len() > 2 {
                let plurals = ["s", "es"].map(|ending| format!("{text}{ending}"));
                for plural in plurals {
                    if !self.words.iter().any(|w| *w.text == *plural) {
                        self.add(&plural, act, hints, may);
                    }
                }
            }
        }
    }

    pub(crate) fn act(&self, hit: &Hit) -> Act {
        self.words[usize::from(hit.word)].act
    }

    /// The rules that a hit hints at.
    #[inline]
    pub(crate) fn hints(&self, hit: &Hit) -> RuleSet {
        self.words[usize::from(hit.word)].hints
    }

    /// The rules whose names for fields a hit may be part of, and those it hints at.
    #[inline]
    pub(crate) fn may(&self, hit: &Hit) -> RuleSet {
        self.words[usize::from(hit.word)].may
    }

    /// Walks over `text`.
    pub(crate) fn walk(&self, text: &[u8], walk: &mut Walk) {
        let Walk { classes, hits, tokens, jwts, .. } = walk;
        classes.read(text);
        hits.clear();
        tokens.clear();
        jwts.clear();
        let mut may = 0;
        classes.each_word(|padded, start, end| {
            let hash = hash(padded, start, end);
            if self.known[usize::from(hash >> 6)] & 1 << (hash & 63) != 0
                && let Some(hit) = self.find(padded, start, end, hash)
            {
                may |= self.may(&hit);
                hits.push(hit);
            }
        });
        walk.may = may;
        for (start, _) in &classes.long {
            let place = *start as usize;
            for token in &self.tokens[usize::from(text[place])] {
                let prefix = TOKENS[usize::from(*token)].prefix.as_bytes();
                if prefix[1] == text[place + 1] && text[place..].starts_with(prefix) {
                    tokens.push((*start, *token));
                }
            }
            if text[place] == b'e' && text[place..].starts_with(b"eyJ") {
                jwts.push(*start);
            }
            if place > 0 && text[place - 1] == b'.' {
                for token in &self.dotted {
                    let prefix = TOKENS[usize::from(*token)].prefix.as_bytes();
                    if text[..place].ends_with(prefix) {
                        tokens.push((start - prefix.len() as u32, *token));
                    }
                }
            }
        }
    }

    /// The word `start..end`.
    fn find(&self, padded: &[u8], start: usize, end: usize, hash: u16) -> Option<Hit> {
        let mut number = self.slots[usize::from(hash) & (SLOTS - 1)];
        while number != 0 {
            let word = &self.words[usize::from(number) - 1];
            if word.text.as_bytes().eq_ignore_ascii_case(&padded[start..end]) {
                return Some(Hit { start: start as u32, end: end as u32, word: number - 1 });
            }
            number = self.next[usize::from(number) - 1];
        }
        None
    }
}

impl Walk {
    /// Makes this what a walk finds over the text in which each of `spans`, in order, was replaced by a placeholder
    /// and the text's length changed by `grown` up to there. Words and runs must not go over their edges.
    pub(crate) fn replaced(&mut self, spans: &[(usize, usize)], grown: &[isize]) {
        let moved = |at: u32, length: usize| {
            let at = at as usize;
            let before = spans.partition_point(|(_, end)| *end <= at);
            let inside = spans.get(before).is_some_and(|(start, _)| *start < at + length);
            let by = if before == 0 { 0 } else { grown[before - 1] };
            (!inside).then(|| at.wrapping_add_signed(by) as u32)
        };
        let Walk { classes, hits, tokens, jwts, .. } = self;
        let pair = |start: &mut u32, end: &mut u32| {
            let length = *end - *start;
            let at = moved(*start, length as usize);
            (*start, *end) = at.map_or((0, 0), |at| (at, at + length));
            at.is_some()
        };
        let single = |at: &mut u32, length: usize| {
            let new = moved(*at, length);
            *at = new.unwrap_or(0);
            new.is_some()
        };
        hits.retain_mut(|h| pair(&mut h.start, &mut h.end));
        classes.numbers.retain_mut(|run| pair(&mut run.start, &mut run.end));
        classes.long.retain_mut(|(start, end)| pair(start, end));
        classes.ats.retain_mut(|at| single(at, 1));
        classes.schemes.retain_mut(|at| single(at, 3));
        tokens.retain_mut(|(at, _)| single(at, 1));
        jwts.retain_mut(|at| single(at, 1));
        classes.braces = true;
    }

    /// Forgets the words in these stretches.
    pub(crate) fn without(&mut self, spans: &[(usize, usize)]) {
        if spans.is_empty() {
            return;
        }
        self.hits.retain(|h| {
            let first = spans.partition_point(|(_, end)| *end <= h.start as usize);
            spans.get(first).is_none_or(|(start, _)| *start >= h.end as usize)
        });
    }
}

/// Sixteen bits made of a word's first and last eight letters, in small letters, and its length.
#[inline]
fn hash(padded: &[u8], start: usize, end: usize) -> u16 {
    let length = end - start;
    // Short words are hashed as long ones are, first and last letters being the same: the lengths of words in a text
    // cannot be foretold, so a branch on them would cost more.
    let some = length.clamp(1, 8);
    let mask = u64::MAX >> (64 - 8 * some);
    let first = (eight(padded, start) | SMALL) & mask;
    let last = (eight(padded, end - some) | SMALL) & mask;
    let letters = first ^ last.rotate_left(31);
    // Fibonacci hashing: the golden ratio's bits spread what stands near together.
    ((letters ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}

/// The bit that makes letters small, in eight bytes.
const SMALL: u64 = 0x2020_2020_2020_2020;

/// Eight bytes from `at`.
#[inline]
fn eight(padded: &[u8], at: usize) -> u64 {
    padded.get(at..at + 8).and_then(|eight| eight.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Walk {
        let mut walk = Walk::default();
        Lexicon::new(&Keys::builtin(0), 0).walk(text.as_bytes(), &mut walk);
        walk
    }

    #[test]
    fn words_are_found_in_names_of_every_spelling_and_not_inside_others() {
        let find = |text: &str| {
            let hits = walk(text).hits;
            hits.iter().map(|h| text[h.start as usize..h.end as usize].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("tenantPassword=1"), ["Password"]);
        assert_eq!(find("DB_PASSWORD=1"), ["PASSWORD"]);
        assert_eq!(find("old_phones: 2 addresses"), ["phones", "addresses"]);
        assert_eq!(find("company organisation microphone"), Vec::<String>::new());
        let marks = walk("a@b http://x");
        assert_eq!((marks.classes.ats, marks.classes.schemes), (vec![1], vec![8]));
    }

    #[test]
    fn runs_and_tokens_are_found_where_they_begin() {
        let text = "id=7d5f-a1 plain 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 SG.xabcdefghijklm";
        let walk = walk(text);
        let numbers = walk.classes.numbers.iter().map(|r| &text[r.start as usize..r.end as usize]);
        assert_eq!(numbers.collect::<Vec<_>>(), ["7d5f-a1", "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"]);
        let tokens: Vec<&str> = walk.tokens.iter().map(|(_, t)| TOKENS[usize::from(*t)].prefix).collect();
        assert_eq!(tokens, ["ghp_", "SG."]);
        assert!(!walk.classes.encoded && !walk.classes.braces);
    }
}
