//! Every text of a file, whatever the file is: for whoever looks for what should not be there.
//!
//! Parquet of any schema, journal segments, NDJSON, logs and other text, and the printable runs of anything
//! else; gzip and zstd are read through. Memory is bounded by a batch of rows, a frame, or a piece of a line.

mod columns;
mod json;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::DatasetError;
use crate::frame::{self, Damage, HEADER_BYTES};

/// A text and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The row, line or byte.
    pub place: Place,
    /// The column, or the path of the value in a JSON object; empty if there is none.
    pub column: &'a str,
    /// The name that says what the text is: an attribute's, a column's, or a key's of a JSON object.
    pub key: Option<&'a str>,
    /// The text.
    pub text: &'a str,
    /// Whether the file holds calls in lapwing's own columns.
    pub of_calls: bool,
}

/// Where in a file a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Row of a table, counted from 0.
    Row(u64),
    /// Line of a text, counted from 1.
    Line(u64),
    /// First byte of a printable run, counted from 0.
    Byte(u64),
}

/// Takes texts, and how many bytes of the file have been read.
pub trait Taker {
    /// Takes one text.
    fn text(&mut self, text: Text<'_>);
    /// Is told that about `bytes` of the file have been read.
    fn progress(&mut self, bytes: u64);
}

/// A longer line is taken in pieces of this many bytes, which overlap.
const PIECE_BYTES: usize = 32 << 10;
/// Bytes by which pieces overlap: a value and the words before it that speak for it.
const OVERLAP_BYTES: usize = 1 << 10;
/// The shortest printable run of a binary file that is taken.
const RUN_BYTES: usize = 6;
/// Bytes by which a file is told to be text or not.
const HEAD_BYTES: usize = 8 << 10;

/// Gives every text of the file to `taker`.
///
/// # Errors
/// [`DatasetError`] if the file cannot be read or is damaged; what was read before has been taken.
pub fn read_texts(path: &Path, taker: &mut dyn Taker) -> Result<(), DatasetError> {
    let wrong = |reason: String| DatasetError { path: path.to_owned(), reason };
    let mut read = || -> Result<(), Box<dyn std::error::Error>> {
        let mut file = File::open(path)?;
        let mut magic = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut magic)?;
        file.rewind()?;
        match magic.as_slice() {
            b"PAR1" => columns::parquet(file, taker),
            m if m == frame::MAGIC => segment(file, taker),
            [0x1f, 0x8b, ..] => {
                lines(BufReader::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))), taker)
            }
            [0x28, 0xb5, 0x2f, 0xfd] => lines(BufReader::new(zstd::stream::read::Decoder::new(file)?), taker),
            _ => lines(BufReader::new(file), taker),
        }
    };
    read().map_err(|e| wrong(e.to_string()))
}

/// A segment of the journal. One that is cut short is whole up to there: it is being written.
fn segment(file: File, taker: &mut dyn Taker) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = BufReader::new(file);
    let (mut at, mut row) = (0, 0);
    loop {
        let mut bytes = vec![0; HEADER_BYTES];
        if let Err(error) = file.read_exact(&mut bytes) {
            let ended = error.kind() == std::io::ErrorKind::UnexpectedEof;
            return if ended { Ok(()) } else { Err(error.into()) };
        }
        let damaged = |damage: Damage| format!("damaged at byte {at}: {damage}");
        let length = frame::header(&bytes).map_err(damaged)?.payload_bytes;
        let read = file.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        if read < length {
            return Ok(());
        }
        let (_, calls) = frame::decode(&bytes).map_err(damaged)?;
        columns::batch(calls.batch(), row, true, taker);
        row += calls.len() as u64;
        at += bytes.len() as u64;
        taker.progress(at);
    }
}

/// Text by the line; NDJSON by the value. What holds zero bytes is taken by its printable runs.
fn lines(mut input: impl BufRead, taker: &mut dyn Taker) -> Result<(), Box<dyn std::error::Error>> {
    let is_binary = input.fill_buf()?.iter().take(HEAD_BYTES).any(|b| *b == 0);
    if is_binary {
        return runs(input, taker);
    }
    let (mut line, mut at, mut number) = (Vec::new(), 0, 1);
    loop {
        let room = (PIECE_BYTES - line.len()) as u64;
        let read = input.by_ref().take(room).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(()); // What is left of the line was the end of a piece that has been taken.
        }
        at += read;
        let ended = read < room || line.ends_with(b"\n");
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        let place = Place::Line(number);
        if !ended || !json::values(text, place, taker) {
            taker.text(Text { place, column: "", key: None, text, of_calls: false });
        }
        taker.progress(at);
        if ended {
            number += 1;
            line.clear();
        } else {
            line.drain(..line.len() - OVERLAP_BYTES);
        }
    }
}

fn runs(mut input: impl BufRead, taker: &mut dyn Taker) -> Result<(), Box<dyn std::error::Error>> {
    let (mut run, mut at) = (Vec::new(), 0u64);
    loop {
        let bytes = input.fill_buf()?;
        let length = bytes.len();
        for (i, byte) in bytes.iter().enumerate() {
            if (b' '..0x7f).contains(byte) || *byte >= 0x80 || *byte == b'\t' {
                run.push(*byte);
            } else {
                give(&run, at + i as u64, taker);
                run.clear();
            }
            if run.len() >= PIECE_BYTES {
                give(&run, at + i as u64 + 1, taker);
                run.drain(..run.len() - OVERLAP_BYTES);
            }
        }
        at += length as u64;
        input.consume(length);
        taker.progress(at);
        if length == 0 {
            give(&run, at, taker);
            return Ok(());
        }
    }
}

/// Gives the parts of a run, which ended before byte `end`, that are UTF-8.
fn give(run: &[u8], end: u64, taker: &mut dyn Taker) {
    let mut at = end - run.len() as u64;
    for chunk in run.utf8_chunks() {
        if chunk.valid().len() >= RUN_BYTES {
            taker.text(Text {
                place: Place::Byte(at),
                column: "",
                key: None,
                text: chunk.valid(),
                of_calls: false,
            });
        }
        at += (chunk.valid().len() + chunk.invalid().len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Taken(Vec<(Place, String, String, String)>);

    impl Taker for Taken {
        fn text(&mut self, text: Text<'_>) {
            let key = text.key.unwrap_or_default().to_owned();
            self.0.push((text.place, text.column.to_owned(), key, text.text.to_owned()));
        }
        fn progress(&mut self, _: u64) {}
    }

    fn texts(bytes: &[u8]) -> Vec<(Place, String, String, String)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut taken = Taken::default();
        read_texts(file.path(), &mut taken).unwrap();
        taken.0
    }

    fn given(place: Place, column: &str, key: &str, text: &str) -> (Place, String, String, String) {
        (place, column.into(), key.into(), text.into())
    }

    #[test]
    fn lines_and_json_are_told_apart_line_by_line() {
        let line = |n, text| given(Place::Line(n), "", "", text);
        assert_eq!(texts(b"one\r\n\ntwo"), [line(1, "one"), line(2, ""), line(3, "two")]);
        assert_eq!(
            texts(b"{\"a\":{\"b\":[\"x\",7]},\"key\":\"user.email\",\"value\":{\"stringValue\":\"y\"}}\n{broken\n"),
            [
                given(Place::Line(1), "a.b", "b", "x"),
                given(Place::Line(1), "a.b", "b", "7"),
                given(Place::Line(1), "key", "key", "user.email"),
                given(Place::Line(1), "value.stringValue", "user.email", "y"),
                line(2, "{broken"),
            ]
        );
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_overlap() {
        let mut long = vec![b'x'; 3 * PIECE_BYTES];
        long[PIECE_BYTES - 5..PIECE_BYTES + 5].copy_from_slice(b"0123456789");
        let pieces = texts(&long);
        assert!(pieces.len() > 3 && pieces.iter().all(|p| p.0 == Place::Line(1) && p.3.len() <= PIECE_BYTES));
        assert!(pieces.iter().any(|p| p.3.contains("0123456789")));
    }

    #[test]
    fn compressed_and_binary_files_are_read_through() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, b"one\ntwo\n").unwrap();
        assert_eq!(texts(&gz.finish().unwrap()).len(), 2);
        assert_eq!(texts(&zstd::encode_all(&b"one\ntwo\n"[..], 1).unwrap()).len(), 2);
        let runs = texts(b"\0\x01abc\0a readable run\xff\xfe and more\x02");
        assert_eq!(
            runs,
            [given(Place::Byte(6), "", "", "a readable run"), given(Place::Byte(22), "", "", " and more")]
        );
    }
}
