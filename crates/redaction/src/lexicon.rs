//! One walk over a text that finds what makes it worth a look: words that name fields or hint at a kind,
//! runs with digits, marks such as `@`, and whether anything is encoded.

use crate::builtin::Rule;
use crate::context::{Hit, VERSION};
use crate::keys::{Keys, Meaning};
use crate::tokens::TOKENS;

/// What to do where a word or mark stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing: it only hints.
    Hint,
    /// It may be (part of) the name of a field; with what it means when it stands alone.
    Name(Option<Meaning>),
    /// `@`.
    Mail,
    /// `://`.
    Scheme,
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
}

struct Word {
    text: Box<str>,
    act: Act,
    hints: u64,
    /// Rules whose phrases hold the word.
    may: u64,
}

/// All words, in a table that a hash finds.
pub(crate) struct Lexicon {
    words: Vec<Word>,
    /// For each slot the first word with its hash, counted from one; 0 if there is none.
    slots: Vec<u16>,
    /// For each word the next one in its slot.
    next: Vec<u16>,
    /// Which letters are words of their own, a bit each.
    single: u32,
    /// For each first byte the tokens that begin with it.
    tokens: Vec<Vec<u16>>,
    /// Tokens whose prefix has a dot.
    dotted: Vec<u16>,
}

/// A run of letters, digits, `-` and `_`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// How many digits it has.
    pub(crate) digits: u32,
}

/// What the walk found.
#[derive(Default)]
pub(crate) struct Walk {
    /// Words and marks, in order of where they end.
    pub(crate) hits: Vec<Hit>,
    /// Runs with a digit, or long enough to be text in base64.
    pub(crate) runs: Vec<Run>,
    /// Tokens that may begin: place and number.
    pub(crate) tokens: Vec<(u32, u16)>,
    /// Where JSON web tokens may begin.
    pub(crate) jwts: Vec<u32>,
    /// Rules that any word of the text may speak for.
    pub(crate) may: u64,
    /// Whether `{` was seen.
    pub(crate) braces: bool,
    /// Whether `%`, `\`, `&` or anything outside ASCII was seen.
    pub(crate) encoded: bool,
}

/// The shortest run that is tried as base64 or hexadecimal text.
pub(crate) const SPELLED_BYTES: usize = 12;
const SLOTS: usize = 1 << 13;
/// The longest word that is looked up.
const MAX_WORD_BYTES: usize = 32;

/// Words that only hint, beside those of the names of fields.
const HINTS: &[(&str, u64)] = &[
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
    ("v", VERSION),
    ("ver", VERSION),
    ("tag", VERSION),
    ("package", VERSION),
    ("openssl", VERSION),
    ("chrome", VERSION),
    ("revision", VERSION),
];

impl Lexicon {
    pub(crate) fn new(keys: &Keys, disabled: u64) -> Lexicon {
        let mut lexicon = Lexicon {
            // The marks come first, so that they have fixed numbers.
            words: [Act::Mail, Act::Scheme].map(|act| Word { text: "".into(), act, hints: 0, may: 0 }).into(),
            slots: vec![0; SLOTS],
            next: vec![0; 2],
            single: 0,
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
        ] {
            lexicon.add(text, act, 0, 0);
        }
        for (word, hints, may) in keys.words() {
            let meaning = keys.meaning(word.as_bytes());
            lexicon.add(&word, Act::Name(meaning), hints & !disabled, may & !disabled);
        }
        HINTS
            .iter()
            .for_each(|(word, hints)| lexicon.add(word, Act::Hint, hints & !disabled, hints & !disabled));
        for (index, token) in TOKENS.iter().enumerate() {
            lexicon.tokens[usize::from(token.prefix.as_bytes()[0])].push(index as u16);
            if token.prefix.contains('.') {
                lexicon.dotted.push(index as u16);
            }
        }
        lexicon
    }

    fn add(&mut self, text: &str, act: Act, hints: u64, may: u64) {
        // The same word may name a field and hint: it does both.
        if let Some(word) = self.words.iter_mut().find(|w| &*w.text == text && !text.is_empty()) {
            word.hints |= hints;
            word.may |= may;
            return;
        }
        if text.len() == 1 {
            self.single |= 1 << (text.as_bytes()[0] & 31);
        }
        let slot = slot(text.as_bytes(), 0, text.len());
        self.words.push(Word { text: text.into(), act, hints, may });
        self.next.push(self.slots[slot]);
        self.slots[slot] = self.words.len() as u16;
    }

    pub(crate) fn act(&self, hit: &Hit) -> Act {
        self.words[usize::from(hit.word)].act
    }

    /// Walks over `text`.
    pub(crate) fn walk(&self, text: &[u8], walk: &mut Walk) {
        walk.clear();
        let mut i = 0;
        while i < text.len() {
            match CLASS[usize::from(text[i])] {
                OTHER => i += 1,
                MARK => {
                    self.mark(text, i, walk);
                    i += 1;
                }
                _ => i = self.run(text, i, walk),
            }
        }
    }

    fn mark(&self, text: &[u8], i: usize, walk: &mut Walk) {
        match text[i] {
            b'@' => walk.hits.push(Hit { start: i as u32, end: i as u32 + 1, word: 0, hints: 0, may: 0 }),
            b':' if text[i..].starts_with(b"://") => {
                walk.hits.push(Hit { start: i as u32, end: i as u32 + 3, word: 1, hints: 0, may: 0 });
            }
            b':' => {}
            b'{' => walk.braces = true,
            _ => walk.encoded = true,
        }
    }

    /// A run of letters, digits, `-` and `_`, and the words in it.
    fn run(&self, text: &[u8], start: usize, walk: &mut Walk) -> usize {
        let (mut i, mut digits) = (start, 0);
        let mut after_digit = false;
        while i < text.len() {
            match CLASS[usize::from(text[i])] {
                DIGIT => {
                    digits += 1;
                    i += 1;
                    after_digit = true;
                }
                DASH => {
                    i += 1;
                    after_digit = false;
                }
                LOWER | UPPER => {
                    let letters = text[i..].iter().take_while(|b| is_letter(**b)).count();
                    // One or two letters between digits are no word: most ids are made of these.
                    if letters > 2 || !(after_digit || text.get(i + letters).is_some_and(u8::is_ascii_digit))
                    {
                        self.words(text, i, i + letters, walk);
                    }
                    i += letters;
                    after_digit = false;
                }
                _ => break,
            }
        }
        let length = i - start;
        if digits > 0 || length >= SPELLED_BYTES {
            walk.runs.push(Run { start: start as u32, end: i as u32, digits });
        }
        let found = match length {
            // Tokens are long, or have a dot early (`SG.…`).
            16.. => &self.tokens[usize::from(text[start])],
            2..=4 if text.get(i) == Some(&b'.') && is_letter(text[start]) => &self.dotted,
            _ => return i,
        };
        let run = &text[start..];
        for token in found {
            if run.starts_with(TOKENS[usize::from(*token)].prefix.as_bytes()) {
                walk.tokens.push((start as u32, *token));
            }
        }
        if run.starts_with(b"eyJ") {
            walk.jwts.push(start as u32);
        }
        i
    }

    /// The words of `start..end`, which are all letters: a change from small to capital parts them.
    fn words(&self, text: &[u8], start: usize, end: usize, walk: &mut Walk) {
        let mut i = start;
        while i < end {
            let capitals = count(&text[i..end], UPPER);
            let small = count(&text[i + capitals..end], LOWER);
            // `userName` has two words, and so has `HTTPHost`.
            let length = if capitals > 1 && small > 0 { capitals - 1 } else { capitals + small };
            let next = i + length;
            if (2..=MAX_WORD_BYTES).contains(&length) || self.single & 1 << (text[i] & 31) != 0 {
                let found = self.find(text, i, next, walk);
                if !found && length > 3 && text[next - 1] | 0x20 == b's' {
                    // The plural: patients, addresses.
                    let _ = self.find(text, i, next - 1, walk)
                        || text[next - 2] | 0x20 == b'e' && self.find(text, i, next - 2, walk);
                }
            }
            i = next;
        }
    }

    fn find(&self, text: &[u8], start: usize, end: usize, walk: &mut Walk) -> bool {
        let mut number = self.slots[slot(text, start, end)];
        while number != 0 {
            let word = &self.words[usize::from(number) - 1];
            if word.text.as_bytes().eq_ignore_ascii_case(&text[start..end]) {
                walk.may |= word.may;
                walk.hits.push(Hit {
                    start: start as u32,
                    end: end as u32,
                    word: number - 1,
                    hints: word.hints,
                    may: word.may,
                });
                return true;
            }
            number = self.next[usize::from(number) - 1];
        }
        false
    }
}

impl Walk {
    fn clear(&mut self) {
        self.hits.clear();
        self.runs.clear();
        self.tokens.clear();
        self.jwts.clear();
        (self.may, self.braces, self.encoded) = (0, false, false);
    }

    /// Forgets the words in these stretches.
    pub(crate) fn without(&mut self, spans: &[(usize, usize)]) {
        self.hits.retain(|h| {
            let first = spans.partition_point(|(_, end)| *end <= h.start as usize);
            spans.get(first).is_none_or(|(start, _)| *start >= h.end as usize)
        });
    }
}

fn is_letter(byte: u8) -> bool {
    matches!(CLASS[usize::from(byte)], LOWER | UPPER)
}

/// How many bytes of `class` stand at the beginning.
#[inline]
fn count(text: &[u8], class: u8) -> usize {
    text.iter().take_while(|b| CLASS[usize::from(**b)] == class).count()
}

/// Where the word `start..end` would stand: its first and last eight letters, in small letters, and its length.
#[inline]
fn slot(text: &[u8], start: usize, end: usize) -> usize {
    let length = end - start;
    let first = eight(text, start);
    let hash = if length >= 8 {
        (first | SMALL) ^ (eight(text, end - 8) | SMALL).rotate_left(31)
    } else {
        (first | SMALL) & ((1 << (8 * length)) - 1)
    };
    // Fibonacci hashing: the golden ratio's bits spread what stands near together.
    ((hash ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
}

/// The bit that makes letters small, in eight bytes.
const SMALL: u64 = 0x2020_2020_2020_2020;

/// Eight bytes from `at`, with zeros behind the end of the text.
#[inline]
fn eight(text: &[u8], at: usize) -> u64 {
    if let Some(Ok(bytes)) = text.get(at..at + 8).map(<[u8; 8]>::try_from) {
        return u64::from_le_bytes(bytes);
    }
    let mut bytes = [0; 8];
    let rest = &text[at..];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(bytes)
}

const OTHER: u8 = 0;
const LOWER: u8 = 1;
const UPPER: u8 = 2;
const DIGIT: u8 = 3;
const DASH: u8 = 4;
const MARK: u8 = 5;

/// What each byte is to the walk.
const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            b'-' | b'_' => DASH,
            b'@' | b':' | b'{' | b'%' | b'\\' | b'&' | 0x80.. => MARK,
            _ => OTHER,
        };
        byte += 1;
    }
    class
};

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
        assert_eq!(find("userPassword=1"), ["Password"]);
        assert_eq!(find("DB_PASSWORD=1"), ["PASSWORD"]);
        assert_eq!(find("user_phones: 2 addresses"), ["phone", "address"]);
        assert_eq!(find("company organisation microphone"), Vec::<String>::new());
        assert_eq!(find("a@b http://x"), ["@", "://"]);
    }

    #[test]
    fn runs_and_tokens_are_found_where_they_begin() {
        let text = "id=7d5f-a1 plain 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 SG.x";
        let walk = walk(text);
        let runs: Vec<&str> = walk.runs.iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
        assert_eq!(runs, ["7d5f-a1", "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"]);
        let tokens: Vec<&str> = walk.tokens.iter().map(|(_, t)| TOKENS[usize::from(*t)].prefix).collect();
        assert_eq!(tokens, ["ghp_", "SG."]);
        assert!(!walk.encoded && !walk.braces);
    }
}
