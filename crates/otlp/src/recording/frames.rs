//! One file as a stream of requests, whatever its form.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::peek::Glance;
use super::{Form, RecordingError, RecordingLimits};
use crate::Encoding;

/// Where every zstd frame begins: RFC 8878, section 3.1.1.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window a stream may ask for: 2^27 bytes, what `zstd --long` writes. It bounds what a file
/// can make its reader hold.
const MAX_WINDOW_LOG: u32 = 27;

/// One request as it stands in the file.
pub(super) struct Frame {
    /// The request, uncompressed.
    pub(super) body: Bytes,
    /// Its length as written: before the request was decompressed, if it was compressed by itself.
    pub(super) stored_len: usize,
    pub(super) encoding: Encoding,
    /// What it carries.
    pub(super) glance: Glance,
}

/// Reads one request after another.
pub(super) struct FrameReader<'a> {
    content: Box<dyn BufRead + Send + 'a>,
    path: PathBuf,
    form: Form,
    limit: usize,
    /// Bytes of uncompressed content read so far.
    offset: u64,
}

impl<'a> FrameReader<'a> {
    /// Tells the form from the first bytes.
    pub(super) fn start(
        mut stored: Box<dyn BufRead + Send + 'a>,
        path: &Path,
        limits: RecordingLimits,
    ) -> Result<FrameReader<'a>, RecordingError> {
        let read = |source| RecordingError::Read { path: path.to_owned(), source };
        let inflate = |source| RecordingError::Inflate { path: path.to_owned(), offset: 0, source };
        let zstd = starts_with(&mut *stored, ZSTD_MAGIC).map_err(read)?;
        let mut content = stored;
        if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(content).map_err(inflate)?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(inflate)?;
            content = Box::new(BufReader::with_capacity(1 << 17, decoder));
        }
        let json = content.fill_buf().map_err(inflate)?.first().is_some_and(|byte| *byte == b'{');
        let form = match (json, zstd) {
            (false, false) => Form::Frames,
            (false, true) => Form::FramesInZstd,
            (true, false) => Form::JsonLines,
            (true, true) => Form::JsonLinesInZstd,
        };
        Ok(FrameReader { content, path: path.to_owned(), form, limit: limits.max_message_bytes, offset: 0 })
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The next request; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, RecordingError> {
        match self.form {
            Form::Frames | Form::FramesInZstd => self.next_framed(),
            Form::JsonLines | Form::JsonLinesInZstd => self.next_line(),
        }
    }

    fn next_framed(&mut self) -> Result<Option<Frame>, RecordingError> {
        let at = self.offset;
        let mut length = [0; 4];
        match self.fill(&mut length)? {
            0 => return Ok(None),
            4 => {}
            found => return Err(self.truncated(at, 0, found)),
        }
        let stored_len = u32::from_be_bytes(length) as usize;
        if stored_len > self.limit {
            return Err(self.too_long(at, stored_len));
        }
        // Grows with what is there, so a declared length alone costs nothing.
        let mut stored = Vec::with_capacity(stored_len.min(1 << 16));
        let found = (&mut *self.content).take(stored_len as u64).read_to_end(&mut stored);
        let found = found.map_err(|source| self.unreadable(source))?;
        if found < stored_len {
            return Err(self.truncated(at, stored_len + 4, found + 4));
        }
        self.offset += found as u64;
        let body = if stored.starts_with(&ZSTD_MAGIC) { self.inflate(at, &stored)? } else { stored };
        if body.first() != Some(&b'{') {
            let glance = Glance::at_protobuf(&body);
            return Ok(Some(Frame { body: body.into(), stored_len, encoding: Encoding::Protobuf, glance }));
        }
        match Glance::at_json(&body) {
            Some(glance) => {
                Ok(Some(Frame { body: body.into(), stored_len, encoding: Encoding::Json, glance }))
            }
            None => Err(RecordingError::NotJson { path: self.path.clone(), offset: at }),
        }
    }

    fn next_line(&mut self) -> Result<Option<Frame>, RecordingError> {
        loop {
            let at = self.offset;
            let mut line = Vec::new();
            let most = self.limit as u64 + 1;
            let found = (&mut *self.content).take(most).read_until(b'\n', &mut line);
            let found = found.map_err(|source| self.unreadable(source))?;
            self.offset += found as u64;
            if found == 0 {
                return Ok(None);
            }
            let whole = line.last() == Some(&b'\n');
            if !whole && found as u64 == most {
                return Err(self.too_long(at, found));
            }
            let body = line.trim_ascii();
            if body.is_empty() {
                continue;
            }
            let glance = if body[0] == b'{' { Glance::at_json(body) } else { None };
            return match glance {
                Some(glance) => {
                    let (stored_len, body) = (body.len(), Bytes::copy_from_slice(body));
                    Ok(Some(Frame { body, stored_len, encoding: Encoding::Json, glance }))
                }
                None if whole => Err(RecordingError::NotJson { path: self.path.clone(), offset: at }),
                None => Err(self.truncated(at, 0, found)),
            };
        }
    }

    /// Decompresses a request that was compressed by itself, never into more than the limit.
    fn inflate(&self, at: u64, stored: &[u8]) -> Result<Vec<u8>, RecordingError> {
        let damaged = |source| RecordingError::Inflate { path: self.path.clone(), offset: at, source };
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(damaged)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(damaged)?;
        let mut body = Vec::new();
        decoder.take(self.limit as u64 + 1).read_to_end(&mut body).map_err(damaged)?;
        if body.len() > self.limit {
            return Err(self.too_long(at, body.len()));
        }
        Ok(body)
    }

    /// Reads until `buffer` is full or the content ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RecordingError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.content.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.unreadable(source)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn unreadable(&self, source: io::Error) -> RecordingError {
        let path = self.path.clone();
        match self.form {
            Form::Frames | Form::JsonLines => RecordingError::Read { path, source },
            Form::FramesInZstd | Form::JsonLinesInZstd => {
                RecordingError::Inflate { path, offset: self.offset, source }
            }
        }
    }

    fn truncated(&self, offset: u64, needed: usize, found: usize) -> RecordingError {
        RecordingError::Truncated {
            path: self.path.clone(),
            offset,
            needed: needed as u64,
            found: found as u64,
        }
    }

    fn too_long(&self, offset: u64, bytes: usize) -> RecordingError {
        let (bytes, limit) = (bytes as u64, self.limit as u64);
        RecordingError::TooLong { path: self.path.clone(), offset, bytes, limit }
    }
}

fn starts_with(stored: &mut dyn BufRead, magic: [u8; 4]) -> io::Result<bool> {
    Ok(stored.fill_buf()?.starts_with(&magic))
}
