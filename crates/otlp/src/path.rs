//! Turns a request's path into a template: what names an operation stays, what names a thing becomes `{}`.
//!
//! The template is part of a column that windows are keyed by and that people read, so it must have few
//! values and hold nothing personal. What it loses is still in the raw path among the attributes.

/// Segments a template keeps; deeper ones are folded into one `{}`.
const MAX_SEGMENTS: usize = 12;

/// Appends the template of `target` (a path, or a URL, with or without a query) to `out`.
pub(crate) fn template(target: &str, out: &mut String) {
    let path = without_origin(target);
    let mut rest = path;
    for depth in 0.. {
        let segment = Segment::read(rest.as_bytes());
        let (text, after) = rest.split_at(segment.len);
        out.push_str(if depth > MAX_SEGMENTS || segment.names_a_thing() { "{}" } else { text });
        match after.strip_prefix('/') {
            Some(next) if depth <= MAX_SEGMENTS => {
                out.push('/');
                rest = next;
            }
            _ => return,
        }
    }
}

/// Whether `template` is an RPC's path, `/package.Service/Method`: gRPC's, which has no variable part.
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
pub(crate) fn is_rpc(template: &str) -> bool {
    let Some((service, method)) = template.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let Some((_, last)) = service.rsplit_once('.') else { return false };
    let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let capital = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_uppercase);
    capital(last) && word(last) && capital(method) && word(method)
}

fn without_origin(target: &str) -> &str {
    // Only a scheme at the very start makes it a URL: `/go?to=http://…` is a path.
    let scheme = target.bytes().take_while(u8::is_ascii_alphabetic).count();
    let Some(rest) = target[scheme..].strip_prefix("://").filter(|_| scheme > 0) else { return target };
    let path = memchr::memchr3(b'/', b'?', b'#', rest.as_bytes()).map_or("/", |at| &rest[at..]);
    if path.starts_with('/') { path } else { "/" }
}

/// What the bytes of a path segment are, up to the next slash or to the end of the path.
struct Segment {
    len: usize,
    /// Counts of bytes by class, 12 bits each; right as long as the segment is of a word's length.
    counts: u64,
}

const DIGIT: u32 = 0;
const UPPER: u32 = 12;
const LOWER: u32 = 24;
/// Letters that are hexadecimal digits too.
const HEX: u32 = 36;
/// Percent-encoded, not ASCII, or a character that no word has.
const ODD: u32 = 48;
/// Ends a segment.
const END: u64 = 1 << 63;

/// What each byte adds to the counts.
static CLASSES: [u64; 256] = {
    let (mut classes, mut i) = ([0_u64; 256], 0);
    while i < 256 {
        classes[i] = match i as u8 {
            b'/' | b'?' | b'#' | b';' => END,
            b'0'..=b'9' => 1 << DIGIT,
            b'a'..=b'f' => 1 << LOWER | 1 << HEX,
            b'A'..=b'F' => 1 << UPPER | 1 << HEX,
            b'g'..=b'z' => 1 << LOWER,
            b'G'..=b'Z' => 1 << UPPER,
            b'-' | b'_' | b'.' | b'~' | b':' => 0,
            _ => 1 << ODD,
        };
        i += 1;
    }
    classes
};

impl Segment {
    fn read(rest: &[u8]) -> Segment {
        let mut counts = 0_u64;
        for (len, byte) in rest.iter().enumerate() {
            let class = CLASSES[usize::from(*byte)];
            if class == END {
                return Segment { len, counts };
            }
            counts = counts.wrapping_add(class);
        }
        Segment { len: rest.len(), counts }
    }

    fn count(&self, class: u32) -> usize {
        (self.counts >> class & 0xfff) as usize
    }

    /// Whether it varies from call to call: numbers, dates, UUIDs, hashes, tokens, addresses, names with
    /// spaces, anything percent-encoded or not ASCII. Words, and short versions such as `v2`, do not.
    fn names_a_thing(&self) -> bool {
        /// Long enough for a word, even a compound one.
        const MAX_WORD_BYTES: usize = 40;
        /// `v1beta12` and `ipv64` have two digits; identifiers of any use have more.
        const MAX_WORD_DIGITS: usize = 2;
        /// `deadbeef` and longer: a commit, a hash, half a trace id.
        const MIN_HEX_BYTES: usize = 8;
        /// Base64 of 15 bytes; no English word of that length mixes cases like this.
        const MIN_TOKEN_BYTES: usize = 20;

        let (digits, upper, lower) = (self.count(DIGIT), self.count(UPPER), self.count(LOWER));
        self.len > MAX_WORD_BYTES
            || self.count(ODD) > 0
            || (digits > 0 && upper + lower == 0)
            || digits > MAX_WORD_DIGITS
            || (self.count(HEX) + digits == self.len && self.len >= MIN_HEX_BYTES)
            || (self.len >= MIN_TOKEN_BYTES && upper > 2 && lower > 2 && digits > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expect: &str) {
        let mut out = String::new();
        template(target, &mut out);
        assert_eq!(out, expect, "{target}");
    }

    #[test]
    fn words_stay_and_things_become_braces() {
        check("/", "/");
        check("", "");
        check("*", "{}");
        check("/products?q=SKU137&page=1225", "/products");
        check("/cart/2d7207bc-3a06-49da-bd02-5c0bc57a1359/count", "/cart/{}/count");
        check("/users/isla.merriweather17@mail.example.net/active", "/users/{}/active");
        check("/users/isla%40example.net/active", "/users/{}/active");
        check("/payments/iban/GB39NDMF17421005802567", "/payments/iban/{}");
        check("/people/Rhys%20Thwaite", "/people/{}");
        check("/people/Zoë", "/people/{}");
        check("/dob/2002-05-20", "/dob/{}");
        check("/call/+447700900123", "/call/{}");
        check("/call/07700900123", "/call/{}");
        check("/export/archive/20761012-baa2-44f3-ab4a-46af34b96b08.bin", "/export/archive/{}");
        check("/api/v1beta1/pods/deadbeef", "/api/v1beta1/pods/{}");
        check("/oauth2/token", "/oauth2/token");
        check("/.env", "/.env");
        check("/v1/users:batchGet", "/v1/users:batchGet");
        check("/t/QWxhZGRpbjpvcGVuIHNl1", "/t/{}");
        check("/q/entries/7", "/q/entries/{}");
        check("/a;jsessionid=1/b", "/a");
        check("/redirect?to=http://other/42", "/redirect");
    }

    #[test]
    fn urls_lose_their_origin() {
        check("http://www.shop.example/cart?email=a@b.example", "/cart");
        check("https://user:secret@host", "/");
        check("http://host?x=1", "/");
        check("http://web.emojivoto:80/api/list", "/api/list");
    }

    #[test]
    fn a_path_without_end_becomes_a_template_with_one() {
        check(&"/a".repeat(100), &("/a".repeat(12) + "/{}"));
    }

    #[test]
    fn rpc_paths_are_told_from_others() {
        let rpc = ["/emojivoto.v1.EmojiService/ListAll", "/grpc.health.v1.Health/Check"];
        let others = ["/cart/{}", "/.env/X", "/a.b/c", "/EmojiService/ListAll", "/a.B/{}", "a.B/C", ""];
        assert!(rpc.iter().all(|p| is_rpc(p)));
        assert!(others.iter().all(|p| !is_rpc(p)));
    }
}
