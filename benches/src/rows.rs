//! The workload as rows, grouped as the door groups them.

use std::sync::Arc;
use std::time::Duration;

use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Inventory, Payload};
use lapwing_redaction::{Redactor, Rules};
use lapwing_telemetry::{Builders, Calls, EventTime, Partition, RawCalls};

use crate::Workload;

/// Partitions of the journal by default.
pub const PARTITIONS: u16 = 1;
/// Rows in one group of the door: 2 MiB of requests.
pub const GROUP_ROWS: usize = 2_300;
/// When the rows of benchmarks arrive: 2026-11-22T01:23:27Z.
pub const NOW: EventTime = EventTime(1_795_310_607_000_000);

/// Decodes groups of a workload, each from other requests.
pub struct Groups {
    workload: Workload,
    decoder: Decoder,
    sent: u64,
    now: EventTime,
    step: Duration,
}

impl Groups {
    /// Groups of requests of 100 spans; each group arrives `step` after the one before, the first at [`NOW`].
    pub fn new(step: Duration) -> Groups {
        let decoder = Decoder::new(DecodeSettings::default(), Arc::new(Inventory::default()));
        Groups { workload: Workload::new(100), decoder, sent: 0, now: NOW, step }
    }

    /// The next group, one batch a partition.
    pub fn next_raw(&mut self) -> Vec<(Partition, RawCalls)> {
        let mut builders = Builders::new(PARTITIONS);
        while builders.rows() < GROUP_ROWS {
            let request = self.workload.request(self.sent, self.now);
            self.decoder
                .decode(Payload::Traces, Encoding::Protobuf, &request, self.now, &mut builders)
                .expect("a request that prost encoded can be read");
            self.sent += 1;
        }
        self.now = self.now.plus(self.step);
        builders.finish()
    }

    /// `count` groups, redacted with the built-in rules.
    pub fn redacted(&mut self, count: usize) -> Vec<Vec<(Partition, Calls)>> {
        let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
        (0..count)
            .map(|_| self.next_raw().into_iter().map(|(at, raw)| (at, redactor.redact(raw))).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_call_between_two_services_and_nothing_planted_remains() {
        let groups = Groups::new(Duration::from_millis(10)).redacted(1);
        for (_, calls) in &groups[0] {
            let columns = calls.columns();
            for row in 0..calls.len() {
                assert!(columns.source().get(row).is_some() && columns.destination().get(row).is_some());
                for (_, value) in columns.attributes().row(row) {
                    let planted = ["ada.lovelace", "447700900", "4111111111111111", "eyJ", "GB29NWBK"];
                    assert!(planted.iter().all(|p| !value.contains(p)), "found in row {row}");
                }
            }
        }
    }
}
