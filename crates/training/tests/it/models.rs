//! From rows to a model on disk.

use std::fs;

use lapwing_telemetry::EventTime;
use lapwing_training::{Card, FitOptions, Fitted, Fitter, Numbers, Row, SaveError, TrainError, save};

const FEATURES: &[&str] = &["volume", "latency", "errors", "bytes"];

#[test]
fn ordinary_windows_score_below_the_threshold_and_a_window_unlike_them_far_above() {
    let fitted = fit(&rows(5_000), FitOptions::named("profile"));
    let above = rows(5_000).iter().filter(|row| fitted.model.score(*row) > fitted.model.threshold).count();
    assert_eq!(above, 0, "the margin leaves no training window above");
    // Bytes grow with volume in every row; here they do not.
    let unlike = [1.5, 0.0, 0.0, -30.0];
    assert!(fitted.model.score(&unlike) > 3.0 * fitted.model.threshold);
    assert!(fitted.explained.iter().sum::<f64>() > 0.95);
    assert_eq!((fitted.rows_seen, fitted.rows_used), (5_000, 5_000));
}

#[test]
fn the_order_of_the_rows_and_the_rows_beyond_the_limit_change_nothing_but_which_are_chosen() {
    let options = FitOptions { max_rows: 1_000, ..FitOptions::named("profile") };
    let forward = fit(&rows(5_000), options.clone());
    let mut fitter = Fitter::new(options, 1, FEATURES).unwrap();
    for (n, row) in rows(5_000).iter().enumerate().rev() {
        fitter.offer(Row { key: &[b"pair", &n.to_be_bytes()], values: row });
    }
    assert_eq!(fitter.fit().unwrap(), forward);
    assert_eq!((forward.rows_seen, forward.rows_used), (5_000, 1_000));
}

#[test]
fn windows_that_are_not_finite_are_left_out_and_counted() {
    let mut with_nan = rows(500);
    with_nan.extend([[f32::NAN, 0.0, 0.0, 0.0], [0.0, f32::INFINITY, 0.0, 0.0]]);
    let fitted = fit(&with_nan, FitOptions::named("profile"));
    assert_eq!((fitted.rows_used, fitted.rows_not_finite), (500, 2));
    assert_eq!(fitted.model, fit(&rows(500), FitOptions::named("profile")).model);
}

#[test]
fn too_little_or_too_even_data_is_refused_with_the_numbers() {
    let refuse = |rows: &[[f32; 4]], options: FitOptions| try_fit(rows, options).unwrap_err().to_string();
    let named = || FitOptions::named("profile");
    assert_eq!(
        refuse(&rows(99), named()),
        "99 usable feature rows of 99, 0 not finite; at least 100 are needed"
    );
    assert_eq!(refuse(&[[1.0; 4]; 200], named()), "no feature varies over 200 rows");
    let options = [
        (FitOptions { explained: 0.0, ..named() }, "option explained must be above 0 and at most 1"),
        (FitOptions { quantile: f64::NAN, ..named() }, "option quantile must be above 0 and at most 1"),
        (FitOptions { margin: 0.5, ..named() }, "option margin must be 1 or more"),
        (FitOptions { max_rows: 5, ..named() }, "option max_rows must be 100 or more"),
    ];
    for (options, expected) in options {
        assert_eq!(refuse(&rows(200), options), expected);
    }
}

#[test]
fn one_feature_that_varies_is_scored_by_itself() {
    let alone: Vec<[f32; 4]> = rows(500).iter().map(|row| [row[0], 1.0, 1.0, 1.0]).collect();
    let fitted = fit(&alone, FitOptions::named("profile"));
    assert!(fitted.model.components.is_empty());
    assert!(fitted.model.score(&[50.0, 1.0, 1.0, 1.0]) > fitted.model.threshold);
}

#[test]
fn a_model_is_saved_under_the_next_version_and_never_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let fitted = fit(&rows(500), FitOptions::named("profile"));
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
    let fitted = fit(&rows(500), FitOptions::named("profile"));
    let text = fs::read(save(folder.path(), &fitted, &card()).unwrap().join("model.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Numbers>(&text).unwrap(), fitted.model);
}

#[test]
fn the_card_says_what_the_model_was_fitted_on_and_what_it_cannot_do() {
    let fitted = Fitted {
        model: Numbers {
            name: "profile".into(),
            feature_version: 3,
            features: vec!["volume".into(), "latency".into()],
            mean: vec![0.25, -1.5],
            scale: vec![1.0, 0.125],
            components: vec![vec![0.6, 0.8]],
            threshold: 2.5,
        },
        explained: vec![0.875],
        rows_seen: 12_000,
        rows_not_finite: 2,
        rows_used: 10_000,
        score_quantiles: vec![(0.5, 0.25), (0.999, 2.0)],
        quantile: 0.999,
        margin: 1.25,
    };
    insta::assert_snapshot!(card().to_markdown(7, &fitted));
}

/// Four features, of which two follow volume; the same rows each time.
fn rows(n: usize) -> Vec<[f32; 4]> {
    let mut state = 7_u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0) as f32
    };
    (0..n)
        .map(|_| {
            let (volume, latency) = (noise(), noise());
            [volume, latency, 0.5 * latency + 0.05 * noise(), 20.0 * volume + 0.5 * noise()]
        })
        .collect()
}

fn try_fit(rows: &[[f32; 4]], options: FitOptions) -> Result<Fitted, TrainError> {
    let mut fitter = Fitter::new(options, 1, FEATURES)?;
    for (n, row) in rows.iter().enumerate() {
        fitter.offer(Row { key: &[b"pair", &n.to_be_bytes()], values: row });
    }
    fitter.fit()
}

fn fit(rows: &[[f32; 4]], options: FitOptions) -> Fitted {
    try_fit(rows, options).expect("these rows can be fitted")
}

fn card() -> Card {
    Card {
        data_hash: "00ff".into(),
        data: "datasets/mesh/stretched".into(),
        from: EventTime(1_772_409_600_000_000),
        to: EventTime(1_773_014_400_000_000),
        pairs: 26,
        settings_hash: "abcd".into(),
        fitted_by: "lapwing 0.1.0".into(),
        backtest: None,
        weaknesses: vec!["Ten services only.".into()],
    }
}
