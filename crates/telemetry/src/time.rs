//! Event time: a column in the data, never a question to the machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where the present comes from, for the few places that need it: the machine's clock in `run`, a
/// recording's in `demo` and tests.
pub type Clock = Arc<dyn Fn() -> EventTime + Send + Sync>;

/// A moment in the data, in **microseconds** since the Unix epoch, UTC.
///
/// Microseconds, not the nanoseconds of OTLP: mesh proxies send whole microseconds, Spark reads no
/// nanosecond timestamps from Parquet, and a value that is the same in memory, in the log and in the
/// archive cannot make a replay differ from the live run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every moment that telemetry can carry.
    pub const MIN: EventTime = EventTime(0);

    /// Converts OTLP's unsigned nanoseconds, dropping the part below a microsecond.
    pub const fn from_unix_nanos(nanos: u64) -> EventTime {
        EventTime((nanos / 1_000) as i64)
    }

    /// The moment in nanoseconds, as OTLP writes it; zero for moments before the epoch.
    pub const fn unix_nanos(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0 as u64 * 1_000 }
    }

    /// Milliseconds since the epoch, as OCSF writes time.
    pub const fn unix_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the epoch.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment moved later by `by`, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> EventTime {
        EventTime(self.0.saturating_add(micros(by)))
    }

    /// This moment moved earlier by `by`, saturating.
    #[must_use]
    pub fn minus(self, by: Duration) -> EventTime {
        EventTime(self.0.saturating_sub(micros(by)))
    }

    /// Time from `earlier` to this moment; zero if it is not earlier.
    pub fn since(self, earlier: EventTime) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 timestamp such as `2026-11-22T01:23:27.403Z`; `None` if it is not one.
    pub fn parse_rfc3339(text: &str) -> Option<EventTime> {
        text.parse::<jiff::Timestamp>().ok().map(|t| EventTime(t.as_microsecond()))
    }
}

/// RFC 3339 in UTC with microseconds, for example `2026-11-22T01:23:27.403852Z`.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{}us", self.0), // outside the calendar's years -9999..=9999
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_numbers_name_the_same_moment() {
        let t = EventTime::from_unix_nanos(1_795_310_607_403_852_999);
        assert_eq!(t.to_string(), "2026-11-22T01:23:27.403852Z");
        assert_eq!(EventTime::parse_rfc3339("2026-11-22T01:23:27.403852Z"), Some(t));
        assert_eq!(t.unix_nanos(), 1_795_310_607_403_852_000);
        assert_eq!(EventTime(-1).unix_nanos(), 0);
        assert_eq!(EventTime(5).since(EventTime(9)), Duration::ZERO);
        assert_eq!(EventTime(i64::MAX).plus(Duration::from_secs(1)), EventTime(i64::MAX));
    }
}
