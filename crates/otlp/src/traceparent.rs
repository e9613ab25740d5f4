//! The W3C `traceparent` header, where a record has no ids of its own.

/// Trace id and span id of a `traceparent` header, version 00.
pub(crate) fn read(text: &str) -> Option<([u8; 16], [u8; 8])> {
    let mut parts = text.split('-').skip(1);
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    hex(parts.next()?, &mut trace)?;
    hex(parts.next()?, &mut span)?;
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span))
}

fn hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != bytes.len() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}
