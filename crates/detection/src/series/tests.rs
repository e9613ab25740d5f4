use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        let (limit, mut product, mut n) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            n += 1.0;
        }
        n
    }
}

fn key(metric: &str) -> SeriesKey {
    SeriesKey { source: "shop/web".into(), destination: "shop/cart".into(), metric: metric.into() }
}

fn data(values: impl Iterator<Item = f64>, step_min: i64) -> SeriesData {
    let samples = values.enumerate().map(|(i, value)| Sample {
        at: EventTime(1_772_409_600_000_000 + i as i64 * step_min * MINUTE),
        value,
    });
    SeriesData { kind: MetricKind::Other, samples: samples.collect() }
}

fn judge(data: SeriesData, settings: &SeriesSettings) -> Vec<SeriesFinding> {
    judge_series(&BTreeMap::from([(key("value"), data)]), settings, |_| ()).0
}

/// Findings of eight series of twenty days in which nothing happens, per day and series.
fn false_alarms(mut draw: impl FnMut(&mut Random, f64) -> f64) -> f64 {
    let found: usize = (0..8)
        .map(|seed| {
            let mut random = Random(seed);
            let values: Vec<f64> = (0..20 * 288).map(|i| draw(&mut random, f64::from(i) / 288.0)).collect();
            judge(data(values.into_iter(), 5), &SeriesSettings::default()).len()
        })
        .sum();
    found as f64 / (8.0 * 20.0)
}

#[test]
fn series_in_which_nothing_happens_keep_to_the_budget() {
    let budget = SeriesSettings::default().budget;
    let day = |t: f64| (t * std::f64::consts::TAU).sin();
    let told = [
        ("normal", false_alarms(|r, _| 50.0 + r.normal())),
        ("Poisson", false_alarms(|r, _| r.poisson(4.0))),
        ("rare", false_alarms(|r, _| r.poisson(0.05))),
        (
            "over-dispersed",
            false_alarms(|r, _| {
                let rate = 20.0 * (0.4 * r.normal()).exp();
                r.poisson(rate)
            }),
        ),
        ("seasonal", false_alarms(|r, t| 100.0 + 60.0 * day(t) + 3.0 * r.normal())),
        ("heavy", false_alarms(|r, _| (1.5 * r.normal()).exp())),
    ];
    for (name, rate) in told {
        assert!(rate <= budget, "{name}: {rate} a day; all: {told:?}");
    }
    let mut level = 0.0;
    let wandering = false_alarms(|r, _| {
        level = 0.9 * level + r.normal();
        200.0 + level
    });
    assert!(wandering <= budget, "autoregressive: {wandering} a day");
}

/// A day and a half of noise with a step of this height at noon.
fn step(height: f64) -> SeriesData {
    let mut random = Random(7);
    let values: Vec<f64> =
        (0..432).map(|i| 100.0 + random.normal() + if i >= 400 { height } else { 0.0 }).collect();
    data(values.into_iter(), 5)
}

#[test]
fn a_change_is_told_when_it_comes_and_its_score_grows_with_it() {
    let mut last = 0.0;
    for height in [10.0, 20.0, 40.0, 80.0, -80.0] {
        let found = judge(step(height), &SeriesSettings::default());
        let first = found.iter().find(|f| f.timestamp.0 >= 1_772_409_600_000_000 + 400 * 5 * MINUTE);
        let first = first.unwrap_or_else(|| panic!("{height} was not found"));
        assert_eq!(first.timestamp.0, 1_772_409_600_000_000 + 400 * 5 * MINUTE);
        if height > 0.0 {
            assert!(first.score >= last, "{height}: {} after {last}", first.score);
            last = first.score;
        }
        assert!((first.expected - 100.0).abs() < 3.0 && first.incident == 1, "{first:?}");
    }
}

#[test]
fn nothing_is_reported_of_the_past_that_is_vouched_for() {
    let until = EventTime(1_772_409_600_000_000 + 410 * 5 * MINUTE);
    let settings = SeriesSettings { train_until: Some(until), ..SeriesSettings::default() };
    assert!(judge(step(80.0), &settings).iter().all(|f| f.timestamp > until));
}

#[test]
fn what_recurs_becomes_usual_unless_the_past_is_vouched_for() {
    let mut random = Random(3);
    let values: Vec<f64> =
        (0..20 * 288).map(|i| 100.0 + random.normal() + if i % 331 == 330 { 60.0 } else { 0.0 }).collect();
    let day = EventTime(1_772_409_600_000_000 + 288 * 5 * MINUTE);
    let learned = judge(data(values.iter().copied(), 5), &SeriesSettings::default());
    let vouched = SeriesSettings { train_until: Some(day), ..SeriesSettings::default() };
    let kept = judge(data(values.iter().copied(), 5), &vouched);
    assert!(learned.len() < 8 && kept.len() > 12, "{} {}", learned.len(), kept.len());
}

#[test]
fn a_resource_is_reported_only_beside_a_symptom() {
    let both = |resource_alone: bool| {
        let mut series = BTreeMap::new();
        series.insert(key("cpu_pct"), SeriesData { kind: MetricKind::Resource, ..step(50.0) });
        let height = if resource_alone { 0.0 } else { 50.0 };
        series.insert(key("a_latency"), SeriesData { kind: MetricKind::Latency, ..step(height) });
        judge_series(&series, &SeriesSettings::default(), |_| ()).0
    };
    assert!(both(true).is_empty());
    let found = both(false);
    assert_eq!(found.iter().map(|f| f.incident).collect::<BTreeSet<_>>().len(), 1);
    assert!(found.iter().any(|f| f.kind == MetricKind::Resource), "{found:?}");
}

#[test]
fn a_series_of_one_value_or_of_few_is_no_trouble() {
    assert!(judge(data([5.0; 1_000].into_iter(), 5), &SeriesSettings::default()).is_empty());
    assert!(judge(data([5.0, 6.0].into_iter(), 5), &SeriesSettings::default()).is_empty());
    assert!(judge(data([f64::NAN; 99].into_iter(), 5), &SeriesSettings::default()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_order_of_rows_changes_nothing(seed in 0_u64..1_000) {
        let sorted = step(40.0);
        let mut random = Random(seed);
        let mut shuffled = sorted.clone();
        for i in (1..shuffled.samples.len()).rev() {
            shuffled.samples.swap(i, (random.unit() * (i + 1) as f64) as usize);
        }
        let settings = SeriesSettings::default();
        prop_assert_eq!(judge(sorted, &settings), judge(shuffled, &settings));
    }
}
