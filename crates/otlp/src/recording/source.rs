//! The requests of one recorded file as they stand in it.

use lapwing_telemetry::EventTime;

use super::arrivals::Arrivals;
use super::frames::FrameReader;
use super::{Message, RecordingError};

/// An open file.
pub(super) struct Source {
    frames: FrameReader<'static>,
    arrivals: Option<Arrivals>,
    last: EventTime,
    /// Requests passed over because they carry neither spans nor log records.
    pub(super) other: u64,
}

impl Source {
    pub(super) fn new(frames: FrameReader<'static>, arrivals: Option<Arrivals>) -> Source {
        Source { frames, arrivals, last: EventTime::MIN, other: 0 }
    }

    /// The next request with spans or log records; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Message>, RecordingError> {
        while let Some(frame) = self.frames.next()? {
            self.last = match &mut self.arrivals {
                Some(arrivals) => arrivals.next(frame.stored_len, frame.body.len())?,
                None => frame.glance.latest.unwrap_or(self.last),
            };
            match frame.glance.payload {
                None => self.other += 1,
                Some(payload) => {
                    let (arrival, encoding, body) = (self.last, frame.encoding, frame.body);
                    return Ok(Some(Message { arrival, payload, encoding, body }));
                }
            }
        }
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.finish()?;
        }
        Ok(None)
    }
}
