//! What values in words look like: names of people, street addresses, things drawn at random, and nothing.

/// Whether a value says only that there is none, or is a parameter's mark.
pub(crate) fn is_nothing(value: &[u8]) -> bool {
    const NOTHING: &[&str] = &[
        "null",
        "none",
        "nil",
        "undefined",
        "true",
        "false",
        "yes",
        "no",
        "n/a",
        "na",
        "redacted",
        "masked",
        "hidden",
        "removed",
        "filtered",
        "missing",
        "required",
        "invalid",
        "empty",
        "expired",
        "unknown",
        "not",
        "ok",
        "failed",
        "incorrect",
        "is",
        "must",
        "bearer",
        "basic",
        "success",
        "succeeded",
        "error",
        "denied",
        "string",
        "str",
        "int",
        "text",
        "varchar",
        "id",
        "boolean",
        "number",
        "email",
        "optional",
        "default",
        "set",
        "unset",
    ];
    let value = value.trim_ascii();
    let bare = value.trim_ascii_start();
    let core: &[u8] = match bare {
        [b'[' | b'<' | b'(', inner @ .., b']' | b'>' | b')'] => inner,
        other => other,
    };
    let no_letters = !core.iter().any(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    let parameter = matches!(core, [b'$' | b':' | b'%' | b'@', rest @ ..] if rest.len() <= 3)
        || core.starts_with(b"${")
        || core.starts_with(b"{{")
        || core.starts_with(b"$(");
    let masked = core.len() >= 3 && core.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b'#'));
    no_letters || parameter || masked || NOTHING.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(core))
}

/// Whether a value looks drawn at random: long enough, letters and digits mixed, no word of prose, no UUID,
/// date, path or dotted name.
pub(crate) fn is_random(value: &[u8], min: usize) -> bool {
    let allowed = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'~' | b'%' | b':' | b'!' | b'*')
    };
    if value.len() < min || !value.iter().all(allowed) || is_uuid(value) {
        return false;
    }
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = value.iter().filter(|b| b.is_ascii_alphabetic()).count();
    // Words joined by separators change kind rarely; random letters do so at every third place or so.
    let kind = |b: &u8| (b.is_ascii_digit(), b.is_ascii_uppercase(), b.is_ascii_lowercase());
    let changes = value
        .windows(2)
        .filter(|w| kind(&w[0]) != kind(&w[1]) && w.iter().all(u8::is_ascii_alphanumeric))
        .count();
    let separators = value.iter().filter(|b| matches!(b, b'-' | b'.' | b':' | b'_' | b'/')).count();
    letters >= 2 && digits >= 1 && changes * 6 >= value.len().min(24) && separators * 5 <= value.len()
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36 && [8, 13, 18, 23].iter().all(|i| value[*i] == b'-')
}

/// Whether a whole value can be a person's name: one to five words of letters.
pub(crate) fn is_name(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let words = value.split(|b| matches!(b, b' ' | b'+' | b',')).filter(|w| !w.is_empty());
    let is_letter = |b: &u8| b.is_ascii_alphabetic() || *b >= 0x80 || matches!(b, b'\'' | b'-' | b'.');
    let count = words.clone().count();
    (1..=5).contains(&count)
        && value.len() <= 80
        && value.len() >= 2
        && words.clone().all(|w| w.iter().all(is_letter) && (w[0].is_ascii_alphabetic() || w[0] >= 0x80))
        && !(count == 1 && (value.contains(&b'.') || value.contains(&b'-') && !value[0].is_ascii_uppercase()))
        && !is_nothing(value)
}

/// Whether a value is two to four capitalised words: a name even where the field is only called `name`.
pub(crate) fn is_full_name(value: &[u8]) -> bool {
    let count = value.split(|b| matches!(b, b' ' | b'+')).filter(|w| !w.is_empty()).count();
    let trimmed = value.trim_ascii();
    (2..=4).contains(&count) && capitalised_words(trimmed, 4).is_some_and(|(end, _)| end == trimmed.len())
}

/// Whether capitalised words are a heading or a message, not a person: `Customer Service Team`.
pub(crate) fn is_heading(words: &[u8]) -> bool {
    words.split(|b| matches!(b, b' ' | b'+')).any(|word| {
        let lengths =
            word.first().map_or(0, |b| NOUN_LENGTHS[usize::from((b | 0x20).wrapping_sub(b'a')).min(26)]);
        if word.len() > LONGEST_NOUN || lengths & 1 << word.len() == 0 {
            return false;
        }
        let first = usize::from((word[0] | 0x20) - b'a');
        NOUNS[NOUN_STARTS[first]..NOUN_STARTS[first + 1]]
            .iter()
            .any(|noun| noun.len() == word.len() && noun.as_bytes().eq_ignore_ascii_case(word))
    })
}

/// For each first letter the number of the first noun that begins with it or a later one.
const NOUN_STARTS: [usize; 27] = {
    let (mut starts, mut letter) = ([NOUNS.len(); 27], 0);
    while letter < 26 {
        let mut i = 0;
        while i < NOUNS.len() && (NOUNS[i].as_bytes()[0] - b'a') < letter {
            i += 1;
        }
        starts[letter as usize] = i;
        letter += 1;
    }
    starts
};

/// Letters of the longest noun below.
const LONGEST_NOUN: usize = 12;

/// For each first letter the lengths of the nouns that begin with it, as bits; the last is for what is no letter.
/// Most words are no noun, and this tells it.
const NOUN_LENGTHS: [u16; 27] = {
    let (mut lengths, mut i) = ([0; 27], 0);
    while i < NOUNS.len() {
        lengths[(NOUNS[i].as_bytes()[0] - b'a') as usize] |= 1 << NOUNS[i].len();
        i += 1;
    }
    lengths
};

/// Nouns of headings and messages, in order.
#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "account", "address", "admin", "agent", "analytics", "api", "app", "area", "build", "care", "case",
    "center", "centre", "class", "client", "cluster", "config", "contact", "controller", "count", "created",
    "daily", "data", "database", "default", "deleted", "deploy", "desk", "details", "does", "email", "engine",
    "error", "event", "exists", "failed", "file", "form", "found", "gateway", "group", "handler", "has",
    "health", "history", "id", "image", "import", "info", "insights", "is", "job", "journey", "key", "list",
    "log", "management", "message", "missing", "model", "monthly", "name", "nightly", "not", "notes", "number",
    "object", "order", "page", "payload", "phone", "portal", "profile", "push", "queue", "rate", "ratio",
    "record", "records", "relations", "report", "repository", "request", "required", "response", "revenue",
    "safety", "satisfaction", "search", "service", "services", "status", "store", "success", "summary",
    "support", "survey", "system", "table", "team", "type", "unknown", "updated", "user", "value", "view",
    "was",
];

/// Whether a street stands before its house number, as in most of Europe: `Hauptstraße 5`.
pub(crate) fn street_and_number(text: &[u8]) -> bool {
    let Some(space) = text.iter().rposition(|b| matches!(b, b' ' | b'+')) else { return false };
    let (street, number) = (&text[..space], &text[space + 1..]);
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    let letters = |b: &u8| {
        b.is_ascii_alphabetic() || *b >= 0x80 || matches!(b, b' ' | b'+' | b'.' | b'-' | b'\'' | b',')
    };
    street.len() >= 4
        && street[0].is_ascii_uppercase()
        && street.iter().all(letters)
        && (1..=4).contains(&digits)
        && number.len() - digits <= 1
}

/// How far capitalised words go from the beginning, and how many there are.
pub(crate) fn capitalised_words(text: &[u8], most: usize) -> Option<(usize, usize)> {
    let (mut end, mut count, mut i) = (0, 0, 0);
    while count < most {
        let length = capitalised(&text[i..]);
        if length == 0 {
            break;
        }
        count += 1;
        end = i + length;
        match text.get(end) {
            Some(b' ' | b'+') => i = end + 1,
            Some(b'.') if matches!(text.get(end + 1), Some(b' ')) && length <= 3 => i = end + 2,
            _ => break,
        }
    }
    (count > 0).then_some((end, count))
}

/// Length of a word that begins with a capital and goes on in small letters (`O'Malley`, `Hawkins-Martin`).
fn capitalised(text: &[u8]) -> usize {
    let letter = |b: &u8| b.is_ascii_alphabetic() || *b >= 0x80;
    let length = text.iter().take_while(|b| letter(b) || matches!(b, b'\'' | b'-')).count();
    let word = &text[..length];
    let trimmed = word.iter().rposition(letter).map_or(0, |i| i + 1);
    let word = &word[..trimmed];
    let small = word.iter().any(|b| b.is_ascii_lowercase() || *b >= 0x80);
    let bounded = !text.get(trimmed).is_some_and(|b| b.is_ascii_digit() || *b == b'_');
    let fits = word.first().is_some_and(|b| b.is_ascii_uppercase() || *b >= 0xc3)
        && (small || trimmed == 1)
        && bounded;
    if fits { trimmed } else { 0 }
}

/// Where two to four capitalised words begin that end at `end` (one space between may precede it).
pub(crate) fn name_before(bytes: &[u8], end: usize) -> Option<usize> {
    let end = end - usize::from(end > 0 && bytes[end - 1] == b' ');
    let (mut start, mut count, mut at) = (None, 0, end);
    while count < 4 && at > 0 {
        let letter = |b: &u8| b.is_ascii_alphabetic() || *b >= 0x80 || matches!(b, b'\'' | b'-' | b'.');
        let begin = at - bytes[at.saturating_sub(32)..at].iter().rev().take_while(|b| letter(b)).count();
        if begin == at || capitalised(&bytes[begin..at]) + usize::from(bytes[at - 1] == b'.') < at - begin {
            break;
        }
        count += 1;
        start = Some(begin);
        if begin == 0 || bytes[begin - 1] != b' ' {
            break;
        }
        at = begin - 1;
    }
    start.filter(|_| count >= 2)
}

/// How far a street address goes from the beginning: a house number or a unit, then capitalised words.
pub(crate) fn street_address(text: &[u8]) -> Option<usize> {
    const UNITS: &[&[u8]] =
        &[b"flat", b"studio", b"unit", b"apartment", b"apt", b"suite", b"room", b"house", b"block", b"floor"];
    let mut i = 0;
    let word = |at: usize| text[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    let first = word(0);
    let unit = UNITS.iter().any(|u| u.eq_ignore_ascii_case(&text[..first]));
    if unit {
        i = first + skip_spaces(&text[first..]);
    }
    let number = word(i);
    let digits = text[i..i + number].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 5 || number - digits > 1 {
        return None;
    }
    i += number;
    i += text[i..].iter().take_while(|b| matches!(b, b',' | b' ' | b'+')).count().min(2);
    // `Flat 3, 16 Joyce Harbor`
    let house = text[i..].iter().take_while(|b| b.is_ascii_digit()).count();
    if unit && (1..=4).contains(&house) {
        i += house + skip_spaces(&text[i + house..]);
    }
    let (words, count) = capitalised_words(&text[i..], 5)?;
    (count >= 1 && words >= 3).then_some(i + words)
}

/// What the names of streets end with in the United Kingdom and Ireland. Words of computing are left out.
pub(crate) const STREETS: &[&str] = &[
    "street",
    "road",
    "lane",
    "avenue",
    "close",
    "crescent",
    "terrace",
    "gardens",
    "grove",
    "mews",
    "drive",
    "court",
    "parade",
    "walk",
    "hill",
    "rise",
    "way",
    "square",
    "esplanade",
    "quay",
    "wharf",
    "boulevard",
];

/// Where a street address begins that ends with the word at `start`: a number and one to three capitalised words.
pub(crate) fn street_before(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if !bytes.get(start)?.is_ascii_uppercase() {
        return None;
    }
    for words in 0..4 {
        let end = at.checked_sub(1).filter(|end| matches!(bytes[*end], b' ' | b'+'))?;
        let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'\'' | b'-') || *b >= 0x80;
        let begin = end - bytes[end.saturating_sub(24)..end].iter().rev().take_while(|b| letter(b)).count();
        let word = &bytes[begin..end];
        let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
        if words > 0 && (1..=4).contains(&digits) && word.len() - digits <= 1 {
            let open = begin == 0 || !matches!(bytes[begin - 1], b'.' | b'/' | b':' | b'=' | b'_');
            return open.then_some(begin);
        }
        if capitalised(word) != word.len() || word.is_empty() {
            return None;
        }
        at = begin;
    }
    None
}

fn skip_spaces(text: &[u8]) -> usize {
    text.iter().take_while(|b| matches!(b, b' ' | b'+')).count().min(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_are_told_from_names() {
        for value in [
            "Ejf4BUIIsJU9IefdJeGa",
            "9a9973151cb0aab8905fb29ef9c3a798",
            "4fK29sQ0aLzP81mmT7",
            "a1b2c3d4e5f6g7h8",
        ] {
            assert!(is_random(value.as_bytes(), 16), "{value}");
        }
        for value in [
            "orders.created.v2",
            "16298e1c-6636-40bf-ae6a-fc9d1882f4e4",
            "cart-v1-profile-service",
            "2026-11-22T01:23:27",
            "hello world this is",
            "aaaaaaaaaaaaaaaaaaaaaaaaa",
            "short1A",
            "/products/v1/items",
        ] {
            assert!(!is_random(value.as_bytes(), 16), "{value}");
        }
    }

    #[test]
    fn nouns_are_in_order_and_known_in_any_case() {
        assert!(NOUNS.is_sorted());
        assert_eq!(NOUNS.iter().map(|noun| noun.len()).max(), Some(LONGEST_NOUN));
        assert!(is_heading(b"Customer Service") && is_heading(b"Client+SATISFACTION") && is_heading(b"was"));
        assert!(!is_heading(b"Ann Example") && !is_heading(b"Customerservicedesks Ann") && !is_heading(b""));
    }

    #[test]
    fn values_that_say_nothing_are_left() {
        for value in [
            "",
            "-",
            "null",
            "[REDACTED]",
            "<redacted>",
            "***",
            "xxxx",
            "$1",
            "%s",
            "${PASSWORD}",
            ":pw",
            "?",
        ] {
            assert!(is_nothing(value.as_bytes()), "{value}");
        }
        for value in ["hunter2", "x", "$ecret", "p", "ünï"] {
            assert!(!is_nothing(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn names_are_words_of_letters() {
        for value in ["Ann Example", "O'Malley", "Zoë", "Ms Ellie Robinson", "Hawkins-Martin"] {
            assert!(is_name(value.as_bytes()), "{value}");
        }
        for value in ["cart-v1", "a.b", "x9", "", "required", "one two three four five six"] {
            assert!(!is_name(value.as_bytes()), "{value}");
        }
        assert!(is_full_name(b"Amelia Abernathy") && is_full_name(b"Kim Jackson-Yates"));
        assert!(!is_full_name(b"cart") && !is_full_name(b"Cart") && !is_full_name(b"GET Items"));
    }

    #[test]
    fn a_name_before_a_mailbox_is_found_whole() {
        let text = b"Order for Mr Shaun Thompson <a@b.example>";
        assert_eq!(name_before(text, 28), Some(10));
        assert_eq!(name_before(b"from <a@b.example>", 5), None);
    }

    #[test]
    fn the_last_word_of_a_street_tells_it() {
        let begin = |t: &'static str| street_before(t.as_bytes(), t.rfind(' ').unwrap() + 1).map(|b| &t[b..]);
        assert_eq!(begin("of 12 High Street"), Some("12 High Street"));
        assert_eq!(begin("at 4a St John's Road"), Some("4a St John's Road"));
        assert_eq!(begin("retry 3 Close"), None);
        assert_eq!(begin("took 12 High street"), None);
        assert_eq!(begin("v1.2 High Street"), None);
        assert_eq!(begin("High Street"), None);
    }

    #[test]
    fn street_addresses_begin_with_a_number() {
        let end = |t: &str| street_address(t.as_bytes()).map(|e| t[..e].to_owned());
        assert_eq!(end("16 Joyce Harbor rejected").as_deref(), Some("16 Joyce Harbor"));
        assert_eq!(end("Flat 84J, Josephine Lake, W2D 5WQ").as_deref(), Some("Flat 84J, Josephine Lake"));
        assert_eq!(end("Flat 3, 7 Acacia Avenue").as_deref(), Some("Flat 3, 7 Acacia Avenue"));
        assert_eq!(end("queue 7"), None);
        assert_eq!(end("10.0.0.1:80"), None);
        assert_eq!(end("50852 candidates"), None);
    }
}
