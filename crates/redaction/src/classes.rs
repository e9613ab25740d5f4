//! Which bytes of a text are letters, capitals, digits and so on: a bit a byte, 64 bytes a block.
//!
//! Runs and words are then found by counting zeros. A loop over bytes mispredicts one branch at the end of every
//! word, and words have six letters on average: that, not the bytes, is what a walk over text costs.

use wide::u8x16;

use crate::numbers::is_run;

/// Bytes that one block describes.
const BLOCK: usize = 64;

/// The shortest run that can be a token, or text in base64 or hexadecimal digits.
pub(crate) const LONG: usize = 12;

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
    /// First letters of words that are looked up.
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
    /// Whether `{` is in the text.
    pub(crate) braces: bool,
    /// Whether `%`, `\`, `&` or anything outside ASCII is in the text.
    pub(crate) encoded: bool,
}

impl Classes {
    /// Reads `text`.
    pub(crate) fn read(&mut self, text: &[u8]) {
        let blocks = text.len().div_ceil(BLOCK);
        self.padded.clear();
        self.padded.extend_from_slice(text);
        self.padded.resize((blocks + 1) * BLOCK, 0);
        self.blocks.clear();
        let (mut braces, mut encoded) = (0, 0);
        let mut edge = Edge::default();
        let mut parts = self.padded.as_chunks::<BLOCK>().0[..blocks].iter();
        let mut next = parts.next().map_or(Bits::default(), Bits::of);
        for _ in 0..blocks {
            let bits = next;
            next = parts.next().map_or(Bits::default(), Bits::of);
            braces |= bits.braces;
            encoded |= bits.encoded;
            self.blocks.push(edge.block(&bits, &next));
        }
        self.blocks.push(Block { ends: u64::MAX, ..Block::default() });
        (self.braces, self.encoded) = (braces != 0, encoded != 0);
    }

    /// The text with zeros behind it.
    pub(crate) fn padded(&self) -> &[u8] {
        &self.padded
    }

    /// The runs of letters, digits, `-` and `_` with a digit, in order: where each begins and ends, and its digits.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.places(|b| b.numbers).map(|digit| {
            let length = self.window_before(digit).leading_ones() as usize;
            let (mut start, mut end, mut digits) = (digit - length, digit, 0);
            if length == BLOCK {
                let others = self.padded[..start].iter().rev().take_while(|b| is_run(**b));
                start -= others.count();
            }
            loop {
                let length = (!self.window(end, |b| b.runs)).trailing_zeros();
                let inside = !u64::MAX.checked_shl(length).unwrap_or(0);
                digits += (self.window(end, |b| b.digits) & inside).count_ones() as usize;
                end += length as usize;
                if length < BLOCK as u32 {
                    return (start, end, digits);
                }
            }
        })
    }

    /// The runs of at least [`LONG`] bytes, in order: where each begins and ends.
    pub(crate) fn long(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.places(|b| b.long).map(|start| {
            let mut end = start + LONG;
            loop {
                let length = (!self.window(end, |b| b.runs)).trailing_zeros();
                end += length as usize;
                if length < BLOCK as u32 {
                    return (start, end);
                }
            }
        })
    }

    /// Where each `://` stands.
    pub(crate) fn schemes(&self) -> impl Iterator<Item = usize> + '_ {
        self.places(|b| b.schemes)
    }

    /// Gives the words of at least two letters, in order: where each begins and ends. One of more than 64 letters
    /// ends anywhere.
    #[inline]
    pub(crate) fn each_word(&self, mut word: impl FnMut(usize, usize)) {
        for (i, [block, next]) in self.blocks.array_windows().enumerate() {
            let mut rest = block.words;
            while rest != 0 {
                let first = rest.trailing_zeros();
                rest &= rest - 1;
                let behind = (block.ends >> first) >> 1;
                let length = if behind == 0 {
                    BLOCK as u32 - first + next.ends.trailing_zeros()
                } else {
                    1 + behind.trailing_zeros()
                };
                let start = i * BLOCK + first as usize;
                word(start, start + length as usize);
            }
        }
    }

    /// Where each `@` stands.
    pub(crate) fn ats(&self) -> impl Iterator<Item = usize> + '_ {
        self.places(|b| b.ats)
    }

    /// The places of a class, in order.
    #[inline]
    fn places<'a>(&'a self, class: impl Fn(&Block) -> u64 + 'a) -> impl Iterator<Item = usize> + 'a {
        let (mut block, mut rest) = (0, self.blocks.first().map_or(0, &class));
        std::iter::from_fn(move || {
            while rest == 0 {
                block += 1;
                rest = class(self.blocks.get(block)?);
            }
            let place = block * BLOCK + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(place)
        })
    }

    /// Which of the 64 bytes before `at` are part of runs; the highest bit is the last byte.
    #[inline]
    fn window_before(&self, at: usize) -> u64 {
        let (block, shift) = (at / BLOCK, at % BLOCK);
        let previous = if block > 0 { self.blocks[block - 1].runs } else { 0 };
        let bits = self.blocks.get(block).map_or(0, |b| b.runs);
        (bits << (BLOCK - 1 - shift)) << 1 | previous >> shift
    }

    /// The bits of a class for the 64 bytes from `at` on; zeros behind the last block.
    #[inline]
    fn window(&self, at: usize, class: impl Fn(&Block) -> u64) -> u64 {
        let (block, shift) = (at / BLOCK, at % BLOCK);
        let bits = |i: usize| self.blocks.get(i).map_or(0, &class);
        bits(block) >> shift | (bits(block + 1) << 1) << (BLOCK - 1 - shift)
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
    braces: u64,
    /// `%`, `&`, `\` and everything outside ASCII.
    encoded: u64,
}

impl Bits {
    fn of(bytes: &[u8; BLOCK]) -> Bits {
        let mut bits = Bits::default();
        for (i, part) in bytes.as_chunks::<LANES>().0.iter().enumerate() {
            let lanes = Lanes(u8x16::new(*part));
            let at = i * LANES;
            let letters = lanes.small().within(b'a', b'z');
            bits.letters |= letters << at;
            bits.capitals |= (letters & lanes.within(b'A', b'Z')) << at;
            bits.digits |= lanes.within(b'0', b'9') << at;
            bits.dashes |= (lanes.is(b'-') | lanes.is(b'_')) << at;
            bits.ats |= lanes.is(b'@') << at;
            bits.colons |= lanes.is(b':') << at;
            bits.slashes |= lanes.is(b'/') << at;
            bits.braces |= lanes.is(b'{');
            bits.encoded |= lanes.within(b'%', b'&') | lanes.is(b'\\') | lanes.within(0x80, 0xff);
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
    letter: u128,
    capital: u128,
    digit: u128,
    run: u128,
    /// Whether a run without a digit goes on.
    carry: bool,
}

impl Edge {
    /// Describes a block, `next` being the one behind it.
    fn block(&mut self, bits: &Bits, next: &Bits) -> Block {
        // Two blocks at once, so that what stands behind the edge is seen; of the result the first one counts.
        let both = |bits: u64, next: u64| u128::from(bits) | u128::from(next) << BLOCK;
        let letters = both(bits.letters, next.letters);
        let capitals = both(bits.capitals, next.capitals);
        let digits = both(bits.digits, next.digits);
        let runs = both(bits.runs(), next.runs());
        let slashes = both(bits.slashes, next.slashes);

        // A word begins where letters begin, at a capital after a small letter (`userName`), and at the last of
        // several capitals before a small letter (`HTTPHost`).
        let small = letters & !capitals;
        let small_before = small << 1 | self.letter & !self.capital;
        let capital_before = capitals << 1 | self.capital;
        let starts =
            letters & !(letters << 1 | self.letter) | capitals & (small_before | capital_before & small >> 1);
        let ends = starts | !letters;
        // Single letters are no words to look up, and two beside a digit are none: ids are made of these.
        let beside_digit = digits << 1 | self.digit | digits >> 2;
        let words = starts & !(ends >> 1 | ends >> 2 & beside_digit);

        let run_starts = runs & !(runs << 1 | self.run);
        let two = runs & runs >> 1;
        let four = two & two >> 2;
        let twelve = four & four >> 4 & four >> 8;
        // Adding a run's first bit to its bits makes them carry up to the first that is missing: that is its first
        // digit, or the end if it has none.
        let (first, others) = (run_starts as u64, bits.runs() & !bits.digits);
        let (sum, over) = others.overflowing_add(first & others);
        let (sum, over_again) = sum.overflowing_add(u64::from(self.carry));

        *self = Edge {
            letter: u128::from(bits.letters >> 63),
            capital: u128::from(bits.capitals >> 63),
            digit: u128::from(bits.digits >> 63),
            run: u128::from(bits.runs() >> 63),
            carry: over | over_again,
        };
        Block {
            runs: bits.runs(),
            digits: bits.digits,
            ats: bits.ats,
            schemes: bits.colons & (slashes >> 1 & slashes >> 2) as u64,
            words: words as u64,
            ends: ends as u64,
            numbers: bits.digits & (first | sum & !others),
            long: (run_starts & twelve) as u64,
        }
    }
}

/// Bytes that are compared at once.
const LANES: usize = 16;

/// Sixteen bytes. Every question gives a bit for each byte.
#[derive(Clone, Copy)]
struct Lanes(u8x16);

impl Lanes {
    /// With capitals made small; other bytes may change too.
    fn small(self) -> Lanes {
        Lanes(self.0 | u8x16::splat(0x20))
    }

    fn is(self, byte: u8) -> u64 {
        u64::from(self.0.simd_eq(u8x16::splat(byte)).to_bitmask())
    }

    fn within(self, first: u8, last: u8) -> u64 {
        let from_first = self.0 - u8x16::splat(first);
        u64::from(from_first.simd_eq(from_first.min(u8x16::splat(last - first))).to_bitmask())
    }
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
            classes(text).each_word(|start, end| words.push(&text[start..end]));
            words.join(" ")
        };
        assert_eq!(words("userName HTTPHost x-a1bb2 é"), "user Name HTTP Host");
        assert_eq!(words(&format!("{}abcDef", "-".repeat(61))), "abc Def", "over the edge of a block");
        assert_eq!(words(&format!("{}ABc", "-".repeat(61))), "Bc");
        assert_eq!(words(""), "");
        assert_eq!(words(&"a".repeat(64)), "a".repeat(64));
        assert_eq!(words("`a[@Az{Z]"), "Az", "the neighbours of letters are none");
    }

    #[test]
    fn runs_are_found_at_every_place() {
        for before in 0..130 {
            for length in [1, 2, 11, 12, 63, 64, 65, 200] {
                let text = format!("{}{} {}", " ".repeat(before), "a".repeat(length), "7".repeat(length));
                let found: Vec<_> = classes(&text).numbers().collect();
                let second = before + length + 1;
                assert_eq!(found, [(second, second + length, length)]);
                let long: Vec<_> = classes(&text).long().collect();
                let both = [(before, before + length), (second, second + length)];
                assert_eq!(long, if length < LONG { &both[..0] } else { &both[..] });
            }
            for (first, digits) in [("a", 1), ("a_-b", 2), ("", 3), (&*"x".repeat(70), 4)] {
                let run = format!("{first}{}z", "7".repeat(digits));
                let text = format!("{}{run}, ab-c {run}", " ".repeat(before));
                let second = before + run.len() + 7;
                let want = [before, second].map(|start| (start, start + run.len(), digits));
                assert_eq!(classes(&text).numbers().collect::<Vec<_>>(), want);
            }
        }
    }

    #[test]
    fn marks_are_seen_anywhere() {
        assert_eq!(classes(&format!("{}@b@", "x".repeat(63))).ats().collect::<Vec<_>>(), [63, 65]);
        for before in 0..70 {
            let text = format!("{}://x:/ //", " ".repeat(before));
            assert_eq!(classes(&text).schemes().collect::<Vec<_>>(), [before]);
        }
        assert!(classes("a{").braces && !classes("a").braces);
        assert!(["%", "\\", "&", "é"].iter().all(|t| classes(t).encoded) && !classes("a{@").encoded);
    }
}
