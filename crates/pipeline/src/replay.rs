//! A recording through the same intake and the same engines as the live pipeline, at CPU speed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lapwing_detection::PairSummary;
pub use lapwing_detection::{FeatureRow, Reading, Value, Watch};
use lapwing_otlp::DecodeStats;
use lapwing_otlp::recording::{Message, Recording};
use lapwing_storage::{Archive, ArchiveSettings, Dataset, dataset};
pub use lapwing_telemetry::Finding;
use lapwing_telemetry::{Calls, EventTime, Offset, Partition, Position};

use crate::engines::Engines;
use crate::feedback;
use crate::health::DetectSnapshot;
use crate::intake::Intake;
use crate::settings::Settings;

/// Calls gathered before they are judged. Findings do not depend on it.
const GATHER_CALLS: usize = 2_048;

/// What happens while a recording is replayed.
pub trait Observer {
    /// Findings, in the order in which they are made.
    ///
    /// # Errors
    /// Ends the replay with the reason.
    fn findings(&mut self, findings: Vec<Finding>) -> Result<(), String>;

    /// Features of closed windows, when the detection settings ask for them.
    fn features(&mut self, _rows: Vec<FeatureRow>) {}

    /// Whose windows to write down; nobody's if `None`.
    fn watch(&self) -> Option<Watch> {
        None
    }

    /// Windows of the pairs watched, as they are judged.
    fn readings(&mut self, _readings: Vec<Reading>) {}

    /// Whether the rest of the recording is of no interest.
    fn is_done(&self) -> bool {
        false
    }

    /// How far the replay is, of a total in the same unit.
    fn progress(&mut self, _done: u64, _total: u64) {}
}

/// What a replay found in the recording.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Calls in all, those that are not between two known services included.
    pub calls: u64,
    /// Calls by signal.
    pub calls_by_signal: BTreeMap<String, u64>,
    /// Calls by pair, `source->destination`, and in it by signal.
    pub calls_by_pair: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests in the recording, and those that could not be read.
    pub requests: u64,
    /// Requests that could not be read.
    pub malformed: u64,
    /// Spans and log records that were rejected: no time, or an absurd one.
    pub rejected: u64,
    /// Redactions by rule.
    pub redactions: BTreeMap<String, u64>,
    /// Findings opened, by kind.
    pub findings: BTreeMap<String, u64>,
    /// Calls that came too late to be counted.
    pub late_calls: u64,
    /// First arrival.
    pub first_received_at: Option<String>,
    /// Last arrival.
    pub last_received_at: Option<String>,
    /// Files written to the archive.
    pub archive_files: u64,
    /// What was learned of each pair.
    pub pairs: Vec<PairSummary>,
    /// What decode counted.
    #[serde(skip)]
    pub decode: DecodeStats,
}

/// Replays OTLP recordings or an archive of Parquet files, told apart by content.
///
/// # Errors
/// Says in words what is wrong with the input or an output.
pub fn replay(
    settings: &Settings,
    inputs: &[PathBuf],
    archive: Option<ArchiveSettings>,
    observer: &mut dyn Observer,
) -> Result<Summary, String> {
    played(settings, inputs, archive, observer)?.finish()
}

/// Replays the same, and gives the engines as they are after the last call: windows that are open stay open, so that
/// another log can follow.
///
/// # Errors
/// As for [`replay`].
pub fn learn(
    settings: &Settings,
    inputs: &[PathBuf],
    observer: &mut dyn Observer,
) -> Result<(Engines, Summary), String> {
    let run = played(settings, inputs, None, observer)?;
    Ok((run.engines, run.summary))
}

fn played<'a>(
    settings: &Settings,
    inputs: &[PathBuf],
    archive: Option<ArchiveSettings>,
    observer: &'a mut dyn Observer,
) -> Result<Replay<'a>, String> {
    let mut engines = Engines::new(settings.intake.partitions, &settings.detection, settings.model.as_ref());
    engines.mark(&feedback::marks(&settings.feedback_file())?);
    if let Some(watch) = observer.watch() {
        engines.watch(&watch);
    }
    let archive = archive.map(Archive::open).transpose().map_err(|e| e.to_string())?;
    let mut run = Replay { engines, archive, observer, summary: Summary::default(), offset: 0 };
    if inputs.iter().any(|path| holds_parquet(path)) {
        run.dataset(inputs, settings.intake.partitions)?;
    } else {
        run.recording(inputs, settings)?;
    }
    Ok(run)
}

fn holds_parquet(path: &std::path::Path) -> bool {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return entries.into_iter().any(|entry| holds_parquet(&entry.path()));
    }
    dataset::is_parquet(path)
}

struct Replay<'a> {
    engines: Engines,
    archive: Option<Archive>,
    observer: &'a mut dyn Observer,
    summary: Summary,
    offset: u64,
}

impl Replay<'_> {
    fn recording(&mut self, inputs: &[PathBuf], settings: &Settings) -> Result<(), String> {
        let mut intake = Intake::new(&settings.intake, Arc::new(settings.read_inventory()?));
        let mut recording = Recording::open(inputs).map_err(|e| e.to_string())?;
        let progress = recording.progress();
        let mut hour = i64::MIN;
        for message in &mut recording {
            let Message { arrival, payload, encoding, body } = message.map_err(|e| e.to_string())?;
            // The archive keeps whole frames by the hour, so none may cross one.
            let arrived = arrival.unix_seconds().div_euclid(3_600);
            if intake.rows() >= GATHER_CALLS || arrived != hour {
                hour = arrived;
                self.frames(&mut intake)?;
                if self.observer.is_done() {
                    break;
                }
                self.observer.progress(progress.read_bytes(), progress.total_bytes());
            }
            self.summary.requests += 1;
            match intake.take(payload, encoding, &body, arrival) {
                Ok(decoded) => self.summary.rejected += decoded.rejected,
                Err(_) => self.summary.malformed += 1,
            }
        }
        self.frames(&mut intake)?;
        self.summary.redactions = intake.redactions();
        self.summary.decode = intake.decode_stats();
        Ok(())
    }

    fn dataset(&mut self, inputs: &[PathBuf], partitions: u16) -> Result<(), String> {
        let mut dataset = Dataset::open(inputs, partitions).map_err(|e| e.to_string())?;
        while let Some((position, calls)) = dataset.read().map_err(|e| e.to_string())? {
            self.frame(position.partition, &calls)?;
            if self.observer.is_done() {
                break;
            }
            self.observer.progress(dataset.rows_read(), dataset.rows());
        }
        Ok(())
    }

    fn frames(&mut self, intake: &mut Intake) -> Result<(), String> {
        for (partition, calls) in intake.frames() {
            self.frame(partition, &calls)?;
        }
        Ok(())
    }

    fn frame(&mut self, partition: Partition, calls: &Calls) -> Result<(), String> {
        let position = Position { partition, offset: Offset(self.offset) };
        self.offset += 1;
        let real = calls.without_canaries();
        count(&mut self.summary, &real);
        let mut findings = Vec::new();
        self.engines.observe(position, &real, &mut findings);
        if let Some(archive) = &mut self.archive {
            archive.append(position, calls).map_err(|e| e.to_string())?;
            if archive.is_due() {
                self.summary.archive_files += archive.close_files().map_err(|e| e.to_string())?.len() as u64;
            }
        }
        self.publish(findings)
    }

    fn publish(&mut self, findings: Vec<Finding>) -> Result<(), String> {
        let features = self.engines.take_features();
        if !features.is_empty() {
            self.observer.features(features);
        }
        let readings = self.engines.take_readings();
        if !readings.is_empty() {
            self.observer.readings(readings);
        }
        if findings.is_empty() { Ok(()) } else { self.observer.findings(findings) }
    }

    fn finish(mut self) -> Result<Summary, String> {
        let mut findings = Vec::new();
        self.engines.finish(&mut findings);
        self.publish(findings)?;
        if let Some(archive) = &mut self.archive {
            self.summary.archive_files += archive.close_files().map_err(|e| e.to_string())?.len() as u64;
        }
        let stats = DetectSnapshot::of(&self.engines).engines;
        self.summary.late_calls = stats.late_calls;
        self.summary.findings = stats.findings.iter().map(|(kind, n)| (kind.to_string(), *n)).collect();
        self.summary.pairs = self.engines.pairs();
        Ok(self.summary)
    }
}

fn count(summary: &mut Summary, calls: &Calls) {
    let columns = calls.columns();
    let (signal, source, destination) = (columns.signal(), columns.source(), columns.destination());
    let mut pairs = BTreeMap::new();
    for row in 0..calls.len() {
        *pairs.entry((signal.id(row), source.id(row), destination.id(row))).or_insert(0_u64) += 1;
    }
    for ((signal_id, source_id, destination_id), n) in pairs {
        let name = |words: lapwing_telemetry::calls::Words<'_>, id: Option<u32>| {
            id.map(|id| words.values.value(id as usize).to_owned())
        };
        let signal = name(signal, signal_id).unwrap_or_default();
        if let (Some(source), Some(destination)) =
            (name(source, source_id), name(destination, destination_id))
        {
            let by_signal = summary.calls_by_pair.entry(format!("{source}->{destination}")).or_default();
            *by_signal.entry(signal.clone()).or_default() += n;
        }
        *summary.calls_by_signal.entry(signal).or_default() += n;
    }
    summary.calls += calls.len() as u64;
    let received = columns.received_at();
    if let (Some(&first), Some(&last)) = (received.first(), received.last()) {
        let earliest = |known: &Option<String>, time: String, min: bool| match known {
            Some(known) if (*known < time) == min => known.clone(),
            _ => time,
        };
        summary.first_received_at =
            Some(earliest(&summary.first_received_at, EventTime(first).to_string(), true));
        summary.last_received_at =
            Some(earliest(&summary.last_received_at, EventTime(last).to_string(), false));
    }
}
