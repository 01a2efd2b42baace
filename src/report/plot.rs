//! A measurement over time as a picture, with the faults as bands behind it.

use std::fmt::Write;

use super::document::{Band, Series};
use super::picture::escape;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 26.0;
/// More points than there are pixels say nothing more.
const MOST_POINTS: usize = 900;

pub fn plot(name: &str, series: &Series, bands: &[Band], seconds: f64) -> String {
    let last = series.points.last().map_or(0.0, |(at, _)| *at);
    let span = seconds.max(last).max(0.001);
    let most = series
        .points
        .iter()
        .map(|(_, value)| *value)
        .fold(0.0, f64::max);
    let most = ceiling(most, &series.unit);
    let x = |at: f64| LEFT + at / span * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over time, at most {}\">",
        escape(name),
        escape(&format!(
            "{} {}",
            quantity(most, &series.unit),
            heading_unit(series)
        ))
    );
    for band in bands {
        let (from, to) = (x(band.from.max(0.0)), x(band.to.min(span)));
        let _ = write!(
            out,
            "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
            (to - from).max(2.0),
            HEIGHT - TOP - BOTTOM,
            escape(&band.label)
        );
    }
    for share in [0.0, 0.5, 1.0] {
        let at = y(most * share);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            quantity(most * share, &series.unit)
        );
    }
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let anchor = if share == 1.0 { "end" } else { "middle" };
        let _ = write!(
            out,
            "<text class=\"small\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            x(span * share),
            HEIGHT - 8.0,
            super::checklist::duration(span * share)
        );
    }
    let step = series.points.len().div_ceil(MOST_POINTS).max(1);
    let path: Vec<String> = series
        .points
        .chunks(step)
        .filter_map(|chunk| {
            // The highest of each chunk: a spike must not vanish.
            chunk
                .iter()
                .copied()
                .reduce(|a, b| if b.1 > a.1 { b } else { a })
        })
        .map(|(at, value)| format!("{:.1},{:.1}", x(at), y(value)))
        .collect();
    let _ = write!(
        out,
        "<polyline class=\"line\" points=\"{}\"/></svg>",
        path.join(" ")
    );
    out
}

/// What stands beside the plot's name: the unit, unless the numbers on the axis carry it.
pub fn heading_unit(series: &Series) -> &str {
    match is_bytes(&series.unit) {
        true => "",
        false => &series.unit,
    }
}

fn is_bytes(unit: &str) -> bool {
    unit == "bytes" || unit == "B"
}

/// The top of the scale: a round number of the unit it is shown in.
fn ceiling(value: f64, unit: &str) -> f64 {
    if !is_bytes(unit) {
        return nice(value);
    }
    let mut shown = 1.0;
    while value / shown >= 1024.0 {
        shown *= 1024.0;
    }
    nice(value / shown) * shown
}

/// The next round number: 1, 2 or 5 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|candidate| *candidate >= value)
        .unwrap_or(value)
}

fn quantity(value: f64, unit: &str) -> String {
    if is_bytes(unit) {
        let units = ["B", "kB", "MB", "GB", "TB"];
        let mut value = value;
        let mut at = 0;
        while value >= 1024.0 && at + 1 < units.len() {
            value /= 1024.0;
            at += 1;
        }
        return format!("{value:.0} {}", units[at]);
    }
    if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        assert_eq!(nice(0.0), 1.0);
        assert_eq!(nice(37.0), 50.0);
        assert_eq!(nice(1200.0), 2000.0);
        assert_eq!(ceiling(700.0 * 1024.0, "bytes"), 1000.0 * 1024.0);
        assert_eq!(ceiling(700.0, "tx/s"), 1000.0);
        assert_eq!(quantity(3.0 * 1024.0 * 1024.0, "bytes"), "3 MB");
    }

    #[test]
    fn faults_are_bands_and_spikes_survive() {
        let mut points: Vec<(f64, f64)> = (0..5000).map(|n| (f64::from(n), 1.0)).collect();
        points[2501].1 = 99.0;
        let series = Series {
            unit: "tx/s".into(),
            points,
        };
        let band = Band {
            label: "pause <primary>".into(),
            from: 10.0,
            to: 20.0,
        };
        let svg = plot("commits", &series, &[band], 5000.0);
        assert!(svg.contains("pause &lt;primary&gt;"));
        // A unit may be long: it is not on the axis.
        assert!(svg.contains("at most 100 tx/s") && svg.contains(">100<"));
        // The spike is at the top of the plot.
        assert!(svg.contains(&format!(
            ",{:.1}",
            HEIGHT - BOTTOM - 0.99 * (HEIGHT - TOP - BOTTOM)
        )));
    }
}
