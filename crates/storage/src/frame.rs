//! A frame: one batch of calls as it lies in the journal.
//!
//! ```text
//! 0   4        8          10       12      20           28     32       36
//! LWF1 length   partition  version  offset  received_at  place  CRC-32C  Arrow IPC …
//! ```
//!
//! All integers are big-endian. `length` counts the bytes after the header; the checksum covers the header
//! up to itself and everything after it. `received_at` is the last row's, in microseconds. `place` counts
//! the frames before it that were synced with it: frames of one group may reach the disk in any order, so
//! only a frame of a later group proves that the ones before it had been durable.
//!
//! The payload is an Arrow IPC stream without its first message, the schema: that message is the same for
//! every frame of a version and would add 2.0 KiB to each. A reader puts it back in front. What remains is
//! 4.7 KB for a frame of one call, 180 B a call in frames of 128, 146 B in frames of 2 048 (calls with one
//! attribute each).

use std::io::{self, Write};
use std::sync::LazyLock;

use arrow::buffer::Buffer;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use lapwing_telemetry::calls::{SCHEMA_VERSION, schema};
use lapwing_telemetry::{Calls, EventTime, Offset, Partition, Position};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 36;
/// Largest payload that is believed; a longer one is damage.
pub const MAX_PAYLOAD_BYTES: usize = 512 << 20;

pub(crate) const MAGIC: &[u8; 4] = b"LWF1";
const CRC_AT: usize = 32;

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes after the header.
    pub payload_bytes: usize,
    /// Where the frame lies.
    pub position: Position,
    /// `received_at` of the last call.
    pub received_at: EventTime,
    /// Frames of the same group before it.
    pub place: u32,
    crc: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes end before the frame does.
    #[error("the frame is cut short")]
    Short,
    /// The magic number, version or length is wrong.
    #[error("no frame begins here")]
    NotAFrame,
    /// Written by another version of lapwing.
    #[error("the frame was written by another version of lapwing")]
    Version,
    /// The checksum does not match.
    #[error("the frame's checksum does not match")]
    Checksum,
    /// The frame is whole and does not follow the one before it.
    #[error("the frame's number is not the next one")]
    OutOfOrder,
    /// The checksum matches and still the payload is not a batch of calls.
    #[error("the frame does not hold calls")]
    NotCalls,
}

/// Appends one frame, synced by itself, to `out`.
pub fn encode(position: Position, calls: &Calls, out: &mut Vec<u8>) {
    encode_in_group(position, 0, calls, out);
}

/// Appends the frame that has `place` frames of its group before it to `out`.
pub fn encode_in_group(position: Position, place: u32, calls: &Calls, out: &mut Vec<u8>) {
    let start = out.len();
    let received_at = calls.columns().received_at().last().copied().unwrap_or_default();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&position.partition.0.to_be_bytes());
    out.extend_from_slice(&SCHEMA_VERSION.to_be_bytes());
    out.extend_from_slice(&position.offset.0.to_be_bytes());
    out.extend_from_slice(&received_at.to_be_bytes());
    out.extend_from_slice(&place.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let payload = out.len();
    write_stream(calls, AfterSchema { out, skip: SCHEMA_MESSAGE.len() });
    let length = (out.len() - payload) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    let crc = checksum(&out[start..start + CRC_AT], &out[payload..]);
    out[start + CRC_AT..payload].copy_from_slice(&crc.to_be_bytes());
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// [`Damage`]: there is none.
pub fn header(bytes: &[u8]) -> Result<Header, Damage> {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
        // A cut header is a prefix of a true one, or it is something else.
        let known = bytes.len().min(MAGIC.len());
        return Err(if bytes[..known] == MAGIC[..known] { Damage::Short } else { Damage::NotAFrame });
    };
    let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
    let payload_bytes = u32_at(4) as usize;
    if &bytes[..4] != MAGIC || payload_bytes > MAX_PAYLOAD_BYTES {
        return Err(Damage::NotAFrame);
    }
    if u16::from_be_bytes([bytes[10], bytes[11]]) != SCHEMA_VERSION {
        return Err(Damage::Version);
    }
    Ok(Header {
        payload_bytes,
        position: Position {
            partition: Partition(u16::from_be_bytes([bytes[8], bytes[9]])),
            offset: Offset(u64_at(12)),
        },
        received_at: EventTime(u64_at(20) as i64),
        place: u32_at(28),
        crc: u32_at(CRC_AT),
    })
}

/// Checks the whole frame at the start of `bytes` and gives its header; the payload follows it.
///
/// # Errors
/// [`Damage`]: it is cut short, damaged or no frame.
pub fn check(bytes: &[u8]) -> Result<Header, Damage> {
    let header = header(bytes)?;
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes).ok_or(Damage::Short)?;
    if checksum(&bytes[..CRC_AT], payload) == header.crc { Ok(header) } else { Err(Damage::Checksum) }
}

/// Decodes the frame at the start of `bytes`. The checksum guards against damage, not against malice: bytes
/// of strangers do not belong here.
///
/// # Errors
/// [`Damage`]: it is cut short, damaged, or does not hold calls.
pub fn decode(bytes: &[u8]) -> Result<(Header, Calls), Damage> {
    let header = check(bytes)?;
    let payload = &bytes[HEADER_BYTES..HEADER_BYTES + header.payload_bytes];
    // One copy, into memory aligned as Arrow wants it; the columns are slices of it.
    let mut payload = Buffer::from(payload);
    let mut decoder = StreamDecoder::new();
    let mut batch = decoder.decode(&mut Buffer::from(SCHEMA_MESSAGE.as_slice()));
    if let Ok(None) = batch {
        batch = decoder.decode(&mut payload);
    }
    let batch = batch.ok().flatten().ok_or(Damage::NotCalls)?;
    let calls = Calls::from_log(batch).map_err(|_detail| Damage::NotCalls)?;
    Ok((header, calls))
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), payload)
}

/// The schema message with which every stream of calls begins.
static SCHEMA_MESSAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    let writer = StreamWriter::try_new_with_options(&mut bytes, &schema(), options())
        .expect("a vector takes every byte");
    drop(writer);
    bytes
});

/// Buffers padded to 8 bytes, not 64: a small frame has some sixty of them (measured: frames of 8 and
/// 3 calls together take 11 KB instead of 17 KB).
fn options() -> IpcWriteOptions {
    IpcWriteOptions::try_new(8, false, MetadataVersion::V5).expect("8 is an alignment that Arrow allows")
}

fn write_stream(calls: &Calls, out: AfterSchema<'_>) {
    let written = (|| -> Result<(), arrow::error::ArrowError> {
        let mut writer = StreamWriter::try_new_with_options(out, &schema(), options())?;
        writer.write(calls.batch())?;
        writer.finish()
    })();
    written.expect("a vector takes every byte, and calls have the schema of calls");
}

/// Takes a stream without its first `skip` bytes.
struct AfterSchema<'a> {
    out: &'a mut Vec<u8>,
    skip: usize,
}

impl Write for AfterSchema<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.out.extend_from_slice(&bytes[skipped..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lapwing_telemetry::{Builders, Call, Signal};
    use proptest::prelude::*;

    /// `n` calls whose content depends on `seed`, with `received_at` growing from `seed` by one a call.
    pub(crate) fn calls(seed: i64, n: usize) -> Calls {
        let mut builders = Builders::new(1);
        for i in 0..n as i64 {
            let mut call =
                Call::new(EventTime(seed + i), EventTime(seed + i - 40), Signal::LogServer, "prod");
            let source = format!("ns/s{}", (seed + i) % 3);
            call.source = (i % 5 != 0).then_some(source.as_str());
            call.destination = Some("ns/d");
            call.status = Some(200 + (i % 3) as i16);
            call.trace_id = (i % 2 == 0).then_some(&[9; 16]);
            let value = format!("v{}", i % 7);
            builders.append(&call, [("a", value.as_str()), ("b", "1")].into_iter().take((i % 3) as usize));
        }
        let batch = builders.finish().remove(0).1.into_batch();
        Calls::from_log(batch).unwrap()
    }

    pub(crate) fn position(offset: u64) -> Position {
        Position { partition: Partition(3), offset: Offset(offset) }
    }

    /// A frame that version 1 wrote, in hexadecimal. A newer lapwing must read it, or raise the version.
    const WRITTEN_BY_VERSION_1: &str = include_str!("frame/version-1.hex");

    #[test]
    fn the_bytes_of_a_frame_never_change_within_a_version() {
        let mut bytes = Vec::new();
        encode_in_group(position(7), 2, &calls(1_000, 1), &mut bytes);
        let hex: Vec<String> = bytes
            .chunks(48)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            .collect();
        assert_eq!(hex, WRITTEN_BY_VERSION_1.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_written_by_version_1_reads_back() {
        let digits: Vec<u8> = WRITTEN_BY_VERSION_1.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let (header, read) = decode(&bytes).unwrap();
        assert_eq!((header.position, header.place), (position(7), 2));
        assert_eq!((header.received_at, read), (EventTime(1_000), calls(1_000, 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_frame_reads_back_and_every_flipped_bit_is_noticed(seed in 1i64..1000, n in 1usize..40, at in 0usize..4096, bit in 0u8..8) {
            let calls = calls(seed, n);
            let mut bytes = Vec::new();
            encode(position(seed as u64), &calls, &mut bytes);
            let (header, read) = decode(&bytes).unwrap();
            prop_assert_eq!(header.position, position(seed as u64));
            prop_assert_eq!(read, calls);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(check(&bytes).is_err(), "flipped bit {} of byte {}", bit, at);
        }

        #[test]
        fn cut_anywhere_a_frame_is_short(n in 1usize..5, cut in 0usize..4096) {
            let mut bytes = Vec::new();
            encode(position(1), &calls(1, n), &mut bytes);
            prop_assert_eq!(check(&bytes[..cut % bytes.len()]), Err(Damage::Short));
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes));
        }
    }
}
