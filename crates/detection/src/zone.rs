//! Local time, daylight saving included, as a table: what clocks are ahead of UTC, and from when on.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZoneDatabase;
use serde::Serialize;

use crate::grid::SECOND;

/// Changes of clocks are known until 2100; after that, clocks stay as they are then.
const UNTIL_SECOND: i64 = 4_102_444_800;

/// A time zone of the IANA database as the program was built with, or a fixed offset.
///
/// The rules become a table once, so that nothing is read from the machine: findings are the same everywhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// Moments from which on local time is so far ahead of UTC, both in microseconds, ascending; the first is the
    /// beginning of time.
    changes: Arc<[(i64, i64)]>,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone { changes: Arc::new([(i64::MIN, 0)]) }
    }

    /// Finds a zone by its name in the IANA database (`Europe/London`), or makes one of a fixed offset (`+05:30`,
    /// RFC 9557 section 4.1); `None` if there is no such.
    pub fn parse(name: &str) -> Option<Zone> {
        let zone = DateTimeParser::new().parse_time_zone_with(&TimeZoneDatabase::bundled(), name).ok()?;
        let micros = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * SECOND;
        let start = Timestamp::UNIX_EPOCH;
        let later = zone
            .following(start)
            .take_while(|change| change.timestamp().as_second() < UNTIL_SECOND)
            .map(|change| (change.timestamp().as_microsecond(), micros(change.offset())));
        let first = std::iter::once((i64::MIN, micros(zone.to_offset(start))));
        Some(Zone { changes: first.chain(later).collect() })
    }

    /// How far local time is ahead of UTC at a moment; microseconds.
    pub(crate) fn ahead(&self, at: i64) -> i64 {
        let place = self.changes.partition_point(|(from, _)| *from <= at);
        self.changes[place.saturating_sub(1)].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::HOUR;

    #[test]
    fn london_is_an_hour_ahead_from_march_to_october() {
        let london = Zone::parse("Europe/London").unwrap();
        let check = |second: i64, hours| assert_eq!(london.ahead(second * SECOND), hours * HOUR, "{second}");
        check(1_774_745_999, 0); // 2026-03-29T00:59:59Z
        check(1_774_746_000, 1);
        check(1_792_889_999, 1); // 2026-10-25T00:59:59Z
        check(1_792_890_000, 0);
        check(4_010_000_000, 0);
        check(0, 1); // 1970: British Standard Time
        assert_eq!(london.ahead(i64::MIN), HOUR);
        assert_eq!(london.ahead(i64::MAX), 0);
    }

    #[test]
    fn offsets_are_zones_and_other_words_are_not() {
        assert_eq!(Zone::parse("UTC"), Some(Zone::utc()));
        assert_eq!(Zone::parse("+05:30").unwrap().ahead(0), 11 * HOUR / 2);
        assert_eq!(Zone::parse("Asia/Kolkata").unwrap().ahead(1_772_409_600 * SECOND), 11 * HOUR / 2);
        assert_eq!(Zone::parse("Europe/Lundon"), None);
        assert_eq!(Zone::parse(""), None);
    }
}
