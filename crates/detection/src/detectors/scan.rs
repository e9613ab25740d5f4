//! A source that reaches out to many services it hardly ever calls: lateral movement.

use lapwing_telemetry::{FindingKind, Severity};

use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::grid::{DAY, HOUR, MINUTE, span};
use crate::sources::{Moment, Probe, SourceState};
use crate::tails::negative_binomial_upper;

/// Destinations that must have been tried: two are a new feature and its dependency.
const MIN_DESTINATIONS: u64 = 3;
/// And this many times the expected number.
const MIN_RATIO: f64 = 3.0;
/// Horizons, shortest first: a quick scan is seen within the hour, one probe an hour within the day.
const HORIZONS: [i64; 3] = [HOUR, 6 * HOUR, DAY];
/// A source is known after a day. A service that has just been installed calls everybody for the first time,
/// so of a younger one only denials count.
const KNOWN: i64 = DAY;

/// Claims by the upper tail of a Gamma-Poisson: distinct destinations within the horizon that the source hardly
/// ever calls or that denied it, given the posterior of its own rate of such (a conjugate prior of a quarter of
/// one; Gelman et al., Bayesian Data Analysis, section 2.6). Counting distinct destinations and not attempts is
/// the idea of threshold random walk scan detection (Jung, Paxson et al., IEEE S&P 2004): what is improbable is
/// their number. Denials by services that the source usually calls count only beside at least one stranger, or a
/// policy rolled out wrongly would look like a scan.
pub(crate) fn judge(state: &SourceState, source: &str, now: &Moment<'_>, tail: f64) -> Option<Claim> {
    let known = now.end - state.first_seen >= KNOWN;
    let counts = |p: &&Probe| p.denied || (known && p.strange);
    HORIZONS.into_iter().find_map(|horizon| {
        let start = state.evidence_from(now.end - horizon);
        let within: Vec<&Probe> = state.probes.iter().filter(|p| p.at >= start).filter(counts).collect();
        let n = within.len() as u64;
        let expected = state.usual.rate() * horizon as f64 / HOUR as f64;
        if n < MIN_DESTINATIONS || !within.iter().any(|p| p.strange) || (n as f64) < MIN_RATIO * expected {
            return None;
        }
        let p = negative_binomial_upper(n, expected, state.usual.shape());
        (p < tail / HORIZONS.len() as f64).then(|| claim(source, &within, expected, horizon, p, now))
    })
}

fn claim(source: &str, within: &[&Probe], expected: f64, horizon: i64, p: f64, now: &Moment<'_>) -> Claim {
    let n = within.len();
    let denied = within.iter().filter(|p| p.denied).count();
    let names: Vec<&str> = within.iter().take(6).map(|p| &*p.destination).collect();
    Claim {
        kind: FindingKind::Scan,
        detector: "scan",
        severity: match (n, denied) {
            (10.., _) => Severity::Critical,
            (_, 1..) => Severity::High,
            _ => Severity::Medium,
        },
        p,
        confidence: (now.watched_hours / 168.0).min(1.0),
        signal: None,
        start: within.iter().map(|p| p.at).min().unwrap_or(now.end),
        end: now.end,
        observed: n as f64,
        expected,
        low: None,
        high: Some((MIN_RATIO * expected).max(MIN_DESTINATIONS as f64 - 1.0)),
        unit: crate::grid::per("services", horizon),
        explanation: format!(
            "{source} reached out to {n} services in {} that it hardly ever calls or that denied it ({}{}), usually to {}; {} denied it; watched for {:.0} h",
            span(horizon),
            names.join(", "),
            if names.len() < n { ", …" } else { "" },
            number(expected),
            if denied == 0 { "none".to_owned() } else { denied.to_string() },
            now.watched_hours,
        ),
        class: Class::Any,
        evidence: n as f64,
        quiet: HOUR + 30 * MINUTE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::baseline::Learn;
    use crate::grid::Grid;

    /// What is said of a source that was seen for so long and probed destinations at these minutes, some denied.
    fn check(known_hours: i64, strange_per_hour: u64, probes: &[(i64, bool, bool)]) -> Option<Claim> {
        let grid = Grid::new(&Settings::default());
        let end = 1_000 * HOUR;
        let mut state = SourceState::new(end - known_hours * HOUR);
        (0..known_hours).for_each(|_| state.usual.learn(strange_per_hour, 0, Learn::Usual));
        for (i, (minute, strange, denied)) in probes.iter().enumerate() {
            state.probes.push(Probe::new(&format!("d/{i}"), end - minute * MINUTE, *strange, *denied));
        }
        let now = Moment {
            grid: &grid,
            end,
            reports: true,
            watched_hours: 240.0,
            tail: 1e-5,
            sensitivity: &[],
            made_by: "",
        };
        judge(&state, "ops/job", &now, now.tail)
    }

    #[test]
    fn three_strangers_are_a_scan_be_it_quick_or_slow_and_two_are_not() {
        let quick = check(240, 0, &[(9, true, false), (5, true, false), (1, true, true)]).unwrap();
        assert_eq!(
            (quick.observed, quick.severity, quick.unit.as_str()),
            (3.0, Severity::High, "services/1h")
        );
        assert!(check(240, 0, &[(9, true, false), (1, true, true)]).is_none());
        let hourly: Vec<_> = (0..7).map(|i| (i * 180, true, false)).collect();
        let slow = check(240, 0, &hourly).unwrap();
        assert_eq!((slow.unit.as_str(), slow.severity), ("services/24h", Severity::Medium));
    }

    #[test]
    fn a_source_that_often_meets_strangers_and_one_just_installed_are_not_scanning() {
        let probes = [(50, true, false), (20, true, false), (9, true, false), (1, true, false)];
        assert!(check(240, 2, &probes).is_none());
        assert!(check(3, 0, &probes).is_none());
        let denied: Vec<_> = (0..12).map(|minute| (minute, true, true)).collect();
        assert!(check(3, 0, &denied).is_some(), "denials count from anybody");
        let strange: Vec<_> = (0..12).map(|minute| (minute, true, false)).collect();
        assert!(check(3, 0, &strange).is_none());
    }

    #[test]
    fn a_policy_that_denies_what_was_usual_is_no_scan() {
        let denied = [(9, false, true), (5, false, true), (3, false, true), (1, false, true)];
        assert!(check(240, 0, &denied).is_none());
    }

    #[test]
    fn more_destinations_are_less_probable() {
        let of = |n: i64| {
            let probes: Vec<_> = (0..n).map(|i| (i, true, false)).collect();
            check(240, 0, &probes).unwrap().p
        };
        assert!(of(3) > of(5) && of(5) > of(12));
    }
}
