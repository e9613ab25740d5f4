//! What can still be read in a redacted text, and what it lost without need. The definitions are those of the
//! corpus' README; nothing here knows how the rules work.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::corpus::Span;

/// Everything that a text can be read as.
pub(crate) struct Reading {
    views: Vec<String>,
}

/// The shortest run that is tried as base64 or hexadecimal digits.
const ENCODED: usize = 12;

impl Reading {
    pub(crate) fn of(text: &str) -> Reading {
        let mut views = vec![text.to_owned()];
        for _ in 0..3 {
            let decoded = percent(views.last().expect("there is one"));
            views.push(decoded.replace('+', " "));
            views.push(decoded);
        }
        let escaped: Vec<String> = views.iter().flat_map(|v| [fold(v), entities(v), json(v)]).collect();
        views.extend(escaped);
        let spelled: Vec<String> = views.iter().flat_map(|v| spelled(v)).collect();
        views.extend(spelled);
        views.sort_unstable();
        views.dedup();
        Reading { views }
    }

    /// Whether a value can be read somewhere, whole.
    pub(crate) fn shows(&self, value: &str) -> bool {
        let folded = fold(value);
        self.views.iter().any(|v| v.contains(value) || v.contains(&folded))
    }

    /// Whether most of a value can be read somewhere, beyond what may stay of its kind.
    pub(crate) fn shows_part(&self, kind: &str, value: &str) -> bool {
        if kind == "email" {
            let local = value.split('@').next().unwrap_or_default().to_lowercase();
            let whole_word = |view: &String| {
                let view = view.to_lowercase();
                view.match_indices(&local).any(|(at, _)| {
                    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
                    !word(view[..at].chars().last()) && !word(view[at + local.len()..].chars().next())
                })
            };
            return local.len() >= 4 && self.views.iter().any(whole_word);
        }
        let core: Vec<char> = letters(value).chars().collect();
        let need = (core.len() * 6).div_ceil(10).max(5);
        if core.len() < 6 {
            return false;
        }
        let may_stay = letters(&may_stay(kind, value));
        let views: Vec<String> = self.views.iter().map(|v| letters(v)).collect();
        core.windows(need)
            .map(|w| w.iter().collect::<String>())
            .any(|part| !may_stay.contains(&part) && views.iter().any(|view| view.contains(&part)))
    }
}

/// What a policy that generalises may keep.
fn may_stay(kind: &str, value: &str) -> String {
    match kind {
        "ip_address" if value.contains('.') => value.rsplit_once('.').map_or("", |(net, _)| net).to_owned(),
        "ip_address" => value.splitn(4, ':').take(3).collect(),
        "uk_postcode" => value.chars().take(value.chars().count().saturating_sub(3)).collect(),
        "credit_card" | "uk_bank_account" | "iban" | "phone" => {
            let digits: Vec<char> = value.chars().filter(|c| c.is_alphanumeric()).collect();
            digits[digits.len().saturating_sub(4)..].iter().collect()
        }
        _ => String::new(),
    }
}

fn letters(text: &str) -> String {
    fold(text).chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Full-width characters as plain ones, all dashes and spaces as one each, nothing of no width.
fn fold(text: &str) -> String {
    let folded =
        text.chars().filter(|c| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'));
    folded
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xff01 + 0x21).unwrap_or(c),
            '\u{2010}'..='\u{2013}' | '\u{2212}' => '-',
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
            other => other,
        })
        .collect()
}

fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let digits = text.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        if let Some(Ok(byte)) = digits.map(|d| u8::from_str_radix(d, 16)) {
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn entities(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let decoded = end.and_then(|end| match &rest[1..end] {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "commat" => Some('@'),
            code => {
                let code = code.strip_prefix('#')?;
                let hex = code.strip_prefix(['x', 'X']).map(|hex| u32::from_str_radix(hex, 16));
                char::from_u32(hex.unwrap_or_else(|| code.parse()).ok()?)
            }
        });
        match (decoded, end) {
            (Some(c), Some(end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Without the escapes of JSON, and with doubled quotes of SQL as one.
fn json(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 2..at + 6).and_then(|d| u32::from_str_radix(d, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                out.push(c);
                rest = &rest[at + 6..];
            }
            None => {
                out.push_str("\\u");
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out.replace("\\\\\"", "\"")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
        .replace("\\/", "/")
        .replace("''", "'")
}

/// What runs of base64 and hexadecimal digits spell.
fn spelled(text: &str) -> Vec<String> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, lenient);
    let digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    let mut found = Vec::new();
    for run in text.split(|c| !digit(c)).filter(|run| run.len() >= ENCODED) {
        let standard = run.replace('-', "+").replace('_', "/");
        if let Ok(bytes) = engine.decode(standard) {
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    for run in
        text.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() >= 16 && run.len() % 2 == 0)
    {
        let bytes = (0..run.len()).step_by(2).filter_map(|i| u8::from_str_radix(&run[i..i + 2], 16).ok());
        found.push(String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned());
    }
    found.retain(|text| text.len() >= 5);
    found
}

/// Tokens outside every place.
#[derive(Default)]
pub(crate) struct Neutral {
    pub(crate) all: usize,
    pub(crate) lost: usize,
    /// Those of the lost with a letter or digit.
    pub(crate) words_lost: usize,
}

/// Which tokens of `text` outside `spans` are missing from `out`; punctuation that touches a place is forgiven.
pub(crate) fn neutral(text: &str, spans: &[Span], out: &str) -> Neutral {
    let tokens = tokens(text);
    let touches = |start: usize, end: usize| spans.iter().any(|s| s.start < end && start < s.end);
    let is_neutral =
        |(start, token): &(usize, &str)| !touches(*start, start + token.len()) && !token.trim().is_empty();
    let all = tokens.iter().filter(|t| is_neutral(t)).count();
    if out == text {
        return Neutral { all, ..Neutral::default() };
    }
    let kept = kept(&tokens, &self::tokens(out));
    let mut neutral = Neutral { all, ..Neutral::default() };
    for ((start, token), kept) in tokens.iter().zip(kept) {
        let word = token.chars().any(char::is_alphanumeric);
        let glued = !word && touches(start.saturating_sub(1), start + token.len() + 1);
        if !kept && is_neutral(&(*start, token)) && !glued {
            neutral.lost += 1;
            neutral.words_lost += usize::from(word);
        }
    }
    neutral
}

/// Words, runs of spaces, and everything else one by one, with where each begins.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let kind = |c: char| match c {
        c if c.is_ascii_alphanumeric() => 1,
        c if c.is_alphanumeric() => 2,
        c if c.is_whitespace() => 3,
        _ => 0,
    };
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let same = text[start..].chars().take_while(|c| kind(first) != 0 && kind(*c) == kind(first));
        let length = same.map(char::len_utf8).sum::<usize>().max(first.len_utf8());
        tokens.push((start, &text[start..start + length]));
        start += length;
    }
    tokens
}

/// Which tokens belong to a longest common subsequence.
fn kept(before: &[(usize, &str)], after: &[(usize, &str)]) -> Vec<bool> {
    let width = after.len() + 1;
    let mut lengths = vec![0u32; (before.len() + 1) * width];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            lengths[i * width + j] = if before[i].1 == after[j].1 {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut kept) = (0, 0, vec![false; before.len()]);
    while i < before.len() && j < after.len() {
        if before[i].1 == after[j].1 {
            kept[i] = true;
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    kept
}
