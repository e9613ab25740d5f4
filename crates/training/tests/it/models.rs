//! From rows to a model on disk.

use std::fs;
use std::time::Duration;

use lapwing_detection::features::N;
use lapwing_detection::{FEATURE_VERSION, FEATURES, FeatureRow, Model};
use lapwing_telemetry::{EventTime, Pair};
use lapwing_training::{Card, FitOptions, Fitted, Fitter, SaveError, TrainError, save};

#[test]
fn ordinary_windows_score_below_the_threshold_and_a_window_unlike_them_far_above() {
    let fitted = fit(&rows(5_000), options());
    let model = &fitted.model;
    assert!(
        rows(5_000).iter().all(|row| model.score(row) <= model.threshold),
        "the margin leaves none above"
    );
    let mean: f64 = rows(5_000).iter().map(|row| model.score(row)).sum::<f64>() / 5_000.0;
    assert!((mean - 1.0).abs() < 0.01, "a typical window scores 1, these {mean}");

    let usual = rows(1)[0];
    let unlike = |feature: usize, value: f32| {
        let mut row = usual;
        row[feature] = value;
        model.score(&row) > 2.0 * model.threshold
    };
    assert!(unlike(1, 3.0), "it follows feature 0 in every row, here it does not");
    assert!(unlike(6, 1.5), "it never moved in training");
    assert!(fitted.explained.iter().sum::<f64>() > 0.95);
    assert_eq!((fitted.rows_seen, model.trained_rows), (5_000, 5_000));
}

#[test]
fn the_order_of_the_rows_and_the_rows_beyond_the_limit_change_nothing_but_which_are_chosen() {
    let options = FitOptions { max_rows: 1_000, ..options() };
    let forward = fit(&rows(5_000), options.clone());
    let mut fitter = Fitter::new(options).unwrap();
    for row in windows(&rows(5_000)).iter().rev() {
        fitter.offer(row);
    }
    assert_eq!(fitter.fit().unwrap(), forward);
    assert_eq!((forward.rows_seen, forward.model.trained_rows), (5_000, 1_000));
}

#[test]
fn windows_that_are_not_finite_are_left_out_and_counted() {
    let mut with_nan = rows(500);
    with_nan.extend([[f32::NAN; N], [f32::INFINITY; N]]);
    let fitted = fit(&with_nan, options());
    assert_eq!((fitted.model.trained_rows, fitted.rows_not_finite), (500, 2));
    assert_eq!(fitted.model, fit(&rows(500), options()).model);
}

#[test]
fn too_little_or_too_even_data_is_refused_with_the_numbers() {
    let refuse = |rows: &[[f32; N]], options: FitOptions| try_fit(rows, options).unwrap_err().to_string();
    assert_eq!(
        refuse(&rows(99), options()),
        "99 usable feature rows of 99, 0 not finite; at least 100 are needed"
    );
    assert_eq!(refuse(&[[1.0; N]; 200], options()), "no feature varies over 200 rows");
    let wrong = [
        (FitOptions { explained: 0.0, ..options() }, "option explained must be above 0 and at most 1"),
        (FitOptions { quantile: f64::NAN, ..options() }, "option quantile must be above 0 and at most 1"),
        (FitOptions { margin: 0.5, ..options() }, "option margin must be 1 or more"),
        (FitOptions { max_rows: 5, ..options() }, "option max_rows must be 100 or more"),
        (FitOptions { window: Duration::ZERO, ..options() }, "option window must be a second or more"),
    ];
    for (options, expected) in wrong {
        assert_eq!(refuse(&rows(200), options), expected);
    }
}

#[test]
fn one_feature_that_varies_is_scored_by_itself() {
    let mut alone = vec![[1.0; N]; 500];
    for (alone, row) in alone.iter_mut().zip(rows(500)) {
        alone[0] = row[0];
    }
    let fitted = fit(&alone, options());
    assert!(fitted.model.components.is_empty());
    let mut far = [1.0; N];
    far[0] = 50.0;
    assert!(fitted.model.score(&far) > fitted.model.threshold);
}

#[test]
fn a_model_is_saved_under_the_next_version_and_never_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let fitted = fit(&rows(500), options());
    let first = save(folder.path(), &fitted, &card()).unwrap();
    assert_eq!(first, folder.path().join("profile/1"));
    let written = fs::read(first.join("model.json")).unwrap();
    fs::create_dir(folder.path().join("profile/41")).unwrap();
    fs::write(folder.path().join("profile/41/model.json"), "kept").unwrap();
    fs::create_dir(folder.path().join("profile/notes")).unwrap();
    assert_eq!(save(folder.path(), &fitted, &card()).unwrap(), folder.path().join("profile/42"));
    assert_eq!(fs::read(first.join("model.json")).unwrap(), written);
    assert_eq!(fs::read(folder.path().join("profile/41/model.json")).unwrap(), b"kept");
    let mut names: Vec<_> =
        fs::read_dir(folder.path().join("profile")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "41", "42", "notes"], "no draft is left");

    for name in ["", "../elsewhere", "Profile", "a/b", &"x".repeat(65)] {
        let mut fitted = fitted.clone();
        fitted.model.name = name.to_owned();
        assert!(matches!(save(folder.path(), &fitted, &card()), Err(SaveError::Name { .. })), "{name}");
    }
}

#[test]
fn a_saved_model_reads_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let fitted = fit(&rows(500), options());
    let text = fs::read_to_string(save(folder.path(), &fitted, &card()).unwrap().join("model.json")).unwrap();
    assert_eq!(Model::parse(&text).unwrap(), Model { version: 1, ..fitted.model });
}

#[test]
fn the_card_says_what_the_model_was_fitted_on_and_what_it_cannot_do() {
    let fitted = Fitted {
        model: Model {
            name: "profile".into(),
            version: 0,
            feature_version: FEATURE_VERSION,
            features: FEATURES[..2].iter().map(|&name| name.to_owned()).collect(),
            mean: vec![0.25, -1.5],
            scale: vec![1.0, 0.125],
            components: vec![vec![0.6, 0.8]],
            variances: vec![1.75],
            residual_variance: 0.25,
            threshold: 2.5,
            window_s: 600,
            trained_rows: 10_000,
        },
        explained: vec![0.875],
        from: EventTime(1_772_409_600_000_000),
        to: EventTime(1_773_014_400_000_000),
        pairs: 26,
        rows_seen: 12_000,
        rows_not_finite: 2,
        score_quantiles: vec![(0.5, 0.25), (0.999, 2.0)],
        quantile: 0.999,
        margin: 1.25,
    };
    insta::assert_snapshot!(card().to_markdown(7, &fitted));
}

/// Ordinary windows, the same each time: features 0 to 3 follow one hidden number, 4 and 5 another one, the
/// rest never moves.
fn rows(n: usize) -> Vec<[f32; N]> {
    let mut state = 7_u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0) as f32
    };
    (0..n)
        .map(|_| {
            let (volume, latency) = (noise(), noise());
            let mut row = [0.0; N];
            for (feature, value) in
                row.iter_mut().zip([volume, volume, 2.0 * volume, -volume, latency, latency])
            {
                *feature = value + 0.05 * noise();
            }
            row
        })
        .collect()
}

fn options() -> FitOptions {
    FitOptions::named("profile", Duration::from_mins(10))
}

/// The rows as windows of one pair, one after another.
fn windows(rows: &[[f32; N]]) -> Vec<FeatureRow> {
    let window = |(n, features): (usize, &[f32; N])| FeatureRow {
        pair: Pair::new("prod", "shop/cart", "data/orders"),
        window_start: EventTime(1_772_409_600_000_000 + n as i64 * 600_000_000),
        features: *features,
    };
    rows.iter().enumerate().map(window).collect()
}

fn try_fit(rows: &[[f32; N]], options: FitOptions) -> Result<Fitted, TrainError> {
    lapwing_training::fit(&windows(rows), options)
}

fn fit(rows: &[[f32; N]], options: FitOptions) -> Fitted {
    try_fit(rows, options).expect("these rows can be fitted")
}

fn card() -> Card {
    Card {
        data_hash: "00ff".into(),
        data: "datasets/mesh/stretched".into(),
        settings_hash: "abcd".into(),
        fitted_by: "lapwing 0.1.0".into(),
        backtest: None,
        weaknesses: vec!["Ten services only.".into()],
    }
}
