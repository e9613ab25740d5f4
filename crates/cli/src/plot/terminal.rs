//! A chart in characters: the band in shades, what was seen in blocks, the finding below.

use std::fmt::Write as _;

use lapwing_telemetry::EventTime;

use super::{Chart, Point, minute, tick};

const WIDTH: usize = 78;
const HEIGHT: usize = 12;

/// Draws the chart. Several windows share a column: of them the one farthest from what was expected is shown, so
/// that nothing short is lost.
pub(crate) fn draw(chart: &Chart) -> String {
    let (start, end) = chart.span();
    let top = chart.top();
    let column = |at: i64| {
        let share = (at - start) as f64 / (end - start) as f64;
        ((share * WIDTH as f64) as usize).min(WIDTH - 1)
    };
    let row = |value: f64| ((value / top * (HEIGHT as f64 - 1.0)).round().max(0.0) as usize).min(HEIGHT - 1);
    let mut cells = vec![vec![' '; WIDTH]; HEIGHT];
    let mut shown: Vec<Option<Point>> = vec![None; WIDTH];
    for point in &chart.points {
        let place = &mut shown[column(i64::midpoint(point.start, point.end))];
        if place.is_none_or(|other| distance(point) > distance(&other)) {
            *place = Some(*point);
        }
    }
    fill(&mut shown);
    for (x, point) in shown.iter().enumerate() {
        let Some(point) = point else { continue };
        if let Some(high) = point.high {
            for cells in cells.iter_mut().take(row(high.min(top)) + 1).skip(row(point.low.unwrap_or(0.0))) {
                cells[x] = '░';
            }
        }
        if let Some(expected) = point.expected.filter(|e| *e <= top) {
            cells[row(expected)][x] = '─';
        }
        if let Some(observed) = point.observed {
            let outside =
                point.high.is_some_and(|high| observed > high) || point.low.is_some_and(|low| observed < low);
            cells[row(observed)][x] = if outside { '█' } else { '•' };
        }
    }
    let mut text = format!("  {} ({})\n", chart.title, chart.unit);
    for (y, cells) in cells.iter().enumerate().rev() {
        let value = y as f64 / (HEIGHT as f64 - 1.0) * top;
        let label = if y % 3 == 2 || y == 0 { tick(value) } else { String::new() };
        let line: String = cells.iter().collect();
        let _infallible = writeln!(text, "  {label:>8} ┤{}", line.trim_end());
    }
    let _infallible = writeln!(text, "  {:>8} └{}", "", "─".repeat(WIDTH));
    let mut marks = vec![' '; WIDTH];
    for at in chart.moments.iter().filter(|at| (start..end).contains(&at.0)) {
        marks[column(at.0)] = '+';
    }
    let (from, to) = chart.marked;
    marks[column(from.0.clamp(start, end))..=column(to.0.clamp(start, end))].fill('▲');
    let line: String = marks.into_iter().collect();
    let _infallible = writeln!(text, "  {:>8}  {}", "", line.trim_end());
    let (first, last) = (minute(EventTime(start)), minute(EventTime(end)));
    let gap = WIDTH.saturating_sub(first.len() + last.len() + 1);
    let _infallible = writeln!(text, "  {:>8}  {first}{}{last}", "", " ".repeat(gap));
    text.push_str(
        "            ░ usual  ─ expected  • seen  █ seen, unusual  ▲ the finding  + others opened\n",
    );
    text
}

/// Short windows leave columns empty: those between two windows that meet take the one before.
fn fill(shown: &mut [Option<Point>]) {
    let mut before: Option<Point> = None;
    for i in 0..shown.len() {
        match shown[i] {
            Some(point) => before = Some(point),
            None => {
                let after = shown[i + 1..].iter().flatten().next();
                if let (Some(b), Some(after)) = (before, after)
                    && after.start <= b.end
                {
                    shown[i] = Some(b);
                }
            }
        }
    }
}

/// How far a window is from what was expected of it.
fn distance(point: &Point) -> f64 {
    match (point.observed, point.expected) {
        (Some(observed), Some(expected)) => (observed - expected).abs(),
        (Some(observed), None) => observed,
        (None, _) => -1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_stands_out_of_its_band_over_the_mark() {
        let hour = 3_600_000_000;
        let points = (0..48).map(|h| Point {
            start: h * hour,
            end: (h + 1) * hour,
            observed: Some(if h == 40 { 90.0 } else { 10.0 }),
            expected: Some(11.0),
            low: Some(2.0),
            high: Some(25.0),
        });
        let chart = Chart {
            title: "calls".into(),
            unit: "calls/h".into(),
            points: points.collect(),
            marked: (EventTime(40 * hour), EventTime(41 * hour)),
            moments: vec![EventTime(20 * hour)],
        };
        let text = draw(&chart);
        let lines: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
        let spike = lines.iter().position(|l| l.contains(&'█')).unwrap();
        assert!(spike <= 2, "{text}");
        let at = lines[spike].iter().position(|c| *c == '█').unwrap();
        let marks = &lines[lines.len() - 3];
        assert_eq!(marks[at], '▲', "{text}");
        assert!(marks.contains(&'+'));
        assert_eq!(
            lines.iter().filter(|l| l.contains(&'•')).count() - 1,
            1,
            "calm windows share a row: {text}"
        );
    }
}
