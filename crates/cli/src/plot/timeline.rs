//! A backtest over time: what was done to the mesh above, what was found below, a row for each kind.

use std::collections::BTreeMap;
use std::error::Error;

use lapwing_telemetry::EventTime;
use lapwing_training::backtest::Report;
use lapwing_training::{Labels, Revision};
use plotters::prelude::*;

use super::minute;

const WIDTH: u32 = 1_400;
const ROW: u32 = 22;
/// Pixels for names on the left.
const NAMES: u32 = 190;
const DONE: RGBColor = RGBColor(49, 130, 189);
const MISSED: RGBColor = RGBColor(165, 15, 21);
const HARMLESS: RGBColor = RGBColor(189, 189, 189);
const FOUND: RGBColor = RGBColor(49, 163, 84);
const BESIDE: RGBColor = RGBColor(253, 174, 107);
const FALSE: RGBColor = RGBColor(222, 45, 38);

/// A bar of the timeline.
struct Bar {
    row: String,
    from: i64,
    to: i64,
    color: RGBColor,
}

/// Draws what was done and what was found as SVG.
///
/// # Errors
/// What the drawing library says.
pub(crate) fn draw(
    labels: &Labels,
    revisions: &[Revision],
    report: &Report,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut text = String::new();
    let bars = [done(labels, report), found(revisions, report)];
    draw_to(labels, &bars, report, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// What was done: missed, answered, or harmless.
fn done(labels: &Labels, report: &Report) -> Vec<Bar> {
    let mut bars = Vec::new();
    for label in labels.incidents.iter().filter(|label| label.test) {
        let missed = report.by_incident.iter().any(|s| s.id == label.id && s.delay_min.is_none());
        let color = match (label.expect_alert, missed) {
            (false, _) => HARMLESS,
            (true, true) => MISSED,
            (true, false) => DONE,
        };
        bars.extend(label.occurrences.iter().map(|(from, to)| Bar {
            row: label.kind.clone(),
            from: from.0,
            to: to.0,
            color,
        }));
    }
    bars
}

/// What was found, from opening to the end of what was last seen: an answer, false, or beside an incident.
fn found(revisions: &[Revision], report: &Report) -> Vec<Bar> {
    let mut lives: BTreeMap<&str, (&Revision, i64)> = BTreeMap::new();
    for revision in revisions {
        let life = lives.entry(&revision.id).or_insert((revision, revision.window_end.0));
        life.1 = life.1.max(revision.window_end.0);
    }
    let answers: Vec<&String> = report.by_incident.iter().flat_map(|score| &score.findings).collect();
    let bar = |(id, (first, to)): (&str, (&Revision, i64))| Bar {
        row: first.kind.clone(),
        from: first.opened_at.0,
        to,
        color: if answers.iter().any(|answer| *answer == id) {
            FOUND
        } else if report.false_list.iter().any(|wrong| wrong.id == id) {
            FALSE
        } else {
            BESIDE
        },
    };
    lives.into_iter().map(bar).collect()
}

fn draw_to(
    labels: &Labels,
    bars: &[Vec<Bar>; 2],
    report: &Report,
    text: &mut String,
) -> Result<(), Box<dyn Error>> {
    let all = || bars.iter().flatten();
    let (start, end) = match labels.timeline {
        Some(days) => (days.test_start.0, days.test_end.0),
        None => (
            all().map(|b| b.from).min().unwrap_or(0),
            all().map(|b| b.to).max().unwrap_or(1).max(all().map(|b| b.from).min().unwrap_or(0) + 1),
        ),
    };
    let rows = bars.each_ref().map(|bars| {
        let mut rows: Vec<&str> = bars.iter().map(|bar| bar.row.as_str()).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    });
    let n_rows = rows[0].len() + rows[1].len() + 3;
    let area = SVGBackend::with_string(text, (WIDTH, n_rows as u32 * ROW + 60)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(34)
        .margin_left(NAMES)
        .build_cartesian_2d(start..end, 0.0..n_rows as f64)?;
    context
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(12)
        .x_label_formatter(&|at| minute(EventTime(*at)))
        .draw()?;
    let mut top = n_rows as f64;
    let words = [
        format!(
            "done to the mesh: {} of {} found (blue; missed dark red); harmless changes grey",
            report.detected, report.incidents
        ),
        format!(
            "found: answers green, {} false red, beside an incident or late orange; median delay {} min",
            report.false_findings,
            report.median_delay_min.map_or("-".to_owned(), |delay| format!("{delay:.1}"))
        ),
    ];
    for ((rows, bars), words) in rows.iter().zip(bars).zip(words) {
        top -= 1.0;
        area.draw_text(
            &words,
            &("sans-serif", 14).into_text_style(&area),
            (10, y_of(&context, start, top + 0.9)),
        )?;
        for row in rows {
            top -= 1.0;
            let style = ("sans-serif", 12).into_text_style(&area);
            area.draw_text(row, &style, (10, y_of(&context, start, top + 0.8)))?;
            for bar in bars.iter().filter(|bar| bar.row == *row && bar.to >= start && bar.from <= end) {
                // A moment is a bar of some pixels.
                let to = bar.to.max(bar.from + (end - start) / 400).min(end);
                let corners = [(bar.from.max(start), top + 0.2), (to, top + 0.8)];
                context.draw_series([Rectangle::new(corners, bar.color.mix(0.85).filled())])?;
            }
        }
    }
    area.present()?;
    Ok(())
}

type Context<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordi64, plotters::coord::types::RangedCoordf64>,
>;

/// The pixel row of a value.
fn y_of(context: &Context<'_>, start: i64, value: f64) -> i32 {
    context.backend_coord(&(start, value)).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_training::{Incident, score};

    #[test]
    fn answers_misses_and_false_findings_have_their_colours() {
        let at = |minute: i64| EventTime(minute * 60_000_000);
        let incident = |id: &str, kind: &str, from: i64, expect_alert| Incident {
            id: id.into(),
            kind: kind.into(),
            expect_alert,
            test: true,
            start: at(from),
            end: at(from + 30),
            occurrences: vec![(at(from), at(from + 30))],
            source: "a/b".into(),
            destination: format!("c/{id}"),
            description: String::new(),
            observed_pairs: None,
            collateral_pairs: Vec::new(),
            variant: None,
            presented_identity: None,
        };
        let labels = Labels {
            timeline: None,
            incidents: vec![
                incident("found", "latency_step", 10, true),
                incident("missed", "error_burst", 10, true),
                incident("harmless", "planned_job", 10, false),
            ],
        };
        let revision = |id: &str, destination: &str, opened| Revision {
            id: id.into(),
            state: None,
            kind: "latency_shift".into(),
            source: Some("a/b".into()),
            destination: Some(destination.into()),
            window_start: at(opened - 10),
            window_end: at(opened),
            opened_at: at(opened),
            incident: None,
        };
        let revisions = [revision("lw-1", "c/found", 20), revision("lw-2", "x/y", 25)];
        let report = score(&labels, &revisions, lapwing_training::backtest::GRACE);
        let svg = draw(&labels, &revisions, &report).unwrap();
        let n = |color: &RGBColor| {
            svg.matches(&format!("fill=\"#{:02X}{:02X}{:02X}\"", color.0, color.1, color.2)).count()
        };
        let counts = [&DONE, &MISSED, &HARMLESS, &FOUND, &FALSE, &BESIDE].map(n);
        assert_eq!(counts, [1, 1, 1, 1, 1, 0], "{svg}");
        assert!(svg.contains("latency_step") && svg.contains("1 of 2 found"));
    }
}
