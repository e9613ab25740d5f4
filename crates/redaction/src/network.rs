//! Addresses: IPv4, IPv6, MAC, e-mail, and credentials in URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::builtin::Rule;
use crate::classes::is_run;
use crate::context::{Found, Text, VERSION};
use crate::numbers::{bounded, claim};

/// What the run of letters, digits, `-` and `_` from `start` to `end` says as an address with colons or dashes.
///
/// `colons` is how far text with colons has been looked at: `01:23:27` is looked at once, not three times.
pub(crate) fn judge(text: &Text<'_>, start: usize, end: usize, colons: &mut usize) -> Option<Found> {
    let bytes = text.bytes;
    if end - start == 17 {
        return mac(text, start);
    }
    if start < *colons {
        return None;
    }
    let length = bytes[start..].iter().take(46).take_while(|b| is_ipv6(**b)).count();
    *colons = start + length;
    // Times and ports are shorter than an address that is written in full.
    let back = start.saturating_sub(5);
    if length < 10 && !bytes[back..*colons].windows(2).any(|w| w == b"::") {
        return None;
    }
    mac(text, start).or_else(|| ipv6(text, start, *colons))
}

/// Where the IPv4 address ends that begins at `start`, and whose rule it falls under, if any takes it; `None` if
/// it is no address.
pub(crate) fn ipv4(text: &Text<'_>, start: usize) -> Option<(usize, Option<Rule>)> {
    let bytes = text.bytes;
    let before = text.before(start);
    if before == b'.' || before.is_ascii_alphanumeric() {
        return None;
    }
    let (address, end) = dotted(bytes, start)?;
    // `1.2.3.4.5` and `1.2.3.4-rc1` are versions.
    if !bounded(bytes, end) || is_version(text, start, end) {
        return None;
    }
    let rule = class_of(IpAddr::V4(address)).filter(|rule| {
        // The last part is gone already: this is what truncating gives.
        text.allows(*rule) && !(address.octets()[3] == 0 && text.truncated & rule.bit() != 0)
    });
    Some((end, rule))
}

/// Four numbers with dots that begin at `start`, and where they end.
fn dotted(bytes: &[u8], start: usize) -> Option<(Ipv4Addr, usize)> {
    let (mut octets, mut at) = ([0; 4], start);
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            at += usize::from(bytes.get(at) == Some(&b'.'));
        }
        let digits = bytes[at..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        let value = bytes[at..at + digits].iter().fold(0, |v, d| v * 10 + u32::from(d - b'0'));
        // Zeros in front would be octal to some, and a number without its dot is none.
        let fits = digits > 0 && (digits == 1 || bytes[at] != b'0') && (i == 0 || bytes[at - 1] == b'.');
        *octet = u8::try_from(value).ok().filter(|_| fits)?;
        at += digits;
    }
    Some((Ipv4Addr::from(octets), at))
}

/// Four numbers with dots after a product's name (`Chrome/1.2.3.4`), or beside a word for versions.
fn is_version(text: &Text<'_>, start: usize, end: usize) -> bool {
    let bytes = text.bytes;
    if text.before(start) == b'/' {
        let name_start = text.name_start(start - 1);
        let product = name_start < start - 1 && bytes[name_start].is_ascii_alphabetic();
        let begins =
            matches!(text.before(name_start), b' ' | b'"' | b'(' | b'\'' | b'\t' | b';' | b'=' | b':');
        return product && begins;
    }
    let label = text.label(start).is_some_and(|(s, e)| {
        let name = &bytes[s..e];
        name.len() >= 7 && name[name.len() - 7..].eq_ignore_ascii_case(b"version")
            || matches!(name, b"v" | b"rv" | b"ver")
    });
    // `cart 1.2.3.4 starting (go1.26)`
    let starting =
        text.bytes[end..].starts_with(b" starting (") || text.bytes[end..].starts_with(b" started (");
    label || starting || text.near(VERSION, start)
}

/// Whose rule an address falls under; `None` for those that name no one (documentation included).
fn class_of(address: IpAddr) -> Option<Rule> {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared {
                Some(Rule::PrivateIp)
            } else if v4.is_unspecified() || v4.is_multicast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240
            {
                None
            } else {
                Some(Rule::PublicIp)
            }
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return class_of(IpAddr::V4(v4));
            }
            let first = v6.segments()[0];
            if first & 0xe000 == 0x2000 {
                Some(Rule::PublicIp)
            } else if v6.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 {
                Some(Rule::PrivateIp)
            } else {
                None
            }
        }
    }
}

fn is_ipv6(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':'
}

fn ipv6(text: &Text<'_>, at: usize, end: usize) -> Option<Found> {
    let bytes = text.bytes;
    let start = at - bytes[at.saturating_sub(40)..at].iter().rev().take_while(|b| is_ipv6(**b)).count();
    let colons = |t: &[u8]| t.iter().filter(|b| **b == b':').count();
    let mut end = end;
    // `::ffff:1.2.3.4`
    let dotted = bytes[end..].iter().take(13).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    if dotted > 3 && bytes[end..].starts_with(b".") {
        end += dotted;
    }
    while end > start && bytes[end - 1] == b':' && !bytes[..end].ends_with(b"::") {
        end -= 1;
    }
    let colons = colons(&bytes[start..end]);
    let short = bytes[start..end].windows(2).any(|w| w == b"::");
    // `12:30:45` is a time: an address without `::` has all its parts.
    if colons < 2
        || !short && colons != if dotted > 3 { 6 } else { 7 }
        || is_run(text.before(start)) && start > 0
        || bytes.get(end).is_some_and(|b| is_run(*b))
    {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(&bytes[start..end]).ok()?.parse().ok()?;
    let rule = class_of(IpAddr::V6(address))?;
    let truncated = address
        .to_ipv4_mapped()
        .map_or_else(|| address.segments()[3..].iter().all(|s| *s == 0), |v4| v4.octets()[3] == 0);
    if truncated && text.truncated & rule.bit() != 0 {
        return None;
    }
    claim(text, rule, start, end)
}

/// The address without its last 8 (IPv4) or 80 bits (IPv6): the /24 or /48 it lies in.
pub(crate) fn truncate(text: &str) -> Option<String> {
    match text.parse().ok()? {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some(Ipv4Addr::new(a, b, c, 0).to_string())
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                let [a, b, c, _] = v4.octets();
                Some(format!("::ffff:{}", Ipv4Addr::new(a, b, c, 0)))
            } else {
                let s = v6.segments();
                Some(Ipv6Addr::new(s[0], s[1], s[2], 0, 0, 0, 0, 0).to_string())
            }
        }
    }
}

fn mac(text: &Text<'_>, start: usize) -> Option<Found> {
    let bytes = text.bytes;
    let spaced = |at: usize| matches!(bytes.get(at), Some(b':' | b'-'));
    if !(spaced(start + 2) || start > 0 && spaced(start - 1)) {
        return None;
    }
    // The run may begin in the middle: `fe:ab:30:…` has its first digit late.
    let back = bytes[start.saturating_sub(15)..start]
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_hexdigit() || **b == b':')
        .count();
    let start = start - back;
    let mac = bytes.get(start..start + 17)?;
    let separator = mac[2];
    let shape = matches!(separator, b':' | b'-')
        && mac
            .chunks(3)
            .all(|c| c[..2].iter().all(u8::is_ascii_hexdigit) && c.get(2).is_none_or(|s| *s == separator));
    let next = bytes.get(start + 17);
    let open = !is_run(text.before(start)) && text.before(start) != b':';
    let close = !next.is_some_and(|b| is_run(*b) || *b == b':' || *b == separator);
    let hex = mac.iter().filter(|b| b.is_ascii_hexdigit());
    let trivial = hex.clone().all(|b| *b == b'0') || hex.clone().all(|b| b.eq_ignore_ascii_case(&b'f'));
    (shape && open && close && !trivial).then(|| claim(text, Rule::MacAddress, start, start + 17))?
}

/// The e-mail address around the `@` at `at`, and the name before it in `Name <address>`.
pub(crate) fn email(text: &Text<'_>, at: usize, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let local =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-' | b'\'') || *b >= 0x80;
    let mut start = at - bytes[at.saturating_sub(64)..at].iter().rev().take_while(|b| local(b)).count();
    while start < at && matches!(bytes[start], b'.' | b'\'' | b'-' | b'+') {
        start += 1;
    }
    // `N'ann@example.org'` is a literal of SQL.
    if at > start + 2 && bytes[start + 1] == b'\'' {
        start += 2;
    }
    let domain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-') || *b >= 0x80;
    let mut end = at + 1 + bytes[at + 1..].iter().take(253).take_while(|b| domain(b)).count();
    while end > at && matches!(bytes[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let host = &bytes[at + 1..end];
    let Some(dot) = host.iter().rposition(|b| *b == b'.') else { return };
    let top = &host[dot + 1..];
    let labels = host.split(|b| *b == b'.').all(|l| !l.is_empty() && l[0] != b'-');
    let top_fits = top.len() >= 2
        && (top.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80) || top.starts_with(b"xn--"))
        && !is_file_ending(top);
    if start == at || !labels || !top_fits || &bytes[start..at] == b"git" || host.ends_with(b".cluster.local")
    {
        return;
    }
    if text.allows(Rule::Email) {
        found.push(Found { start, end, rule: Rule::Email.id() });
    }
    if text.before(start) == b'<' && text.allows(Rule::Name) {
        let name_end = start - 1;
        if let Some(begin) = crate::words::name_before(bytes, name_end) {
            let trimmed = name_end - usize::from(bytes[name_end - 1] == b' ');
            found.push(Found { start: begin, end: trimmed, rule: Rule::Name.id() });
        }
    }
}

fn is_file_ending(top: &[u8]) -> bool {
    const ENDINGS: &[&[u8]] = &[
        b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"js", b"mjs", b"css", b"html", b"json", b"map",
        b"ts", b"tsx", b"jsx", b"py", b"rb", b"go", b"rs", b"java", b"yaml", b"yml", b"xml", b"txt",
        b"service", b"socket", b"target", b"local",
    ];
    ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(top))
}

/// The credentials in `scheme://user:password@host`, `colon` being where `://` begins. Gives where the `@` is.
pub(crate) fn userinfo(text: &Text<'_>, colon: usize, found: &mut Vec<Found>) -> Option<usize> {
    let bytes = text.bytes;
    let start = colon + 3;
    let ends = |b: &u8| {
        matches!(b, b' ' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'/' | b'?' | b'#' | b'\n' | b'\t' | b'`')
    };
    let authority = bytes[start..].iter().take(512).take_while(|b| !ends(b)).count();
    // A password may hold what ends an authority: `p/w` is told from a path by a later `@host`.
    let rest = &bytes[start..start + authority];
    let at = start + rest.iter().rposition(|b| *b == b'@')?;
    let password = start + bytes[start..at].iter().position(|b| *b == b':')? + 1;
    let host = bytes.get(at + 1)?;
    if !(host.is_ascii_alphanumeric() || matches!(host, b'[' | b'_' | b'{')) || password >= at {
        return None;
    }
    // The user of a database or broker is a service; the person's name in a URL is not told apart, so both go
    // where the scheme is one that people log in with.
    let scheme_start = text.name_start(colon);
    let scheme = &bytes[scheme_start..colon];
    let begin = if scheme.starts_with(b"http") || scheme.ends_with(b"ftp") { start } else { password };
    if text.allows(Rule::UrlCredentials) && !crate::words::is_nothing(&bytes[password..at]) {
        found.push(Found { start: begin, end: at, rule: Rule::UrlCredentials.id() });
    }
    Some(at)
}
