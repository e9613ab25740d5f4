//! A chart as an SVG file.

use std::error::Error;

use lapwing_telemetry::EventTime;
use plotters::prelude::*;

use super::{Chart, minute, tick};

const SIZE: (u32, u32) = (1_000, 420);
const BAND: RGBColor = RGBColor(198, 219, 239);
const EXPECTED: RGBColor = RGBColor(66, 146, 198);
const SEEN: RGBColor = RGBColor(60, 60, 60);
const UNUSUAL: RGBColor = RGBColor(214, 39, 40);
const MARKED: RGBColor = RGBColor(255, 237, 160);
const OTHERS: RGBColor = RGBColor(253, 141, 60);

/// Draws the chart.
///
/// # Errors
/// What the drawing library says; it writes to memory, so there is little that can fail.
pub(crate) fn draw(chart: &Chart) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut text = String::new();
    draw_to(chart, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw_to(chart: &Chart, text: &mut String) -> Result<(), Box<dyn Error>> {
    let (start, end) = chart.span();
    let top = chart.top();
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(&area)
        .caption(format!("{} ({})", chart.title, chart.unit), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(start..end, 0.0..top)?;
    let (from, to) = (chart.marked.0.0.clamp(start, end), chart.marked.1.0.clamp(start, end));
    context.draw_series([Rectangle::new([(from, 0.0), (to, top)], MARKED.filled())])?;
    for p in &chart.points {
        if let Some(high) = p.high {
            let (low, high) = (p.low.unwrap_or(0.0).min(top), high.min(top));
            context.draw_series([Rectangle::new([(p.start, low), (p.end, high)], BAND.mix(0.7).filled())])?;
        }
    }
    let expected = chart.points.iter().filter_map(|p| Some([(p.start, p.expected?), (p.end, p.expected?)]));
    for step in expected.filter(|step| step[0].1 <= top) {
        context.draw_series([PathElement::new(step, EXPECTED.stroke_width(2))])?;
    }
    let others = chart.moments.iter().map(|at| at.0).filter(|at| (start..end).contains(at));
    for at in others {
        context.draw_series([PathElement::new([(at, 0.0), (at, top)], OTHERS.stroke_width(1))])?;
    }
    for p in &chart.points {
        let Some(observed) = p.observed else { continue };
        let outside = p.high.is_some_and(|high| observed > high) || p.low.is_some_and(|low| observed < low);
        let at = (i64::midpoint(p.start, p.end), observed);
        let (color, size) = if outside { (UNUSUAL, 4) } else { (SEEN, 2) };
        context.draw_series([Circle::new(at, size, color.filled())])?;
    }
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .x_labels(8)
        .x_label_formatter(&|at| minute(EventTime(*at)))
        .y_label_formatter(&|value| tick(*value))
        .y_desc(chart.unit.as_str())
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Point;

    #[test]
    fn a_chart_is_an_svg_with_its_band_and_what_was_unusual() {
        let point = |h: i64, observed| Point {
            start: h * 3_600_000_000,
            end: (h + 1) * 3_600_000_000,
            observed: Some(observed),
            expected: Some(11.0),
            low: None,
            high: Some(25.0),
        };
        let chart = Chart {
            title: "a → <b>".into(),
            unit: "ms".into(),
            points: vec![point(0, 10.0), point(1, 90.0)],
            marked: (EventTime(3_600_000_000), EventTime(7_200_000_000)),
            moments: vec![EventTime(1_800_000_000)],
        };
        let svg = draw(&chart).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("#D62728").count(), 1, "one window is unusual");
        assert_eq!(svg.matches("#C6DBEF").count(), 2, "each has its band");
        assert!(
            svg.contains("a → &lt;b&gt;") && svg.contains("01-01 0"),
            "names are escaped, times are readable"
        );
    }
}
