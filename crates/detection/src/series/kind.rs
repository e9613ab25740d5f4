//! What a metric measures, told from its name, and how small a change nobody cares about.

use std::str::FromStr;

use serde::Serialize;

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Calls, errors or other events per step.
    Volume,
    /// How long something takes, in any unit.
    Latency,
    /// A share: of 1, or of 100.
    Ratio,
    /// Bytes per step.
    Bytes,
    /// What a workload uses of its machine: a cause, not a symptom. Reported only while a symptom is.
    Resource,
    /// Anything else.
    Other,
}

impl MetricKind {
    /// Tells the kind from words in a metric's name; conventions of Prometheus, OpenTelemetry and CloudWatch.
    pub fn of(metric: &str) -> MetricKind {
        let name = metric.to_lowercase();
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
        if has(&["cpu", "mem", "memory", "net", "disk", "heap", "gc", "threads", "fds"]) {
            MetricKind::Resource
        } else if has(&["ratio", "pct", "percent", "availability", "success", "share", "utilization"]) {
            MetricKind::Ratio
        } else if has(&["latency", "duration", "time", "rt", "p50", "p75", "p90", "p95", "p99", "ms"]) {
            MetricKind::Latency
        } else if has(&["bytes", "octets", "kb", "mb", "size"]) {
            MetricKind::Bytes
        } else if has(&[
            "volume",
            "requests",
            "request",
            "calls",
            "count",
            "rate",
            "rps",
            "qps",
            "throughput",
            "total",
            "errors",
            "error",
            "failures",
            "hits",
            "invocations",
        ]) {
            MetricKind::Volume
        } else {
            MetricKind::Other
        }
    }

    /// The change that nobody cares about at this level: a fiftieth of what is counted or timed, a fifth of a
    /// percent of a share, and of numbers of unknown meaning a thousandth.
    pub(crate) fn least_change(self, level: f64) -> f64 {
        let least = match self {
            MetricKind::Volume | MetricKind::Latency | MetricKind::Bytes | MetricKind::Resource => 0.02,
            MetricKind::Ratio => return if level.abs() > 1.5 { 0.2 } else { 0.002 },
            MetricKind::Other => 0.001,
        };
        (least * level.abs()).max(1e-9)
    }
}

impl FromStr for MetricKind {
    type Err = String;

    fn from_str(word: &str) -> Result<MetricKind, String> {
        Ok(match word {
            "volume" => MetricKind::Volume,
            "latency" => MetricKind::Latency,
            "ratio" => MetricKind::Ratio,
            "bytes" => MetricKind::Bytes,
            "resource" => MetricKind::Resource,
            "other" => MetricKind::Other,
            _ => return Err("kinds are volume, latency, ratio, bytes, resource and other".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_from_the_names_that_tools_give() {
        for (name, kind) in [
            ("latency_p50_s_source", MetricKind::Latency),
            ("http.server.request.duration", MetricKind::Latency),
            ("success_pct", MetricKind::Ratio),
            ("availability_pct", MetricKind::Ratio),
            ("istio_requests_total", MetricKind::Volume),
            ("errors", MetricKind::Volume),
            ("istio_request_bytes", MetricKind::Bytes),
            ("cpu_pct", MetricKind::Resource),
            ("net_rx_bytes", MetricKind::Resource),
            ("value", MetricKind::Other),
        ] {
            assert_eq!(MetricKind::of(name), kind, "{name}");
        }
        assert_eq!("ratio".parse(), Ok(MetricKind::Ratio));
        assert!("speed".parse::<MetricKind>().is_err());
    }
}
