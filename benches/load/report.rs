//! What was measured, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::Format;
use crate::send::Answer;

/// What became of what one sender sent.
#[derive(Default)]
pub(crate) struct Counts {
    accepted_spans: u64,
    rejected_spans: u64,
    refused_with_hint: u64,
    refused_without_hint: u64,
    failed: u64,
    /// Of acknowledged requests.
    latencies_us: Vec<u32>,
}

impl Counts {
    pub(crate) fn note(&mut self, answer: &Answer, spans: u64, took: Duration) {
        match answer {
            Answer::Ok { rejected } => {
                self.accepted_spans += spans.saturating_sub(*rejected);
                self.rejected_spans += rejected;
                self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            Answer::Refused { has_hint: true } => self.refused_with_hint += 1,
            Answer::Refused { has_hint: false } => self.refused_without_hint += 1,
            Answer::Failed => self.failed += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Counts) {
        self.accepted_spans += other.accepted_spans;
        self.rejected_spans += other.rejected_spans;
        self.refused_with_hint += other.refused_with_hint;
        self.refused_without_hint += other.refused_without_hint;
        self.failed += other.failed;
        self.latencies_us.extend(other.latencies_us);
    }

    pub(crate) fn report(
        mut self,
        spans: usize,
        seconds: f64,
        server_cpu_s: Option<f64>,
        server_peak_rss_mib: Option<f64>,
    ) -> Report {
        self.latencies_us.sort_unstable();
        Report {
            spans_per_request: spans,
            seconds,
            spans_accepted: self.accepted_spans,
            spans_rejected: self.rejected_spans,
            requests_refused_with_hint: self.refused_with_hint,
            requests_refused_without_hint: self.refused_without_hint,
            requests_failed: self.failed,
            spans_per_second: self.accepted_spans as f64 / seconds,
            ack_ms_p50: quantile_ms(&self.latencies_us, 50),
            ack_ms_p99: quantile_ms(&self.latencies_us, 99),
            server_cpu_s,
            server_spans_per_cpu_s: server_cpu_s.map(|cpu| self.accepted_spans as f64 / cpu.max(0.01)),
            server_peak_rss_mib,
        }
    }
}

/// The smallest value that at least `percent` of the sorted ones do not exceed; `None` if there are none.
fn quantile_ms(sorted_us: &[u32], percent: usize) -> Option<f64> {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1);
    sorted_us.get(rank - 1).map(|us| f64::from(*us) / 1_000.0)
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) spans_per_request: usize,
    pub(crate) seconds: f64,
    pub(crate) spans_accepted: u64,
    pub(crate) spans_rejected: u64,
    pub(crate) requests_refused_with_hint: u64,
    pub(crate) requests_refused_without_hint: u64,
    pub(crate) requests_failed: u64,
    pub(crate) spans_per_second: f64,
    pub(crate) ack_ms_p50: Option<f64>,
    pub(crate) ack_ms_p99: Option<f64>,
    pub(crate) server_cpu_s: Option<f64>,
    pub(crate) server_spans_per_cpu_s: Option<f64>,
    pub(crate) server_peak_rss_mib: Option<f64>,
}

impl Report {
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<String> {
        if format == Format::Json {
            return Ok(serde_json::to_string(self)?);
        }
        let mut out = String::new();
        let hints = (self.requests_refused_with_hint, self.requests_refused_without_hint);
        let mut line = |name: &str, value: String| writeln!(out, "{name:<34}{value:>14}");
        line("spans accepted", self.spans_accepted.to_string())?;
        line("spans rejected", self.spans_rejected.to_string())?;
        line("requests refused, with retry hint", hints.0.to_string())?;
        line("requests refused, without", hints.1.to_string())?;
        line("requests failed", self.requests_failed.to_string())?;
        line("spans per second", format!("{:.0}", self.spans_per_second))?;
        line("acknowledged in, p50 (ms)", milliseconds(self.ack_ms_p50))?;
        line("acknowledged in, p99 (ms)", milliseconds(self.ack_ms_p99))?;
        if let Some(rate) = self.server_spans_per_cpu_s {
            line("server: spans per CPU-second", format!("{rate:.0}"))?;
        }
        if let Some(cpu) = self.server_cpu_s {
            line("server: CPU time (s)", format!("{cpu:.2}"))?;
        }
        if let Some(rss) = self.server_peak_rss_mib {
            line("server: peak resident memory (MiB)", format!("{rss:.0}"))?;
        }
        Ok(out.trim_end().to_owned())
    }
}

/// A time in milliseconds, or `-`.
pub(crate) fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<u32> = (1..=200).map(|n| n * 1_000).collect();
        assert_eq!(quantile_ms(&sorted, 50), Some(100.0));
        assert_eq!(quantile_ms(&sorted, 99), Some(198.0));
        assert_eq!(quantile_ms(&sorted[..1], 50), Some(1.0));
        assert_eq!(quantile_ms(&[], 99), None);
    }

    #[test]
    fn only_what_was_acknowledged_counts_as_accepted() {
        let mut counts = Counts::default();
        let took = Duration::from_millis(2);
        counts.note(&Answer::Ok { rejected: 10 }, 100, took);
        counts.note(&Answer::Refused { has_hint: true }, 100, took);
        counts.note(&Answer::Failed, 100, took);
        let report = counts.report(100, 1.0, Some(0.5), None);
        assert_eq!((report.spans_accepted, report.spans_rejected, report.requests_failed), (90, 10, 1));
        assert_eq!(report.requests_refused_with_hint, 1);
        assert_eq!(report.server_spans_per_cpu_s, Some(180.0));
    }
}
