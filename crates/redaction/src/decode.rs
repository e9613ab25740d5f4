//! Reads through what hides a value: percent-encoding, escapes of JSON and HTML, full-width digits,
//! zero-width characters. Every byte of the plain text knows where it came from.

use std::borrow::Cow;

/// A text read through one or more layers of encoding.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The plain text. Mostly UTF-8, but an encoded byte may be anything.
    pub(crate) bytes: Vec<u8>,
    /// Where each byte began in the original; one more than there are bytes.
    starts: Vec<u32>,
}

/// Layers that are read through: a URL in a query in a JSON string has three.
const LAYERS: usize = 3;

impl Decoded {
    /// Reads through all layers; `None` if there is none.
    pub(crate) fn of(original: &[u8]) -> Option<Decoded> {
        let mut decoded = layer(original)?;
        for _ in 1..LAYERS {
            let Some(next) = layer(&decoded.bytes) else { break };
            let starts = next.starts.iter().map(|s| decoded.starts[*s as usize]).collect();
            decoded = Decoded { bytes: next.bytes, starts };
        }
        Some(decoded)
    }

    /// Adds what stands for itself.
    fn copy(&mut self, original: &[u8], start: usize, end: usize) {
        self.bytes.extend_from_slice(&original[start..end]);
        self.starts.extend(start as u32..end as u32);
    }

    /// The stretch of the original that `start..end` of the plain text came from.
    pub(crate) fn original(&self, start: usize, end: usize) -> (usize, usize) {
        (self.starts[start] as usize, self.starts[end] as usize)
    }
}

fn layer(bytes: &[u8]) -> Option<Decoded> {
    let ascii = bytes.is_ascii();
    let first = first_escape(bytes, ascii)?;
    let mut decoded =
        Decoded { bytes: Vec::with_capacity(bytes.len()), starts: Vec::with_capacity(bytes.len() + 1) };
    let (mut done, mut i) = (0, first);
    while i < bytes.len() {
        let Some((length, plain)) = unit(&bytes[i..]) else {
            i += 1;
            continue;
        };
        decoded.copy(bytes, done, i);
        for byte in &plain.bytes[..plain.len] {
            decoded.bytes.push(*byte);
            decoded.starts.push(i as u32);
        }
        i += length;
        done = i;
        if ascii {
            // What stands between two marks is copied at once.
            i += memchr::memchr3(b'%', b'\\', b'&', &bytes[i..]).unwrap_or(bytes.len() - i);
        }
    }
    decoded.copy(bytes, done, bytes.len());
    decoded.starts.push(bytes.len() as u32);
    Some(decoded)
}

fn first_escape(bytes: &[u8], is_ascii: bool) -> Option<usize> {
    let ascii = memchr::memchr3_iter(b'%', b'\\', b'&', bytes).find(|i| unit(&bytes[*i..]).is_some());
    if is_ascii {
        return ascii;
    }
    let end = ascii.unwrap_or(bytes.len());
    let wide = (0..end).find(|i| bytes[*i] >= 0xc2 && unit(&bytes[*i..]).is_some());
    wide.or(ascii)
}

/// What one encoded character means.
struct Plain {
    bytes: [u8; 4],
    len: usize,
}

impl Plain {
    fn byte(byte: u8) -> Plain {
        Plain { bytes: [byte, 0, 0, 0], len: 1 }
    }

    fn nothing() -> Plain {
        Plain { bytes: [0; 4], len: 0 }
    }

    fn char(c: char) -> Plain {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len();
        Plain { bytes, len }
    }
}

/// Length and meaning of the encoded character at the beginning of `bytes`; `None` if it is none.
fn unit(bytes: &[u8]) -> Option<(usize, Plain)> {
    match bytes[0] {
        b'%' => hex(bytes.get(1..3)?).map(|v| (3, Plain::byte(v as u8))),
        b'\\' => backslash(bytes),
        b'&' => entity(bytes),
        0..=0xc1 => None,
        _ => wide(bytes),
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, d| Some(value << 4 | char::from(*d).to_digit(16)?))
}

fn backslash(bytes: &[u8]) -> Option<(usize, Plain)> {
    let plain = |byte| Some((2, Plain::byte(byte)));
    match bytes.get(1)? {
        b'u' => {
            let c = char::from_u32(hex(bytes.get(2..6)?)?)?;
            // What a `\u` hides may itself be a full-width digit; the next layer sees to that.
            Some((6, Plain::char(c)))
        }
        b'x' => hex(bytes.get(2..4)?).map(|v| (4, Plain::byte(v as u8))),
        b'n' | b'r' => plain(b'\n'),
        b't' => plain(b'\t'),
        b'"' => plain(b'"'),
        b'\'' => plain(b'\''),
        b'/' => plain(b'/'),
        b'\\' => plain(b'\\'),
        _ => None,
    }
}

fn entity(bytes: &[u8]) -> Option<(usize, Plain)> {
    const NAMED: &[(&[u8], u8)] = &[
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&commat;", b'@'),
        (b"&period;", b'.'),
        (b"&nbsp;", b' '),
        (b"&num;", b'#'),
        (b"&plus;", b'+'),
        (b"&sol;", b'/'),
        (b"&colon;", b':'),
    ];
    if bytes.get(1) != Some(&b'#') {
        let named = NAMED.iter().find(|(name, _)| bytes.starts_with(name));
        return named.map(|(name, byte)| (name.len(), Plain::byte(*byte)));
    }
    let end = bytes.iter().take(10).position(|b| *b == b';')?;
    let value = match &bytes[2..end] {
        [b'x' | b'X', digits @ ..] if !digits.is_empty() => hex(digits)?,
        digits if !digits.is_empty() => std::str::from_utf8(digits).ok()?.parse().ok()?,
        _ => return None,
    };
    Some((end + 1, Plain::char(char::from_u32(value)?)))
}

/// Characters that look like ASCII or like nothing.
fn wide(bytes: &[u8]) -> Option<(usize, Plain)> {
    // The lead bytes of all blocks below; other text is left alone without decoding it.
    if !matches!(bytes[0], 0xc2 | 0xd9 | 0xdb | 0xe0..=0xe3 | 0xef | 0xf0) {
        return None;
    }
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let c = std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()?;
    let plain = match c {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{180e}' => {
            Plain::nothing()
        }
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Plain::byte(b' '),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => Plain::byte(b'-'),
        '\u{2024}' => Plain::byte(b'.'),
        '\u{fe6b}' => Plain::byte(b'@'),
        '\u{ff01}'..='\u{ff5e}' => Plain::byte((c as u32 - 0xff01 + 0x21) as u8),
        _ => Plain::byte(b'0' + foreign_digit(c)?),
    };
    Some((length, plain))
}

/// The value of a decimal digit of another script.
fn foreign_digit(c: char) -> Option<u8> {
    const ZEROS: [u32; 8] = [0x660, 0x6f0, 0x966, 0x9e6, 0xa66, 0xae6, 0xe50, 0x1d7ce];
    let code = c as u32;
    if (0x1d7ce..=0x1d7ff).contains(&code) {
        return Some(((code - 0x1d7ce) % 10) as u8);
    }
    ZEROS.iter().find(|z| (**z..**z + 10).contains(&code)).map(|z| (code - z) as u8)
}

/// A value as a person would read it: one layer of percent-encoding off, `+` as a space.
pub(crate) fn plain(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr3(b'%', b'+', b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut plain = Decoded::of(value).map_or_else(|| value.to_vec(), |d| d.bytes);
    plain.iter_mut().filter(|b| **b == b'+').for_each(|b| *b = b' ');
    Cow::Owned(plain)
}

/// What base64 or hexadecimal digits spell, if that is text; `None` otherwise, found out after a few bytes.
pub(crate) fn spelled_text(token: &[u8]) -> Option<Vec<u8>> {
    let text = if may_be_hexadecimal(token) { hexadecimal(token) } else { None };
    text.or_else(|| if may_be_base64(token) { base64(token) } else { None })
}

/// Whether the first letters of a run can spell text. Most runs are refused here, for little.
pub(crate) fn may_spell(token: &[u8]) -> bool {
    may_be_base64(token) || may_be_hexadecimal(token)
}

fn may_be_hexadecimal(token: &[u8]) -> bool {
    token
        .get(..12)
        .is_some_and(|head| head.chunks_exact(2).all(|two| hex(two).is_some_and(|b| is_ascii_text(b as u8))))
}

fn may_be_base64(token: &[u8]) -> bool {
    let text = |four: &[u8]| {
        let bits = four.iter().try_fold(0u32, |bits, b| Some(bits << 6 | u32::from(sextet(*b)?)));
        bits.is_some_and(|b| b.to_be_bytes()[1..].iter().all(|b| is_ascii_text(*b)))
    };
    token.get(..8).is_some_and(|head| head.chunks_exact(4).all(text))
}

fn hexadecimal(token: &[u8]) -> Option<Vec<u8>> {
    if token.len() < 12 || !token.len().is_multiple_of(2) {
        return None;
    }
    let mut text = Vec::new();
    for pair in token.chunks(2) {
        let byte = hex(pair)? as u8;
        if !is_text(byte) {
            return None;
        }
        text.push(byte);
    }
    Some(text)
}

fn base64(token: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(token.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for byte in token.iter().take_while(|b| **b != b'=') {
        bits = bits << 6 | u32::from(sextet(*byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            let byte = (bits >> held) as u8;
            if !is_text(byte) {
                return None;
            }
            text.push(byte);
        }
    }
    (text.len() >= 6 && std::str::from_utf8(&text).is_ok()).then_some(text)
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn is_text(byte: u8) -> bool {
    is_ascii_text(byte) || byte >= 0x80
}

fn is_ascii_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: &str, want: Option<&str>) {
        let decoded = Decoded::of(original.as_bytes());
        let got = decoded.as_ref().map(|d| String::from_utf8_lossy(&d.bytes).into_owned());
        assert_eq!(got.as_deref(), want, "{original}");
    }

    #[test]
    fn every_layer_is_read_through() {
        check("a%40b", Some("a@b"));
        check("a%2540b", Some("a@b"));
        check("a%252540b", Some("a@b"));
        check(r"a\u0040b", Some("a@b"));
        check("a&#64;b&#x40;c&amp;d", Some("a@b@c&d"));
        check("４１１１", Some("4111"));
        check("41\u{200b}11\u{a0}11\u{2011}1", Some("4111 11-1"));
        check("٤١", Some("41"));
        check("plain text, 100% of it & more \\d", None);
        check("crème brûlée", None);
    }

    #[test]
    fn every_byte_knows_where_it_came_from() {
        let original = "x=%e2%82%ac a%2540b";
        let decoded = Decoded::of(original.as_bytes()).unwrap();
        let at = decoded.bytes.iter().position(|b| *b == b'@').unwrap();
        let (start, end) = decoded.original(at - 1, at + 2);
        assert_eq!(&original[start..end], "a%2540b");
    }

    #[test]
    fn only_text_is_read_from_base64() {
        let spelled = |t: &str| spelled_text(t.as_bytes()).map(|b| String::from_utf8(b).unwrap());
        assert_eq!(spelled("dXNlcjpodW50ZXIy").as_deref(), Some("user:hunter2"));
        assert_eq!(spelled("616e6e406578616d706c652e6f7267").as_deref(), Some("ann@example.org"));
        assert_eq!(spelled("4bf92f3577b34da6a3ce929d0e0e4736"), None);
        assert_eq!(spelled("Ejf4BUIIsJU9IefdJeGa"), None);
    }
}
