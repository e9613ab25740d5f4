//! From request bytes to redacted calls: the one road in, live and in replay.

use std::sync::Arc;

use lapwing_otlp::{DecodeStats, Decoded, Decoder, Encoding, Inventory, Malformed, Payload};
use lapwing_redaction::{Count, Redactor, Rules};
use lapwing_telemetry::{Builders, EventTime, Group};

use crate::settings::IntakeSettings;

/// Decodes requests into per-partition batches and redacts them. Owned by one thread.
pub struct Intake {
    decoder: Decoder,
    builders: Builders,
    redactor: Redactor,
    finished: Group,
    last_received: EventTime,
}

impl Intake {
    /// Makes an intake for the log's number of partitions.
    pub fn new(settings: &IntakeSettings, inventory: Arc<Inventory>) -> Intake {
        Intake {
            decoder: Decoder::new(settings.decode.clone(), inventory),
            builders: Builders::new(settings.partitions),
            redactor: Redactor::new(settings.rules.clone()),
            finished: Group::new(),
            last_received: EventTime::MIN,
        }
    }

    /// Decodes one request that arrived at `now`. Arrival times never decrease along the log, so one that
    /// would is lifted to the last; the time used is what every call of the request carries.
    ///
    /// # Errors
    /// [`Malformed`]: the request is wrong and always will be; nothing of it was kept.
    pub fn take(
        &mut self,
        payload: Payload,
        encoding: Encoding,
        body: &[u8],
        now: EventTime,
    ) -> Result<Decoded, Malformed> {
        self.last_received = self.last_received.max(now);
        let decoded = self.decoder.decode(payload, encoding, body, self.last_received, &mut self.builders)?;
        if self.builders.is_full() {
            self.redact();
        }
        Ok(decoded)
    }

    /// Calls decoded and not yet handed out.
    pub fn rows(&self) -> usize {
        self.builders.rows() + self.finished.iter().map(|(_, calls)| calls.len()).sum::<usize>()
    }

    /// Hands out everything decoded so far, redacted, one or more batches per partition.
    pub fn frames(&mut self) -> Group {
        self.redact();
        std::mem::take(&mut self.finished)
    }

    /// Names that addresses and service accounts have from now on.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.decoder.set_inventory(inventory);
    }

    /// Rules that hold from now on.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.redactor.set_rules(rules);
    }

    /// What was decoded, and what was not.
    pub fn decode_stats(&self) -> DecodeStats {
        self.decoder.stats()
    }

    /// Redactions by rule since start.
    pub fn redactions(&self) -> std::collections::BTreeMap<String, u64> {
        self.redactor.counts()
    }

    /// The same by rule, action and kind of field.
    pub fn redaction_hits(&self) -> Vec<Count> {
        self.redactor.hits()
    }

    fn redact(&mut self) {
        for (partition, raw) in self.builders.finish() {
            self.finished.push((partition, self.redactor.redact(raw)));
        }
    }
}
