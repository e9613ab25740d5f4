//! Decompression in small steps, as the compressed bytes arrive.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// How a body is compressed on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Reads the value of `content-encoding` or `grpc-encoding`; `Ok(None)` is none, `Err` is unknown.
    pub(super) fn parse(name: &[u8]) -> Result<Option<Compression>, ()> {
        match name.trim_ascii() {
            b"" => Ok(None),
            name if name.eq_ignore_ascii_case(b"identity") => Ok(None),
            name if name.eq_ignore_ascii_case(b"gzip") => Ok(Some(Compression::Gzip)),
            name if name.eq_ignore_ascii_case(b"zstd") => Ok(Some(Compression::Zstd)),
            _ => Err(()),
        }
    }
}

/// A decompressor that keeps its state between chunks of input.
pub(super) struct Inflater {
    engine: Engine,
    /// At a boundary: nothing has begun that has not ended.
    is_whole: bool,
}

enum Engine {
    Gzip { inflate: Decompress, n_members: u32 },
    Zstd(Decoder<'static>),
}

/// The compressed bytes are not what they claim to be, or need more memory than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

impl Inflater {
    pub(super) fn new(compression: Compression) -> Result<Inflater, Corrupt> {
        let engine = match compression {
            Compression::Gzip => {
                Engine::Gzip { inflate: Decompress::new_gzip(GZIP_WINDOW_BITS), n_members: 0 }
            }
            Compression::Zstd => {
                let mut decoder = Decoder::new().map_err(corrupt)?;
                decoder.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG)).map_err(corrupt)?;
                Engine::Zstd(decoder)
            }
        };
        Ok(Inflater { engine, is_whole: false })
    }

    /// Takes from the front of `input` and appends to `output`, within its capacity: until the input is
    /// used up or the output is full.
    pub(super) fn step(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<(), Corrupt> {
        match &mut self.engine {
            Engine::Gzip { inflate, n_members } => {
                if self.is_whole && !input.is_empty() {
                    // RFC 1952, 2.2: a gzip file is a series of members.
                    *n_members += 1;
                    if *n_members == MAX_GZIP_MEMBERS {
                        return Err(Corrupt);
                    }
                    *inflate = Decompress::new_gzip(GZIP_WINDOW_BITS);
                    self.is_whole = false;
                }
                let before = inflate.total_in();
                let status = inflate.decompress_vec(input, output, FlushDecompress::None).map_err(corrupt)?;
                *input = &input[(inflate.total_in() - before) as usize..];
                self.is_whole |= status == Status::StreamEnd;
            }
            Engine::Zstd(decoder) => {
                if self.is_whole && input.is_empty() {
                    return Ok(());
                }
                let mut from = InBuffer::around(input);
                let at = output.len();
                let mut into = OutBuffer::around_pos(output, at);
                let remaining = decoder.run(&mut from, &mut into).map_err(corrupt)?;
                let n_taken = from.pos();
                *input = &input[n_taken..];
                self.is_whole = remaining == 0;
            }
        }
        Ok(())
    }

    /// What the decompressor itself occupies beside `n_output` bytes of output: zstd copies everything
    /// it may refer back to, gzip's 32 KiB do not count.
    pub(super) fn window_bytes(&self, n_output: usize) -> usize {
        match self.engine {
            Engine::Gzip { .. } => 0,
            Engine::Zstd(_) => n_output.min(1 << MAX_ZSTD_WINDOW_LOG),
        }
    }

    /// Whether the input so far is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }
}

fn corrupt<E>(_: E) -> Corrupt {
    // The libraries' messages add nothing a sender could act on.
    Corrupt
}

/// The largest window of RFC 1951, which every gzip writer may use.
const GZIP_WINDOW_BITS: u8 = 15;

/// Senders write one member; a body of thousands of empty ones would only cost us time.
const MAX_GZIP_MEMBERS: u32 = 16;

/// 32 MiB: the window of the highest level that the Collector's zstd writer has. RFC 8878 asks
/// decoders for at least 8 MiB; the format itself would allow terabytes.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    /// Inflates with pieces of `input_step` in and room for `output_step` out.
    fn inflate(
        compression: Compression,
        input: &[u8],
        input_step: usize,
        output_step: usize,
    ) -> Result<Vec<u8>, Corrupt> {
        let mut inflater = Inflater::new(compression)?;
        let mut all = Vec::new();
        for mut piece in input.chunks(input_step) {
            loop {
                let mut output = Vec::with_capacity(output_step);
                inflater.step(&mut piece, &mut output)?;
                let is_full = output.len() == output.capacity();
                all.extend_from_slice(&output);
                if piece.is_empty() && !is_full {
                    break;
                }
            }
        }
        if inflater.is_whole() { Ok(all) } else { Err(Corrupt) }
    }

    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|n| (n % 977).to_string().into_bytes()).collect()
    }

    #[test]
    fn pieces_of_any_size_give_the_same_bytes() {
        let text = text();
        for (compression, packed) in
            [(Compression::Gzip, gzip(&text)), (Compression::Zstd, zstd::encode_all(&text[..], 3).unwrap())]
        {
            for (input_step, output_step) in [(1, 100_000), (7, 13), (4096, 8), (1 << 20, 1 << 20)] {
                let unpacked = inflate(compression, &packed, input_step, output_step);
                assert!(unpacked.as_deref() == Ok(&text[..]), "{compression:?} {input_step} {output_step}");
            }
        }
    }

    #[test]
    fn concatenated_members_and_frames_are_one_body() {
        let gzips = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(inflate(Compression::Gzip, &gzips, 5, 64).unwrap(), b"one two");
        let frames =
            [zstd::encode_all(&b"one "[..], 1).unwrap(), zstd::encode_all(&b"two"[..], 1).unwrap()].concat();
        assert_eq!(inflate(Compression::Zstd, &frames, 5, 64).unwrap(), b"one two");
    }

    #[test]
    fn a_flood_of_empty_members_is_corrupt() {
        let flood = gzip(b"").repeat(MAX_GZIP_MEMBERS as usize + 1);
        assert_eq!(inflate(Compression::Gzip, &flood, 4096, 64), Err(Corrupt));
    }

    #[test]
    fn truncated_damaged_or_foreign_bytes_are_corrupt() {
        let text = text();
        for (compression, packed) in
            [(Compression::Gzip, gzip(&text)), (Compression::Zstd, zstd::encode_all(&text[..], 3).unwrap())]
        {
            let cut = &packed[..packed.len() - 1];
            assert_eq!(inflate(compression, cut, 4096, 4096), Err(Corrupt), "{compression:?} cut");
            assert_eq!(
                inflate(compression, b"\x0a\x05hello", 4096, 64),
                Err(Corrupt),
                "{compression:?} foreign"
            );
            let tail = [&packed[..], b"junk"].concat();
            assert_eq!(inflate(compression, &tail, 4096, 4096), Err(Corrupt), "{compression:?} tail");
        }
        let mut wrong_sum = gzip(&text);
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        assert_eq!(inflate(Compression::Gzip, &wrong_sum, 4096, 4096), Err(Corrupt));
    }

    #[test]
    fn a_zstd_window_beyond_the_limit_is_corrupt() {
        // Magic, a header descriptor without content size, then a window of 2^31 (RFC 8878, 3.1.1.1.2).
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x01, 0x00, 0x00];
        assert_eq!(inflate(Compression::Zstd, &frame, 64, 64), Err(Corrupt));
    }
}
