//! From a request's bytes to rows.

use std::sync::Arc;

use lapwing_telemetry::{Builders, Checkpoint, EventTime};

use crate::batch::{Batch, Learned};
use crate::names::is_name;
use crate::payload::{Encoding, Malformed, Payload};
use crate::settings::{DecodeSettings, DecodeStats, Decoded};
use crate::walk::{self, Contexts};
use crate::{Inventory, json};

/// Decodes requests, one after another; keeps what it has learned of the mesh from one to the next.
pub struct Decoder {
    pub(crate) learned: Learned,
    /// What OTLP/JSON is translated into.
    translated: Vec<u8>,
}

/// Values may nest this deep at most, whatever the settings say: prost, which reads the same requests
/// elsewhere, stops at 100 messages, and each array costs two.
const MAX_NESTING: usize = 32;

impl Decoder {
    /// Makes a decoder. A `default_cluster` that is not in a service name's alphabet becomes `default`.
    pub fn new(mut settings: DecodeSettings, inventory: Arc<Inventory>) -> Decoder {
        settings.limits.max_nesting = settings.limits.max_nesting.min(MAX_NESTING);
        if !is_name(&settings.default_cluster) {
            "default".clone_into(&mut settings.default_cluster);
        }
        Decoder { learned: Learned::new(settings, inventory), translated: Vec::new() }
    }

    /// Uses another inventory from now on.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.learned.set_inventory(inventory);
    }

    /// What it did so far.
    pub fn stats(&self) -> DecodeStats {
        self.learned.stats
    }

    /// Appends the calls of one request to `builders`.
    ///
    /// # Errors
    /// [`Malformed`] if the request cannot be read; then nothing of it was appended.
    pub fn decode(
        &mut self,
        payload: Payload,
        encoding: Encoding,
        body: &[u8],
        received_at: EventTime,
        builders: &mut Builders,
    ) -> Result<Decoded, Malformed> {
        let (checkpoint, before) = (builders.checkpoint(), self.learned.stats);
        let result = match encoding {
            Encoding::Protobuf => self.decode_protobuf(payload, body, received_at, builders, &checkpoint),
            Encoding::Json => {
                let mut translated = std::mem::take(&mut self.translated);
                let result = json::translate(payload, body, &mut translated).and_then(|()| {
                    self.decode_protobuf(payload, &translated, received_at, builders, &checkpoint)
                });
                self.translated = translated;
                result
            }
        };
        result.inspect_err(|_| {
            builders.rollback(&checkpoint);
            self.learned.stats = before;
            self.learned.stats.requests_malformed += 1;
        })
    }

    fn decode_protobuf(
        &mut self,
        payload: Payload,
        body: &[u8],
        received_at: EventTime,
        builders: &mut Builders,
        checkpoint: &Checkpoint,
    ) -> Result<Decoded, Malformed> {
        let before = self.learned.stats;
        let mut batch = Batch::new(&mut self.learned, received_at, builders);
        let mut walked = walk::request(payload, body, &mut batch, Contexts::First);
        if walked.as_ref().is_err_and(walk::is_scattered) {
            builders.rollback(checkpoint);
            self.learned.stats = before;
            batch = Batch::new(&mut self.learned, received_at, builders);
            walked = walk::request(payload, body, &mut batch, Contexts::Scattered);
        }
        let decoded = batch.decoded();
        walked.map(|()| decoded).map_err(|fault| Malformed {
            reason: format!("{} at byte {} of {}", fault.what(), fault.offset_in(body), body.len()),
        })
    }
}
