//! Which bytes of a text are letters, capitals, digits and so on: a bit a byte, 64 bytes a block.
//!
//! Runs and words are then found by counting zeros. A loop over bytes mispredicts one branch at the end of every
//! word, and words have six letters on average: that, not the bytes, is what a walk over text costs.

use wide::u8x16;

/// Bytes that one block describes.
const BLOCK: usize = 64;
const LAST: usize = BLOCK - 1;

/// The shortest run that can be a token, or text in base64 or hexadecimal digits.
pub(crate) const LONG: usize = 12;

/// A run of letters, digits, `-` and `_` with a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Whether it has digits only.
    pub(crate) pure: bool,
}

/// What is known of one block; the lowest bit is the first byte.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Letters, digits, `-` and `_`.
    runs: u64,
    digits: u64,
    /// `@`.
    ats: u64,
    /// `://`, where its colon is.
    schemes: u64,
    /// First letters of words that are looked up, and some others in the last two places.
    words: u64,
    /// First letters of all words, and everything that is no letter.
    ends: u64,
    /// First digits of the runs that have any.
    numbers: u64,
    /// First bytes of runs of at least [`LONG`] bytes.
    long: u64,
}

/// Describes one text; its memory is used again for the next.
#[derive(Default)]
pub(crate) struct Classes {
    /// The text and at least one block of zeros, so that reading on from any place needs no end.
    padded: Vec<u8>,
    /// One block for each 64 bytes of the text, and one without anything.
    blocks: Vec<Block>,
    /// The runs with a digit, in order.
    pub(crate) numbers: Vec<Run>,
    /// The runs of at least [`LONG`] bytes, in order: where each begins and ends.
    pub(crate) long: Vec<(u32, u32)>,
    /// Where each `@` stands.
    pub(crate) ats: Vec<u32>,
    /// Where each `://` stands.
    pub(crate) schemes: Vec<u32>,
    /// Whether `{` is in the text.
    pub(crate) braces: bool,
    /// Whether `%`, `\`, `&` or anything outside ASCII is in the text.
    pub(crate) encoded: bool,
}

impl Classes {
    /// Reads `text`.
    pub(crate) fn read(&mut self, text: &[u8]) {
        self.classify(text);
        self.numbers.clear();
        self.long.clear();
        self.ats.clear();
        self.schemes.clear();
        for i in 0..self.blocks.len() - 1 {
            let block = self.blocks[i];
            let first = i * BLOCK;
            for bit in Places(block.numbers) {
                let run = self.run(i, bit);
                self.numbers.push(run);
            }
            for bit in Places(block.long) {
                let start = first + bit;
                let end = self.run_end(start + LONG);
                self.long.push((start as u32, end as u32));
            }
            if block.ats | block.schemes != 0 {
                self.ats.extend(Places(block.ats).map(|bit| (first + bit) as u32));
                self.schemes.extend(Places(block.schemes).map(|bit| (first + bit) as u32));
            }
        }
    }

    /// Gives the words of at least two letters, in order: the text with zeros behind it, where the word begins and
    /// where it ends. One of more than 64 letters ends anywhere.
    #[inline]
    pub(crate) fn each_word(&self, mut word: impl FnMut(&[u8], usize, usize)) {
        for (i, [block, next]) in self.blocks.array_windows().enumerate() {
            for bit in Places(block.words) {
                let start = i * BLOCK + bit;
                let behind = block.ends >> bit >> 1;
                let length = if behind != 0 {
                    1 + behind.trailing_zeros() as usize
                } else {
                    BLOCK - bit + next.ends.trailing_zeros() as usize
                };
                // What stands behind the block's edge was not seen when its words were told.
                if bit < BLOCK - 2 || is_word(&self.padded, start, start + length) {
                    word(&self.padded, start, start + length);
                }
            }
        }
    }

    fn classify(&mut self, text: &[u8]) {
        let blocks = text.len().div_ceil(BLOCK);
        self.padded.clear();
        self.padded.extend_from_slice(text);
        self.padded.resize((blocks + 1) * BLOCK, 0);
        self.blocks.clear();
        let (mut braces, mut encoded) = (u8x16::ZERO, u8x16::ZERO);
        let mut edge = Edge::default();
        let parts = &self.padded.as_chunks::<BLOCK>().0[..blocks];
        let mut parts = parts.iter();
        if let Some(part) = parts.next() {
            let mut bits = Bits::of(part, &mut braces, &mut encoded);
            for part in parts {
                let next = Bits::of(part, &mut braces, &mut encoded);
                self.blocks.push(edge.block(&bits, &next));
                bits = next;
            }
            self.blocks.push(edge.block(&bits, &Bits::default()));
        }
        self.blocks.push(Block { ends: u64::MAX, ..Block::default() });
        (self.braces, self.encoded) = (braces.to_bitmask() != 0, encoded.to_bitmask() != 0);
    }

    /// The run around the digit at this bit of a block, which is its first.
    #[inline]
    fn run(&self, block: usize, bit: usize) -> Run {
        let Block { runs, digits, .. } = self.blocks[block];
        let digit = block * BLOCK + bit;
        let before = (runs << (LAST - bit)).leading_ones() as usize - 1;
        let length = (!(runs >> bit)).trailing_zeros() as usize;
        let pure = before == 0 && (!(digits >> bit)).trailing_zeros() as usize >= length;
        let crosses = before == bit && block > 0 && self.blocks[block - 1].runs >> LAST != 0
            || bit + length == BLOCK && self.blocks[block + 1].runs & 1 != 0;
        if crosses {
            return self.long_run(digit);
        }
        Run { start: (digit - before) as u32, end: (digit + length) as u32, pure }
    }

    /// The same for a run that goes over the edge of a block.
    #[cold]
    fn long_run(&self, digit: usize) -> Run {
        let others = self.padded[..digit].iter().rev().take_while(|b| is_run(**b)).count();
        let (start, end) = (digit - others, self.run_end(digit));
        let pure = self.padded[start..end].iter().all(u8::is_ascii_digit);
        Run { start: start as u32, end: end as u32, pure }
    }

    /// Where the run ends that holds the byte before `at`.
    fn run_end(&self, at: usize) -> usize {
        let (mut block, bit) = (at / BLOCK, at % BLOCK);
        let mut length = (!(self.blocks[block].runs >> bit)).trailing_zeros() as usize;
        if bit + length < BLOCK {
            return at + length;
        }
        loop {
            block += 1;
            length = self.blocks[block].runs.trailing_ones() as usize;
            if length < BLOCK {
                return block * BLOCK + length;
            }
        }
    }
}

/// Whether letters that begin at an edge between words are a word: not one letter, nor two beside a digit.
fn is_word(padded: &[u8], start: usize, end: usize) -> bool {
    let before = start > 0 && padded[start - 1].is_ascii_digit();
    end - start > 2 || end - start == 2 && !before && !padded[end].is_ascii_digit()
}

/// Whether a byte can be part of a run.
pub(crate) fn is_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The places of the ones in a block, from the lowest.
struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let place = (self.0 != 0).then_some(self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

/// Which bytes of one block are what.
#[derive(Clone, Copy, Default)]
struct Bits {
    letters: u64,
    capitals: u64,
    digits: u64,
    dashes: u64,
    ats: u64,
    colons: u64,
    slashes: u64,
}

impl Bits {
    /// `braces` and `encoded` get a high bit where they are seen: `{`; `%`, `&`, `\` and everything outside ASCII.
    #[inline]
    fn of(bytes: &[u8; BLOCK], braces: &mut u8x16, encoded: &mut u8x16) -> Bits {
        let mut bits = Bits::default();
        for (i, part) in bytes.as_chunks::<LANES>().0.iter().enumerate() {
            let lanes = Lanes(u8x16::new(*part));
            let at = i * LANES;
            let letters = lanes.small().within(b'a', b'z');
            // Of a letter the bit for small ones, made the highest.
            let twice = lanes.0 + lanes.0;
            let small = mask(twice + twice);
            let letters = mask(letters);
            bits.letters |= letters << at;
            bits.capitals |= (letters & !small) << at;
            bits.digits |= mask(lanes.within(b'0', b'9')) << at;
            bits.dashes |= mask(lanes.is(b'-') | lanes.is(b'_')) << at;
            bits.ats |= mask(lanes.is(b'@')) << at;
            bits.colons |= mask(lanes.is(b':')) << at;
            bits.slashes |= mask(lanes.is(b'/')) << at;
            *braces |= lanes.is(b'{');
            *encoded |= lanes.within(b'%', b'&') | lanes.is(b'\\') | lanes.0;
        }
        bits
    }

    fn runs(&self) -> u64 {
        self.letters | self.digits | self.dashes
    }
}

/// What the last byte of the block before was, as the lowest bit.
#[derive(Default)]
struct Edge {
    letter: u64,
    capital: u64,
    digit: u64,
    run: u64,
    /// Whether a run without a digit goes on.
    carry: bool,
}

impl Edge {
    /// Describes a block, `next` being the one behind it.
    #[inline]
    fn block(&mut self, bits: &Bits, next: &Bits) -> Block {
        let Bits { letters, capitals, digits, .. } = *bits;
        // A word begins where letters begin, at a capital after a small letter (`userName`), and at the last of
        // several capitals before a small letter (`HTTPHost`).
        let small = letters & !capitals;
        let small_next = small >> 1 | (next.letters & !next.capitals) << LAST;
        let small_before = small << 1 | self.letter & !self.capital;
        let capital_before = capitals << 1 | self.capital;
        let starts =
            letters & !(letters << 1 | self.letter) | capitals & (small_before | capital_before & small_next);
        let ends = starts | !letters;
        // Single letters are no words to look up, and two beside a digit are none: ids are made of these.
        let beside_digit = digits << 1 | self.digit | digits >> 2;
        let words = starts & !(ends >> 1 | ends >> 2 & beside_digit);

        let runs = bits.runs();
        let run_starts = runs & !(runs << 1 | self.run);
        let both = u128::from(runs) | u128::from(next.runs()) << BLOCK;
        let two = both & both >> 1;
        let four = two & two >> 2;
        let twelve = four & four >> 4 & four >> 8;
        // Adding a run's first bit to its bits makes them carry up to the first that is missing: that is its first
        // digit, or the end if it has none.
        let others = runs & !digits;
        let (sum, over) = others.overflowing_add(run_starts & others);
        let (sum, over_again) = sum.overflowing_add(u64::from(self.carry));
        let slashes = bits.slashes;
        let two_slashes = (slashes >> 1 | next.slashes << LAST) & (slashes >> 2 | next.slashes << (LAST - 1));

        *self = Edge {
            letter: letters >> LAST,
            capital: capitals >> LAST,
            digit: digits >> LAST,
            run: runs >> LAST,
            carry: over | over_again,
        };
        Block {
            runs,
            digits,
            ats: bits.ats,
            schemes: bits.colons & two_slashes,
            words,
            ends,
            numbers: digits & (run_starts | sum & !others),
            long: run_starts & twelve as u64,
        }
    }
}

/// Bytes that are compared at once.
const LANES: usize = 16;

/// Sixteen bytes. Every question gives a byte of ones or zeros for each.
#[derive(Clone, Copy)]
struct Lanes(u8x16);

impl Lanes {
    /// With capitals made small; other bytes may change too.
    #[inline]
    fn small(self) -> Lanes {
        Lanes(self.0 | u8x16::splat(0x20))
    }

    #[inline]
    fn is(self, byte: u8) -> u8x16 {
        self.0.simd_eq(u8x16::splat(byte))
    }

    #[inline]
    fn within(self, first: u8, last: u8) -> u8x16 {
        let from_first = self.0 - u8x16::splat(first);
        from_first.simd_eq(from_first.min(u8x16::splat(last - first)))
    }
}

/// The highest bit of each byte.
#[inline]
fn mask(lanes: u8x16) -> u64 {
    u64::from(lanes.to_bitmask())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str) -> Classes {
        let mut classes = Classes::default();
        classes.read(text.as_bytes());
        classes
    }

    #[test]
    fn words_begin_at_letters_and_at_changes_of_case() {
        let words = |text: &str| {
            let mut words = Vec::new();
            classes(text).each_word(|_, start, end| words.push(&text[start..end]));
            words.join(" ")
        };
        assert_eq!(words("userName HTTPHost x-a1bb2 é"), "user Name HTTP Host");
        assert_eq!(words(&format!("{}abcDef", "-".repeat(61))), "abc Def", "over the edge of a block");
        assert_eq!(words(&format!("{}ABc", "-".repeat(61))), "Bc");
        for before in 0..130 {
            let text = format!("{}ab 1ab ab1 a abc A bC", " ".repeat(before));
            assert_eq!(words(&text), "ab abc", "{before}");
        }
        assert_eq!(words(""), "");
        assert_eq!(words(&"a".repeat(64)), "a".repeat(64));
        assert_eq!(words("`a[@Az{Z]"), "Az", "the neighbours of letters are none");
    }

    #[test]
    fn runs_are_found_at_every_place() {
        for before in 0..130 {
            for length in [1, 2, 11, 12, 63, 64, 65, 200] {
                let text = format!("{}{} {}", " ".repeat(before), "a".repeat(length), "7".repeat(length));
                let second = before + length + 1;
                let place = |at: usize| (at as u32, (at + length) as u32);
                let (start, end) = place(second);
                assert_eq!(classes(&text).numbers, [Run { start, end, pure: true }]);
                let both = [place(before), place(second)];
                assert_eq!(classes(&text).long, if length < LONG { &both[..0] } else { &both[..] });
            }
            for (first, digits) in [("a", 1), ("a_-b", 2), ("", 3), (&*"x".repeat(70), 4)] {
                let run = format!("{first}{}z", "7".repeat(digits));
                let text = format!("{}{run}, ab-c {run}", " ".repeat(before));
                let second = before + run.len() + 7;
                let want = [before, second].map(|start| Run {
                    start: start as u32,
                    end: (start + run.len()) as u32,
                    pure: false,
                });
                assert_eq!(classes(&text).numbers, want);
            }
        }
    }

    #[test]
    fn marks_are_seen_anywhere() {
        assert_eq!(classes(&format!("{}@b@", "x".repeat(63))).ats, [63, 65]);
        for before in 0..70u32 {
            let text = format!("{}://x:/ //", " ".repeat(before as usize));
            assert_eq!(classes(&text).schemes, [before]);
        }
        assert!(classes("a{").braces && !classes("a").braces);
        assert!(["%", "\\", "&", "é"].iter().all(|t| classes(t).encoded) && !classes("a{@").encoded);
    }
}
