//! Values under a name, in whatever notation the text uses: `name=value`, `"name": "value"`, `name: value`,
//! `<name>value</name>`, `name = 'value'`, `--name value`, `name is value`, OTLP/JSON pairs.

use crate::builtin::{Rule, RuleSet};
use crate::context::{Found, Text};
use crate::decode;
use crate::keys::{Meaning, Shape};
use crate::words;

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Equals,
    Colon,
    Tag,
    Is,
    Space,
    Argument,
    Path,
}

/// Where a value begins and, if something delimits it, ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) start: usize,
    pub(crate) end: usize,
    link: Link,
    /// Whether a quote, tag or separator says where the value ends; if not, its own form must.
    delimited: bool,
    in_query: bool,
}

impl Value {
    /// Whether a name of any meaning may take the value. After a mere space that is little: in prose, most words
    /// are followed by another.
    pub(crate) fn is_telling(&self, bytes: &[u8]) -> bool {
        if self.link != Link::Space || self.delimited {
            return true;
        }
        // House numbers come after a word or two: `deliver to flat 7`.
        let reach = bytes.len().min(self.end.max(self.start + 24));
        let telling = |b: &u8| !(b.is_ascii_lowercase() || *b == b' ');
        bytes[self.start..self.end].iter().any(telling)
            || bytes[self.end..reach].iter().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    }
}

/// Adds the value under the name `start..end` of meaning `meaning`. Gives where the value ends.
pub(crate) fn find(
    text: &Text<'_>,
    (start, end): (usize, usize),
    value: Value,
    meaning: Meaning,
    found: &mut Vec<Found>,
) -> Option<usize> {
    let bytes = text.bytes;
    let (from, to) = match meaning.shape {
        Shape::Ruled => ruled(bytes, value, meaning.rule)?,
        Shape::Cookie => {
            cookies(text, &value, found);
            // Names in the cookies speak for themselves.
            return None;
        }
        _ => judge(bytes, value, meaning, &bytes[start..end], text.hints_at(PERSONAL))?,
    };
    found.push(Found { start: from, end: to, rule: meaning.rule });
    Some(to)
}

/// What a field of this meaning holds: the part of `value` to take; `None` if it is nothing to take.
pub(crate) fn whole(value: &[u8], meaning: Meaning) -> Option<(usize, usize)> {
    let whole = Value { start: 0, end: value.len(), link: Link::Equals, delimited: true, in_query: false };
    match meaning.shape {
        Shape::BareName => None,
        Shape::Cookie => (!words::is_nothing(value)).then_some((0, value.len())),
        Shape::Ruled => ruled(value, whole, meaning.rule),
        _ => judge(value, whole, meaning, b"", false),
    }
}

/// Words for these say that a text is about a person.
pub(crate) const PERSONAL: RuleSet = Rule::Email.bit()
    | Rule::Phone.bit()
    | Rule::Username.bit()
    | Rule::DateOfBirth.bit()
    | Rule::StreetAddress.bit()
    | Rule::Postcode.bit()
    | Rule::Nhs.bit()
    | Rule::Nino.bit();

/// `personal`: whether the text is about a person.
fn judge(
    bytes: &[u8],
    value: Value,
    meaning: Meaning,
    name: &[u8],
    personal: bool,
) -> Option<(usize, usize)> {
    let Value { start, end, link, delimited, .. } = value;
    let inside = &bytes[start..end];
    match meaning.shape {
        Shape::Any => secret(bytes, value, name),
        Shape::Random => {
            let min = if matches!(link, Link::Equals | Link::Colon | Link::Tag | Link::Is) { 12 } else { 16 };
            words::is_random(inside, min).then_some((start, end))
        }
        Shape::Authorization => authorization(bytes, value),
        Shape::Name => {
            if delimited {
                let plain = decode::plain(inside);
                return words::is_name(&plain).then_some((start, end));
            }
            let (length, count) = words::capitalised_words(&bytes[start..], 5)?;
            let enough = if link == Link::Space { 2 } else { 1 };
            (count >= enough && link != Link::Path).then_some((start, start + length))
        }
        Shape::BareName => {
            // A thing has a name as well; beside an address or a telephone number it is a person's.
            let labelled = matches!(link, Link::Colon | Link::Equals);
            if value.in_query || labelled && delimited {
                let plain = decode::plain(inside);
                let person = words::is_full_name(&plain) && (personal || !words::is_heading(&plain));
                return person.then_some((start, end));
            }
            let labelled = labelled && personal;
            // `my name is Ann Example`
            let (length, count) = words::capitalised_words(&bytes[start..], 4)?;
            // `for customer Ann Example`
            let said = labelled || matches!(link, Link::Is | Link::Space);
            (count >= 2 && said && !words::is_heading(&bytes[start..start + length]))
                .then_some((start, start + length))
        }
        Shape::Title => {
            let (length, _) = words::capitalised_words(&bytes[start..], 4)?;
            // `Dr Example`, not `DR site` or `cache miss "X"`.
            let title = matches!(name, [first, rest @ ..] if first.is_ascii_uppercase() && rest.iter().all(u8::is_ascii_lowercase));
            let beside = matches!(bytes[..start], [.., b' '] if bytes[start - 2].is_ascii_alphabetic() || bytes[start - 2] == b'.');
            let person = length >= 3 && !words::is_heading(&bytes[start..start + length]);
            (title && beside && person && link == Link::Space).then_some((start, start + length))
        }
        Shape::Cookie | Shape::Ruled => None,
    }
}

/// Values of rules that recognise their own by form, where the form alone is not enough elsewhere.
fn ruled(bytes: &[u8], value: Value, rule: u16) -> Option<(usize, usize)> {
    let Value { start, end, link, delimited, .. } = value;
    let inside = &bytes[start..end];
    let strong = matches!(link, Link::Equals | Link::Colon | Link::Tag | Link::Is);
    let is = |r: Rule| r.id() == rule;
    if is(Rule::Username) {
        let plain = inside.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+' | b'%' | b'\\')
                || *b >= 0x80
        });
        let quoted = delimited && link != Link::Space;
        let ends = !matches!(bytes.get(end), Some(b' '));
        let telling = quoted
            || inside.iter().any(u8::is_ascii_digit)
            || link == Link::Equals
            || link == Link::Colon && ends;
        let size = (2..=64).contains(&inside.len());
        let number = inside.iter().all(u8::is_ascii_digit);
        if delimited && strong && words::is_full_name(inside) {
            return Some((start, end));
        }
        let taken = (strong || link == Link::Space)
            && plain
            && telling
            && size
            && !number
            && !words::is_nothing(inside);
        return taken.then_some((start, end));
    }
    if is(Rule::StreetAddress) {
        if link == Link::Path {
            return None;
        }
        if delimited {
            let plain = decode::plain(inside);
            let fits = words::street_address(&plain).is_some_and(|e| plain.len() - e <= 64)
                || words::street_and_number(&plain);
            return fits.then_some((start, end));
        }
        return words::street_address(&bytes[start..]).map(|length| (start, start + length));
    }
    if is(Rule::CardCode) {
        let digits = inside.len();
        let fits = strong && (3..=4).contains(&digits) && inside.iter().all(u8::is_ascii_digit);
        return fits.then_some((start, end));
    }
    if is(Rule::Email) {
        // Addresses with quotes or without a known top-level domain, under the name of an address.
        let plain = decode::plain(inside);
        let at = plain.iter().position(|b| *b == b'@')?;
        let spaceless = !plain.contains(&b' ');
        return (delimited && spaceless && at > 0 && at + 1 < plain.len()).then_some((start, end));
    }
    None
}

/// A secret: anything that is not plainly a word about the field.
fn secret(bytes: &[u8], value: Value, name: &[u8]) -> Option<(usize, usize)> {
    let Value { start, end, link, delimited, .. } = value;
    let inside = &bytes[start..end];
    if words::is_nothing(inside) || inside.starts_with(b"::") || is_parameter(inside, name) {
        return None;
    }
    let has_digit = inside.iter().any(u8::is_ascii_digit);
    let mixed = inside.iter().any(u8::is_ascii_uppercase) && inside.iter().any(u8::is_ascii_lowercase);
    let is_symbol =
        |b: &u8| matches!(b, b'!' | b'#'..=b'&' | b'*' | b'+' | b'=' | b'@' | b'\\' | b'^' | b'|' | b'~');
    let symbol = inside.iter().any(is_symbol);
    let spaced = inside.contains(&b' ');
    let taken = match link {
        Link::Equals | Link::Tag => true,
        Link::Argument => !inside.starts_with(b"-"),
        Link::Colon if delimited => true,
        // `password: must contain …` is prose; `password: hunter` at a line's end is not.
        Link::Colon => {
            let next = bytes.get(end).copied().unwrap_or(b'\n');
            let prose =
                next == b' ' && inside.iter().all(|b| b.is_ascii_lowercase() || *b == b'\'' || *b == b',');
            !prose
        }
        Link::Is => has_digit || symbol || (delimited && !spaced) || (mixed && inside.len() >= 6),
        Link::Space if delimited => !spaced && inside.len() >= 6 && (has_digit || symbol || mixed),
        Link::Space => {
            let classes = [
                has_digit,
                symbol,
                inside.iter().any(u8::is_ascii_uppercase),
                inside.iter().any(u8::is_ascii_lowercase),
            ];
            let mixture =
                inside.len() >= 8 && classes.iter().filter(|c| **c).count() >= 3 && (has_digit || symbol);
            mixture && !is_uuid(inside) && !inside.contains(&b'/')
                || words::is_random(inside, 8) && has_digit
                || (inside.len() >= 20 && has_digit && !inside.contains(&b'/') && !is_uuid(inside))
        }
        Link::Path => words::is_random(inside, 16),
    };
    let short_number = inside.len() <= 4 && inside.iter().all(u8::is_ascii_digit);
    let counts = short_number && !names_a_code(name);
    // `token_ttl: 300` and `sessions=5` have other names, but `session: 5` and `key 3` are counts.
    (taken && !counts).then_some((start, end))
}

/// Whether a value is the mark of a parameter that is called as the field is: `password: $password`, or its type.
fn is_parameter(value: &[u8], name: &[u8]) -> bool {
    let ends = |long: &[u8], short: &[u8]| {
        long.len() >= short.len() && long[long.len() - short.len()..].eq_ignore_ascii_case(short)
    };
    match value {
        [b'$' | b':' | b'@', rest @ ..] if rest.len() >= 3 => ends(rest, name) || ends(name, rest),
        [word @ .., b'!'] => words::is_nothing(word),
        _ => false,
    }
}

fn names_a_code(name: &[u8]) -> bool {
    let tail = &name[name.len().saturating_sub(8)..];
    [&b"pin"[..], b"otp", b"word", b"wd", b"code", b"pass"]
        .iter()
        .any(|w| tail.windows(w.len()).any(|t| t.eq_ignore_ascii_case(w)))
        || name.is_empty()
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36 && [8, 13, 18, 23].iter().all(|i| value[*i] == b'-')
}

/// Credentials behind a scheme's name, or the whole value if there is none.
fn authorization(bytes: &[u8], value: Value) -> Option<(usize, usize)> {
    let inside = &bytes[value.start..value.end];
    if words::is_nothing(inside) || matches!(value.link, Link::Space | Link::Path) {
        return None;
    }
    // Up to the end of the header: a scheme may have several parameters with spaces between.
    let mut end = value.end;
    if !value.delimited {
        let scheme = inside.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        if !scheme {
            return Some((value.start, value.end));
        }
        let token = value.end + 1;
        let length =
            count(bytes, token, bytes.len(), |b| !matches!(b, b' ' | b';' | b',' | b'\\' | b'\r' | b'\n'));
        let quote = bytes.get(token..token + length).and_then(|b| memchr::memchr2(b'"', b'\'', b));
        let length = quote.filter(|q| *q > 0 && bytes[token + q - 1] != b'=').unwrap_or(length);
        if length == 0 || bytes.get(value.end) != Some(&b' ') {
            return (inside.len() >= 12).then_some((value.start, value.end));
        }
        let credentials = &bytes[token..token + length];
        if credentials.iter().all(u8::is_ascii_lowercase) {
            return None;
        }
        // `Digest username="…", realm="…"` goes on to the end of the line.
        let parameters = credentials.contains(&b'=') && credentials.contains(&b'"');
        let more = if parameters {
            count(bytes, token, bytes.len(), |b| !matches!(b, b'\r' | b'\n'))
        } else {
            length
        };
        end = token + more;
    }
    let inside = &bytes[value.start..end];
    let scheme = inside.iter().position(|b| *b == b' ').filter(|i| *i <= 16);
    let known = scheme.is_some_and(|i| inside[..i].iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-'));
    let from = if known { value.start + scheme.map_or(0, |i| i + 1) } else { value.start };
    (from < end).then_some((from, end))
}

/// Takes from `name=value; name=value` what is long and random, or whose name says so.
fn cookies(text: &Text<'_>, value: &Value, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let line = bytes[value.start..].iter().take_while(|b| !matches!(b, b'\r' | b'\n' | b'"')).count();
    let end = if value.delimited { value.end } else { value.start + line };
    text.spend(line);
    let mut i = value.start;
    while i < end {
        let pair = bytes[i..end].iter().position(|b| *b == b';').map_or(end, |p| i + p);
        if let Some(equals) = bytes[i..pair].iter().position(|b| *b == b'=') {
            let from = i + equals + 1;
            let to = from
                + bytes[from..pair].iter().take_while(|b| !matches!(b, b' ' | b'"' | b'\\' | b',')).count();
            if words::is_random(&bytes[from..to], 16) && text.allows(Rule::Cookie) {
                found.push(Found { start: from, end: to, rule: Rule::Cookie.id() });
            }
        }
        i = pair + 1;
    }
}

/// The value after the name `start..end`.
pub(crate) fn value(text: &Text<'_>, start: usize, end: usize) -> Option<Value> {
    let bytes = text.bytes;
    let mut i = end + count(bytes, end, 4, |b| matches!(b, b'\\' | b'"' | b'\'' | b'`' | b']' | b')'));
    if let Some(at) = otlp_value(bytes, i) {
        return value_at(text, start, at, Link::Colon);
    }
    if let Some(at) = part_value(bytes, start, i) {
        let end = at + count(bytes, at, bytes.len(), |b| !matches!(b, b'\r' | b'\n'));
        let line = &bytes[at..end];
        let end = at + memchr::memmem::find(line, b" --").unwrap_or(line.len());
        return (at < end).then_some(Value {
            start: at,
            end,
            link: Link::Equals,
            delimited: true,
            in_query: false,
        });
    }
    // `Dr. Example`
    i += usize::from(end - start <= 4 && bytes[i..].starts_with(b". "));
    let spaces = count(bytes, i, 3, |b| b == b' ' || b == b'\t');
    let next = bytes.get(i + spaces)?;
    if spaces > 0 && opens_tag(bytes, start) {
        // `<Password Type="text">value</Password>`
        let attributes = count(bytes, i, 256, |b| !matches!(b, b'<' | b'>'));
        let close = i + attributes;
        let ends = bytes.get(close) == Some(&b'>') && bytes[close - 1] != b'/';
        return if ends { value_at(text, start, close + 1, Link::Tag) } else { None };
    }
    let link = match next {
        b'=' => Link::Equals,
        b':' if bytes[i + spaces..].starts_with(b"::") || bytes[i + spaces..].starts_with(b"://") => {
            return None;
        }
        b':' => Link::Colon,
        b'>' if spaces == 0 && matches!(text.before(start), b'<' | b':') => Link::Tag,
        b'/' if spaces == 0 && text.before(start) == b'/' => Link::Path,
        _ if spaces == 0 => return None,
        _ if text.before(start) == b'-' || bytes[start..end].starts_with(b"--") => Link::Argument,
        _ => Link::Space,
    };
    i += spaces;
    if link == Link::Space {
        let is =
            [&b"is "[..], b"was ", b"of ", b"to ", b"at "].into_iter().find(|w| bytes[i..].starts_with(w));
        return match is {
            Some(word) => value_at(text, start, i + word.len(), Link::Is),
            None => value_at(text, start, i, Link::Space),
        };
    }
    if matches!(link, Link::Equals | Link::Colon) {
        i += count(bytes, i, 3, |b| matches!(b, b'=' | b':' | b'>'));
        i += count(bytes, i, 3, |b| b == b' ' || b == b'\t');
    } else if link != Link::Argument {
        i += 1;
    }
    value_at(text, start, i, link)
}

/// Whether the name that begins at `start` is that of an element: `<name`, `<prefix:name`.
fn opens_tag(bytes: &[u8], start: usize) -> bool {
    let before = &bytes[start.saturating_sub(24)..start];
    let prefix = match before {
        [prefix @ .., b':'] => prefix,
        other => other,
    };
    let prefix_length = if prefix.len() < before.len() {
        prefix.iter().rev().take_while(|b| b.is_ascii_alphanumeric()).count()
    } else {
        0
    };
    prefix[..prefix.len() - prefix_length].last() == Some(&b'<')
}

/// Where the value begins of a part of `multipart/form-data` (RFC 7578): after its headers, which end at `at` or soon
/// after with the name.
fn part_value(bytes: &[u8], name: usize, at: usize) -> Option<usize> {
    let head = &bytes[name.saturating_sub(40)..name];
    if !head.ends_with(b"name=\"") || memchr::memmem::find(head, b"form-data").is_none() {
        return None;
    }
    let spaces = count(bytes, at, 8, |b| b.is_ascii_whitespace());
    (spaces > 0).then_some(at + spaces)
}

/// Skips `,"value":{"stringValue":` of OTLP/JSON, or the columns' part of nothing.
fn otlp_value(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at;
    let skip = |i: usize| i + count(bytes, i, 12, |b| matches!(b, b',' | b' ' | b'\\' | b'"' | b':' | b'{'));
    i = skip(i);
    let rest = bytes.get(i..)?.strip_prefix(b"value")?;
    if bytes.get(at) != Some(&b',') || !matches!(rest.first(), Some(b'"' | b'\\')) {
        return None;
    }
    i = skip(i + 5);
    let kind = bytes.get(i..)?;
    let kinds = [&b"stringValue"[..], b"intValue", b"doubleValue", b"bytesValue"];
    let word = kinds.iter().find(|k| kind.starts_with(k))?;
    i += word.len();
    i += count(bytes, i, 4, |b| matches!(b, b'"' | b'\\'));
    (bytes.get(i) == Some(&b':')).then(|| i + 1 + count(bytes, i + 1, 1, |b| b == b' '))
}

fn value_at(text: &Text<'_>, name_start: usize, start: usize, link: Link) -> Option<Value> {
    let bytes = text.bytes;
    let cap = bytes.len();
    let mut i = start;
    i += usize::from(bytes.get(i) == Some(&b'[') && matches!(bytes.get(i + 1), Some(b'"' | b'\'')));
    // `N'…'` and `E'…'` of SQL, `b'…'` and `u'…'` of Python.
    let marked = matches!(bytes.get(i), Some(b'N' | b'E' | b'b' | b'u' | b'n'));
    i += usize::from(marked && matches!(bytes.get(i + 1), Some(b'\'')));
    let slashes = count(bytes, i, 4, |b| b == b'\\');
    if let Some(quote @ (b'"' | b'\'' | b'`')) = bytes.get(i + slashes).copied() {
        let from = i + slashes + 1;
        let to = closing_quote(bytes, from, cap, quote, slashes);
        return Some(Value { start: from, end: to, link, delimited: true, in_query: false });
    }
    if slashes == 0 && bytes.get(i) == Some(&b'{') {
        return None;
    }
    let opener = text.before(name_start);
    let in_query = link == Link::Equals && matches!(opener, b'?' | b'&');
    let stops = |at: usize| match bytes[at] {
        b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'<' | b'`' => true,
        b'\'' | b'>' => link != Link::Tag,
        // `password=a&3` in a connection string has no other name behind the `&`.
        b'&' => in_query || link != Link::Colon && another_name(bytes, at + 1),
        b'#' => in_query,
        b'/' => link == Link::Path,
        b'?' => link == Link::Path,
        b'\\' => matches!(bytes.get(at + 1), Some(b'"' | b'n' | b'r' | b't' | b'\\')),
        b',' | b';' | b')' | b'}' | b']' | b'|' => !in_query && ends_there(bytes, at + 1),
        _ => false,
    };
    let tag = link == Link::Tag;
    let may_stop = |at: usize| MAY_STOP[usize::from(bytes[at])];
    let to = if tag {
        memchr::memchr(b'<', &bytes[i..]).map(|length| i + length)
    } else {
        (i..cap).find(|at| may_stop(*at) && stops(*at))
    };
    let to = to.unwrap_or(cap);
    let to = if matches!(link, Link::Is | Link::Space | Link::Colon)
        && to > i
        && matches!(bytes[to - 1], b'.' | b',' | b';' | b':')
    {
        to - 1
    } else {
        to
    };
    let form = link == Link::Equals && bytes.get(to) == Some(&b'&');
    (to > i).then_some(Value {
        start: i,
        end: to,
        link,
        delimited: in_query || tag || form || link == Link::Path,
        in_query: in_query || form,
    })
}

/// Bytes at which a value without quotes may stop: all others are passed over by one look at a table.
const MAY_STOP: [bool; 256] = {
    let (mut table, mut i) = ([false; 256], 0);
    let stops = b" \t\r\n\"<`'>&#/?\\,;)}]|";
    while i < stops.len() {
        table[stops[i] as usize] = true;
        i += 1;
    }
    table
};

/// Whether a `,` or `;` or closing bracket before `at` ends a value: what follows is a space, a quote, the
/// end, or another `name=`.
fn ends_there(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at) {
        None => true,
        Some(b) if b.is_ascii_alphabetic() || *b == b'_' => another_name(bytes, at),
        Some(b) => matches!(
            b,
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'' | b'\\' | b',' | b';' | b')' | b'}' | b']' | b'|'
        ),
    }
}

/// Whether `name=` or `name:` begins at `at`, or nothing more comes.
fn another_name(bytes: &[u8], at: usize) -> bool {
    let name = count(bytes, at, 32, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'%')
    });
    name > 0 && matches!(bytes.get(at + name), Some(b'=' | b':')) || at >= bytes.len()
}

pub(crate) fn closing_quote(bytes: &[u8], from: usize, cap: usize, quote: u8, slashes: usize) -> usize {
    let mut i = from;
    while let Some(length) = bytes.get(i..cap).and_then(|rest| memchr::memchr(quote, rest)) {
        i += length;
        let before = bytes[from..i].iter().rev().take_while(|b| **b == b'\\').count();
        let doubled = quote == b'\'' && slashes == 0 && bytes.get(i + 1) == Some(&b'\'');
        if doubled {
            i += 2;
            continue;
        }
        if before == slashes || (slashes == 0 && before % 2 == 0) || (slashes > 0 && before < slashes) {
            return i - before.min(slashes);
        }
        i += 1;
    }
    cap
}

pub(crate) fn count(bytes: &[u8], from: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
    bytes.get(from..).map_or(0, |b| b.iter().take(most).take_while(|b| is(**b)).count())
}
