//! The words that make a text worth a look, found in one pass.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::builtin::Rule;
use crate::context::{Hit, VERSION};
use crate::keys::{Keys, Meaning};
use crate::tokens::TOKENS;

/// What to do where a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing: it only hints.
    Hint,
    /// It may be (part of) the name of a field; with what it means when it stands alone.
    Name(Option<Meaning>),
    /// A provider's token may begin here.
    Token(u16),
    /// `@`.
    Mail,
    /// `://`.
    Scheme,
    /// `eyJ`.
    Jwt,
    /// `-----BEGIN`.
    Pem,
    /// `Bearer `.
    Bearer,
    /// `Basic `.
    Basic,
    /// `VALUES`.
    Insert,
}

struct Word {
    act: Act,
    hints: u64,
    /// Whether it must be a word of its own (letters around it make it part of another).
    bounded: bool,
}

/// All words, compiled.
pub(crate) struct Lexicon {
    automaton: AhoCorasick,
    words: Vec<Word>,
}

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
    ("messages to", Rule::Phone.bit()),
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
    ("versions", VERSION),
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
        let mut texts: Vec<String> = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        let mut add = |text: &str, act: Act, hints: u64, bounded: bool| {
            // The same word may name a field and hint: it does both.
            if let Some(at) = texts.iter().position(|t| t == text) {
                words[at].hints |= hints;
                return;
            }
            texts.push(text.to_owned());
            words.push(Word { act, hints: hints & !disabled, bounded });
        };
        for (literal, hints) in keys.literals() {
            let meaning = keys.meaning(literal.as_bytes());
            add(&literal, Act::Name(meaning), hints, true);
        }
        HINTS.iter().for_each(|(word, hints)| add(word, Act::Hint, *hints, true));
        // A field called `address` may be a street address; the hint above is for the postcode in it.
        TOKENS.iter().enumerate().for_each(|(i, t)| add(t.prefix, Act::Token(i as u16), 0, false));
        for (text, act) in [
            ("@", Act::Mail),
            ("://", Act::Scheme),
            ("eyj", Act::Jwt),
            ("-----begin", Act::Pem),
            ("bearer ", Act::Bearer),
            ("basic ", Act::Basic),
            ("values", Act::Insert),
        ] {
            add(text, act, 0, false);
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .expect("a few hundred short words fit an automaton");
        Lexicon { automaton, words }
    }

    /// The words of `text`, in order of where they end.
    pub(crate) fn find(&self, text: &[u8], hits: &mut Vec<Hit>) {
        hits.clear();
        for found in self.automaton.find_overlapping_iter(text) {
            let word = &self.words[found.pattern().as_usize()];
            if word.bounded && !is_word(text, found.start(), found.end()) {
                continue;
            }
            hits.push(Hit {
                start: found.start() as u32,
                end: found.end() as u32,
                word: found.pattern().as_u32() as u16,
                hints: word.hints,
            });
        }
    }

    pub(crate) fn act(&self, hit: &Hit) -> Act {
        self.words[usize::from(hit.word)].act
    }
}

/// Whether `start..end` is a word of its own: no letters around it, unless a change of case parts them.
fn is_word(text: &[u8], start: usize, end: usize) -> bool {
    let open = start == 0 || {
        let before = text[start - 1];
        !before.is_ascii_alphabetic() || (before.is_ascii_lowercase() && text[start].is_ascii_uppercase())
    };
    let parted = |at: usize| match text.get(at) {
        Some(next) => !next.is_ascii_alphabetic() || (next.is_ascii_uppercase() && text[at - 1].is_ascii_lowercase()),
        None => true,
    };
    let plural = match text.get(end..) {
        Some([b's' | b'S', ..]) => parted(end + 1),
        Some([b'e', b's', ..]) => parted(end + 2),
        _ => false,
    };
    open && (parted(end) || plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_names_of_every_spelling_and_not_inside_others() {
        let lexicon = Lexicon::new(&Keys::builtin(0), 0);
        let find = |text: &str| {
            let mut hits = Vec::new();
            lexicon.find(text.as_bytes(), &mut hits);
            hits.iter().map(|h| text[h.start as usize..h.end as usize].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("userPassword=1"), ["Password"]);
        assert_eq!(find("user_phones: 2"), ["phone"]);
        assert_eq!(find("company organisation microphone"), Vec::<String>::new());
        assert_eq!(find("a@b ghp_"), ["@", "ghp_"]);
    }
}
