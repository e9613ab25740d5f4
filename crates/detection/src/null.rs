//! What ordinary traffic raises: streams in which nothing happens must keep to the budget of false findings.
//!
//! Windows are drawn and not calls, so that a pair of thousands of calls a second costs no more than a slow one.

use std::sync::Arc;

use lapwing_telemetry::{Finding, FindingKind, FindingState, Pair, Signal};

use crate::engine::Output;
use crate::grid::{DAY, HOUR, MINUTE};
use crate::mesh::Mesh;
use crate::pair_state::{PairState, Pending};
use crate::{Settings, Zone};

/// Calls an hour: from one to two thousand a second.
const RATES: [f64; 6] = [1.0, 8.0, 60.0, 600.0, 40_000.0, 7_200_000.0];
const MONDAY: i64 = 1_772_409_600_000_000;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut n) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            n += 1;
        }
        n
    }
}

/// How a stream varies.
#[derive(Clone, Copy)]
struct Shape {
    /// Size of the daily swing, 0 to 1, with weekends at two fifths.
    season: f64,
    /// Coefficient of variation of the rate, of slowness, sizes and failures, from hour to hour.
    waver: f64,
}

/// Share of calls in each of five durations and sizes.
const SHARES: [f64; 5] = [0.3, 0.4, 0.2, 0.08, 0.02];

/// Where and when a stream runs.
#[derive(Clone, Copy)]
struct Place {
    zone: &'static str,
    /// Its first moment, a Monday in UTC.
    from: i64,
    days: i64,
}

const UTC: Place = Place { zone: "UTC", from: MONDAY, days: 12 };

/// Minutes of a nightly job of a call a minute, which two pairs run besides where clocks change: one by local time,
/// one by UTC.
const JOB: std::ops::Range<i64> = 130..170;

/// Runs pairs of every rate for days; gives the findings opened after the first one.
fn run(seed: u64, place: Place, shape: Shape) -> Vec<Finding> {
    let zone = Zone::parse(place.zone).expect("the tests know their zones");
    let settings = Settings {
        window: std::time::Duration::from_secs(60),
        time_zone: zone.clone(),
        ..Settings::default()
    };
    let from = place.from;
    let mut mesh = Mesh::new(1, Arc::new(settings), None);
    let mut random = Random(seed);
    let pairs: Vec<Pair> =
        (0..2 * RATES.len()).map(|i| Pair::new("c", &format!("a/{i}"), &format!("b/{}", i % 3))).collect();
    let mut places = Vec::new();
    mesh.begin(from);
    for pair in &pairs {
        places.push(mesh.engines[0].insert(pair.clone(), PairState::new(from)));
    }
    let mut wavers = vec![[1.0; 3]; pairs.len()];
    let mut out = Vec::new();
    let minutes = place.days * DAY / MINUTE;
    for minute in 0..minutes {
        let start = from + minute * MINUTE;
        let local = start + zone.ahead(start);
        let (hour, day) = ((local / HOUR) % 24, (local - from).div_euclid(DAY) % 7);
        let swing = 1.0 + shape.season * (std::f64::consts::TAU * (hour as f64 - 8.0) / 24.0).sin();
        let level = swing * if shape.season > 0.0 && day >= 5 { 0.4 } else { 1.0 };
        for (i, pair) in pairs.iter().enumerate() {
            if minute % 60 == 0 {
                // Lognormal: twice as much is as probable as half.
                wavers[i] = [0; 3].map(|_| (shape.waver * random.normal()).exp());
            }
            let clock = if i == 0 { local } else { start };
            let runs = place.zone != "UTC" && i < 2 && JOB.contains(&((clock / MINUTE) % 1_440));
            let job = if runs { 1.0 } else { 0.0 };
            let mean = RATES[i % RATES.len()] * level * wavers[i][0] / 60.0 + job;
            let pending = draw(&mut random, start, mean, wavers[i]);
            if let Some(pending) = pending {
                mesh.engines[0].put(pair, places[i], pending);
            }
        }
        mesh.close(start + MINUTE, &mut out);
        mesh.boundary = start + 2 * MINUTE;
    }
    out.retain(|f| f.state == FindingState::Open);
    out
}

fn draw(random: &mut Random, start: i64, mean: f64, [_, slow, fail]: [f64; 3]) -> Option<Pending> {
    let mut pending = Pending { start, ..Pending::default() };
    let seen = pending.counts.signal_mut(Signal::LogServer);
    for (class, share) in SHARES.iter().enumerate() {
        let n = random.poisson(mean * share * if class >= 3 { slow } else { 1.0 });
        if n > 0 {
            seen.calls += n;
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            seen.latency.put_many(5_000 << class, n);
            seen.sizes[0].put_many(300, n);
            seen.sizes[1].put_many(4_000 << class, n);
            seen.sized += u64::from(n);
        }
    }
    seen.errors = random.poisson(mean * 0.004 * fail).min(seen.calls);
    seen.auth = random.poisson(mean * 0.000_5 * fail).min(seen.calls - seen.errors);
    seen.encrypted = seen.calls;
    seen.retries = random.poisson(mean * 0.002 * fail).min(seen.calls);
    seen.bytes_in = 300 * seen.sized;
    seen.bytes_out = seen.sizes[1].sum() as u64;
    // Eight operations, each half as frequent as the one before.
    (0..8)
        .filter(|rank| mean > f64::from(1 << rank) || random.bits().is_multiple_of(2 << rank))
        .for_each(|o| seen.operation(o));
    if seen.calls == 0 {
        return None;
    }
    // The first of so many calls at random.
    let first = 1.0 - random.unit().powf(1.0 / seen.calls as f64);
    pending.counts.seen_at(start + (first * MINUTE as f64) as i64);
    Some(pending)
}

/// Findings of so many days of such streams, which the budget must cover: a third of one a day.
fn check(seed: u64, place: Place, shape: Shape) {
    let found = run(seed, place, shape);
    let told: Vec<(FindingKind, &str)> = found.iter().map(|f| (f.kind, f.explanation.as_str())).collect();
    assert!(found.len() as f64 <= Settings::default().budget * (place.days - 1) as f64, "{told:#?}");
}

#[test]
fn poisson_streams_keep_to_the_budget() {
    check(1, UTC, Shape { season: 0.0, waver: 0.0 });
}

#[test]
fn seasonal_streams_keep_to_the_budget() {
    check(2, UTC, Shape { season: 0.7, waver: 0.0 });
}

#[test]
fn streams_that_waver_more_than_chance_keep_to_the_budget() {
    check(3, UTC, Shape { season: 0.0, waver: 0.25 });
}

#[test]
fn seasonal_streams_that_waver_keep_to_the_budget() {
    check(4, UTC, Shape { season: 0.7, waver: 0.25 });
}

#[test]
fn clocks_that_go_forward_or_back_raise_nothing() {
    let shape = Shape { season: 0.7, waver: 0.0 };
    // Both weekends on which London changes its clocks, and the week after.
    let from = |day: i64| Place { zone: "Europe/London", from: MONDAY + day * DAY, days: 21 };
    check(5, from(14), shape);
    check(6, from(224), shape);
}

#[test]
fn closing_what_was_put_is_closing_what_was_counted() {
    // The streams above would prove nothing if their windows never reached the detectors.
    let mut mesh = Mesh::new(1, Arc::new(Settings::default()), None);
    mesh.begin(MONDAY);
    let pair = Pair::new("c", "a/b", "c/d");
    let place = mesh.engines[0].insert(pair.clone(), PairState::new(MONDAY));
    let base = mesh.grid.base();
    let pending = draw(&mut Random(1), MONDAY, 500.0, [1.0; 3]).expect("five hundred calls");
    let n = pending.counts.most(|c| c.calls);
    mesh.engines[0].put(&pair, place, pending);
    let mut out = Output::default();
    mesh.engines[0].gather(MONDAY + base);
    mesh.engines[0].close(MONDAY + base, &crate::shared::Shared::default(), &mut out);
    assert_eq!(mesh.pairs()[0].calls, n);
    assert_eq!(out.contacts.len(), 1);
}
