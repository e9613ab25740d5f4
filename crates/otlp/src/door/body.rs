//! Reading a body: frame by frame, inside the limits, without copying where it can be avoided.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use super::Shared;
use super::admission::Ticket;
use super::inflate::{Compression, Corrupt, Inflater};
use super::refusal::{Refusal, Refused};

/// Returns the body's next non-empty piece, or `None` at its end.
pub(super) async fn next_piece<B>(
    body: &mut B,
    shared: &Shared,
    deadline: Instant,
) -> Result<Option<Bytes>, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let until = deadline.min(Instant::now() + shared.settings.body_idle_timeout);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => frame,
            // Late, or the connection broke: whoever still listens should try again.
            Ok(Some(Err(_))) | Err(_) => {
                return Err(shared.busy(Refusal::BodyStalled, "the request body stopped arriving"));
            }
        };
        // A frame without data carries trailers, which OTLP does not use.
        if let Ok(piece) = frame.into_data()
            && !piece.is_empty()
        {
            shared.stats.wire_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            return Ok(Some(piece));
        }
    }
}

/// A body as it grows: every byte it occupies is covered by its ticket first.
pub(super) struct Gathering<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    n_wire: usize,
    form: Form,
}

enum Form {
    /// As it arrived. `declared` bytes are covered already.
    Plain { declared: usize, bytes: Plain },
    /// Decompressed up to here.
    Inflating { inflater: Box<Inflater>, output: Vec<u8>, n_since_pause: usize },
}

enum Plain {
    /// Nothing, or a single piece, shared with the connection's read buffer.
    One(Bytes),
    /// Pieces copied together.
    Joined(Vec<u8>),
}

impl<'a> Gathering<'a> {
    /// Begins a body of `declared` bytes on the wire, zero if that is unknown.
    pub(super) fn begin(
        shared: &'a Shared,
        mut ticket: Ticket,
        declared: u64,
        compression: Option<Compression>,
    ) -> Result<Gathering<'a>, Refused> {
        // Compression that makes a body longer is no reason to read more than a body may have.
        if declared > shared.settings.max_request_bytes as u64 {
            return Err(too_large(shared));
        }
        let declared = declared as usize;
        ticket.cover(declared, &shared.settings)?;
        let form = match compression {
            None => Form::Plain { declared, bytes: Plain::One(Bytes::new()) },
            Some(compression) => {
                let inflater = Box::new(Inflater::new(compression)?);
                Form::Inflating { inflater, output: Vec::new(), n_since_pause: 0 }
            }
        };
        Ok(Gathering { shared, ticket, n_wire: 0, form })
    }

    /// Appends a piece of the wire form.
    pub(super) async fn push(&mut self, piece: Bytes) -> Result<(), Refused> {
        // Compressed bytes that inflate to nothing must end somewhere, too.
        self.n_wire += piece.len();
        if self.n_wire > self.shared.settings.max_request_bytes {
            return Err(too_large(self.shared));
        }
        match &mut self.form {
            Form::Plain { declared, bytes } => {
                push_plain(self.shared, &mut self.ticket, *declared, bytes, piece)
            }
            Form::Inflating { inflater, output, n_since_pause } => {
                for part in piece.chunks(INFLATE_STEP_BYTES) {
                    let before = output.len();
                    inflate(self.shared, &mut self.ticket, inflater, part, output)?;
                    *n_since_pause += output.len() - before;
                    if *n_since_pause >= PAUSE_AFTER_BYTES {
                        *n_since_pause = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            }
        }
    }

    /// Ends the body and hands it over with its ticket.
    pub(super) fn finish(self) -> Result<(Bytes, Ticket), Refused> {
        let Gathering { shared, mut ticket, form, .. } = self;
        let (occupied, body) = match form {
            Form::Plain { bytes: Plain::One(piece), .. } => (piece.len(), piece),
            Form::Plain { bytes: Plain::Joined(bytes), .. } => (bytes.capacity(), Bytes::from(bytes)),
            Form::Inflating { inflater, output, .. } if inflater.is_whole() => {
                (output.capacity(), Bytes::from(output))
            }
            Form::Inflating { .. } => return Err(Corrupt.into()),
        };
        ticket.settle(occupied);
        shared.stats.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok((body, ticket))
    }
}

fn push_plain(
    shared: &Shared,
    ticket: &mut Ticket,
    declared: usize,
    bytes: &mut Plain,
    piece: Bytes,
) -> Result<(), Refused> {
    let (n_before, capacity) = match bytes {
        Plain::One(first) => (first.len(), first.len()),
        Plain::Joined(joined) => (joined.len(), joined.capacity()),
    };
    let needed = n_before + piece.len();
    if n_before == 0 {
        ticket.cover(needed, &shared.settings)?;
        *bytes = Plain::One(piece);
        return Ok(());
    }
    if needed > capacity {
        let wanted = needed.max(declared).max((2 * capacity).min(shared.settings.max_request_bytes));
        ticket.cover(wanted, &shared.settings)?;
        match bytes {
            Plain::Joined(joined) => joined.reserve_exact(wanted - joined.len()),
            Plain::One(first) => {
                let mut joined = Vec::with_capacity(wanted);
                joined.extend_from_slice(first);
                *bytes = Plain::Joined(joined);
            }
        }
    }
    if let Plain::Joined(joined) = bytes {
        joined.extend_from_slice(&piece);
    }
    Ok(())
}

/// Inflates all of `part`, growing `output` within the limits.
fn inflate(
    shared: &Shared,
    ticket: &mut Ticket,
    inflater: &mut Inflater,
    mut part: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), Refused> {
    // One byte more than allowed, so that "exactly the limit" and "more" can be told apart.
    let most = shared.settings.max_request_bytes + 1;
    loop {
        if output.len() == output.capacity() {
            let wanted = (2 * output.capacity()).max(FIRST_OUTPUT_BYTES).min(most);
            let occupied = wanted + inflater.window_bytes(wanted);
            // A limit that fits the body but not the window must not be "busy" for ever.
            ticket.cover(occupied.min(shared.settings.max_in_flight_bytes), &shared.settings)?;
            output.reserve_exact(wanted - output.len());
        }
        inflater.step(&mut part, output)?;
        if output.len() >= most {
            return Err(too_large(shared));
        }
        if part.is_empty() && output.len() < output.capacity() {
            return Ok(());
        }
    }
}

impl From<Corrupt> for Refused {
    fn from(Corrupt: Corrupt) -> Refused {
        Refused::for_good(Refusal::Malformed, "the compressed request body is damaged or incomplete")
    }
}

fn too_large(shared: &Shared) -> Refused {
    let limit = shared.settings.max_request_bytes;
    let message =
        format!("the request is longer than {limit} bytes (max_request_bytes); send smaller batches");
    Refused::for_good(Refusal::TooLarge, message)
}

/// Reads and forgets the rest of a refused body, up to what a request may be long.
///
/// An HTTP/1 connection whose body was not read is reset, and the sender may then see a broken
/// connection instead of the answer: it would retry what was refused for good.
pub(super) async fn discard<B>(body: &mut B, shared: &Shared, deadline: Instant)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = shared.settings.max_request_bytes;
    while let Ok(Some(piece)) = next_piece(body, shared, deadline).await {
        let Some(rest) = left.checked_sub(piece.len()) else { return };
        left = rest;
    }
}

/// One step of inflation: at the usual ratio of ten to one it costs an async worker about 0.1 ms.
const INFLATE_STEP_BYTES: usize = 8 << 10;

/// Other tasks get their turn after so much output, about 0.3 ms of inflation.
const PAUSE_AFTER_BYTES: usize = 128 << 10;

/// A typical compressed request fits after one doubling.
const FIRST_OUTPUT_BYTES: usize = 64 << 10;
