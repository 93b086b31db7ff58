//! Plots as SVG. Colours and type come from the page's style sheet, so that they follow light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 26.0;
const MARGIN: f64 = 18.0;

/// Colours of the style sheet. Further lines are dashed, in the same colours.
const COLOURS: usize = 6;

/// Class of the line, band or key of this number.
pub fn class(i: usize) -> String {
    let dashed = if (i / COLOURS).is_multiple_of(2) {
        ""
    } else {
        " dashed"
    };
    format!("c{}{dashed}", i % COLOURS)
}

/// A line, with a band around it where `band` is not empty.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Points in order of x.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper edge of the band at the same x. Empty: no band.
    pub band: Vec<(f64, f64)>,
}

/// A number in few characters.
pub fn short(v: f64) -> String {
    let a = v.abs();
    if v == 0.0 {
        "0".into()
    } else if !(1e-3..1e5).contains(&a) {
        format!("{v:.1e}")
    } else if a >= 1000.0 {
        format!("{v:.0}")
    } else {
        let digits = if a >= 10.0 { 1 } else { 3 };
        let s = format!("{v:.digits$}");
        s.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

/// Intervals between the numbers of an axis, at most.
const PARTS: f64 = 6.0;

/// Round numbers that cover a range.
fn ticks(lo: f64, hi: f64) -> Vec<f64> {
    let raw = (hi - lo) / PARTS;
    if !(raw.is_finite() && raw > 0.0) {
        return Vec::new();
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    // Floats throughout: the range of a run that diverged may be too large for any integer.
    let first = (lo / step).ceil();
    (0..12)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|v| *v <= hi + 1e-9 * step)
        .collect()
}

/// The frame of a plot: the ranges of its axes, `x` and `y`, and its size in pixels.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    width: f64,
    /// Room below the axis, for its numbers and perhaps its name.
    bottom: f64,
}

impl Frame {
    fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        let wide = |(lo, hi): (f64, f64)| {
            if hi > lo {
                (lo, hi)
            } else {
                // A constant line gets a tenth of its value on both sides.
                let pad = if lo == 0.0 { 0.5 } else { 0.1 * lo.abs() };
                (lo - pad, lo + pad)
            }
        };
        Self {
            x: wide(x),
            y: wide(y),
            width: WIDTH,
            bottom: BOTTOM,
        }
    }
    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (self.width - LEFT - MARGIN)
    }
    fn py(&self, y: f64) -> f64 {
        let bottom = HEIGHT - self.bottom;
        bottom - (y - self.y.0) / (self.y.1 - self.y.0) * (bottom - MARGIN)
    }
    fn open(&self, title: &str) -> String {
        let mut s = format!(
            "<svg viewBox=\"0 0 {} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.width,
            maud::html! { (title) }.into_string().replace('"', "&quot;")
        );
        for v in ticks(self.y.0, self.y.1) {
            let y = self.py(v);
            let _ = write!(
                s,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.width - MARGIN,
                LEFT - 6.0,
                y + 4.0,
                short(v)
            );
        }
        for v in ticks(self.x.0, self.x.1) {
            let _ = write!(
                s,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.px(v),
                HEIGHT - self.bottom + 18.0,
                short(v)
            );
        }
        s
    }
}

fn range(v: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let finite = v.filter(|v| v.is_finite());
    let lo = finite.clone().fold(f64::INFINITY, f64::min);
    let hi = finite.fold(f64::NEG_INFINITY, f64::max);
    if lo.is_finite() { (lo, hi) } else { (0.0, 1.0) }
}

fn legend(names: impl Iterator<Item = String>) -> String {
    let items: String = names
        .enumerate()
        .map(|(i, n)| {
            format!(
                "<span class=\"key {}\">{}</span>",
                class(i),
                maud::html! { (n) }.into_string()
            )
        })
        .collect();
    format!("<div class=\"legend\">{items}</div>")
}

/// Lines over one axis; `unit` names it.
pub fn lines(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|l| &l.points);
    let bands = || lines.iter().flat_map(|l| &l.band);
    let ys = points()
        .map(|p| p.1)
        .chain(bands().flat_map(|b| [b.0, b.1]));
    let f = Frame::new(range(points().map(|p| p.0)), range(ys));
    let mut s = f.open(title);
    for (i, l) in lines.iter().enumerate() {
        if l.band.len() == l.points.len() && !l.band.is_empty() {
            let up = l.points.iter().zip(&l.band).map(|(p, b)| (p.0, b.1));
            let down = l.points.iter().zip(&l.band).rev().map(|(p, b)| (p.0, b.0));
            let area: String = up
                .chain(down)
                .map(|(x, y)| format!("{:.1},{:.1} ", f.px(x), f.py(y)))
                .collect();
            let _ = write!(
                s,
                "<polygon class=\"band {}\" points=\"{area}\"/>",
                class(i)
            );
        }
        let line: String = l
            .points
            .iter()
            .filter(|p| p.1.is_finite())
            .map(|(x, y)| format!("{:.1},{:.1} ", f.px(*x), f.py(*y)))
            .collect();
        let _ = write!(
            s,
            "<polyline class=\"line {}\" points=\"{line}\"/>",
            class(i)
        );
        if let ([only], true) = (&l.points[..], line.len() > 1) {
            let _ = write!(
                s,
                "<circle class=\"dot c{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                i % 6,
                f.px(only.0),
                f.py(only.1)
            );
        }
    }
    s += "</svg>";
    if lines.len() > 1 {
        s += &legend(lines.iter().map(|l| l.name.clone()));
    }
    s
}

/// Histograms over the same bins, drawn over each other.
#[derive(Clone, Debug)]
pub struct Histograms<'a> {
    /// What they show.
    pub title: &'a str,
    /// Lower edge of the first bin, upper edge of the last.
    pub range: (f64, f64),
    /// Names of the axes: what is in bins, and what is counted.
    pub axes: [&'a str; 2],
    /// Names and bins.
    pub named: Vec<(String, Vec<f64>)>,
    /// Text at the top of the panel.
    pub note: Option<String>,
    /// For a panel beside others: it is narrow, and this is the upper end of the vertical axis that all share.
    pub panel: Option<f64>,
}

/// Width of a panel that stands beside others.
const PANEL: f64 = 350.0;
/// Room for an axis's numbers and its name.
const NAMED: f64 = 44.0;

impl Histograms<'_> {
    /// The count of the fullest bin.
    pub fn top(&self) -> f64 {
        range(self.named.iter().flat_map(|n| n.1.iter().copied())).1
    }

    /// The plot and its legend. Each bar has a tooltip with its series, range and count.
    pub fn svg(&self) -> String {
        let (lo, hi) = self.range;
        let f = Frame {
            width: self.panel.map_or(WIDTH, |_| PANEL),
            bottom: NAMED,
            ..Frame::new((lo, hi), (0.0, self.panel.unwrap_or(self.top())))
        };
        let mut s = f.open(self.title);
        let mut word = |x: f64, y: f64, anchor: &str, text: &str| {
            let text = maud::html! { (text) }.into_string();
            let _ = write!(
                s,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
            );
        };
        let right = f.width - MARGIN;
        word((LEFT + right) / 2.0, HEIGHT - 8.0, "middle", self.axes[0]);
        word(6.0, 12.0, "start", self.axes[1]);
        if let Some(note) = &self.note {
            word(right, 12.0, "end", note);
        }
        for (i, (name, bins)) in self.named.iter().enumerate() {
            let name = maud::html! { (name) }.into_string();
            let width = (hi - lo) / bins.len().max(1) as f64;
            for (k, v) in bins.iter().enumerate().filter(|(_, v)| **v > 0.0) {
                let (from, to) = (lo + k as f64 * width, lo + (k + 1) as f64 * width);
                let x = f.px(from);
                let _ = write!(
                    s,
                    "<rect class=\"bar c{i}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
                     <title>{name}, {from:.2} to {to:.2}: {}</title></rect>",
                    f.py(*v),
                    f.px(to) - x,
                    f.py(0.0) - f.py(*v),
                    short(*v)
                );
            }
        }
        s + "</svg>" + &legend(self.named.iter().map(|n| n.0.clone()))
    }
}

/// Points of classes.
pub fn scatter(title: &str, points: &[(f64, f64, u32)], classes: &[String]) -> String {
    let f = Frame::new(
        range(points.iter().map(|p| p.0)),
        range(points.iter().map(|p| p.1)),
    );
    let mut s = f.open(title);
    let many = classes.len().max(1) as f64;
    for (x, y, class) in points {
        let _ = write!(
            s,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\" fill=\"hsl({:.0} 65% 50%)\"/>",
            f.px(*x),
            f.py(*y),
            360.0 * f64::from(*class) / many
        );
    }
    s += "</svg><div class=\"legend\">";
    for (i, c) in classes.iter().enumerate().take(20) {
        let _ = write!(
            s,
            "<span class=\"key\" style=\"--key:hsl({:.0} 65% 50%)\">{}</span>",
            360.0 * i as f64 / many,
            maud::html! { (c) }.into_string()
        );
    }
    s + "</div>"
}

/// A square matrix of counts as shades. A shade is relative to its row's sum. Zeros are not drawn.
pub fn heat(title: &str, rows: &[Vec<usize>]) -> String {
    let n = rows.len();
    let mut s = format!(
        "<svg class=\"heat\" viewBox=\"0 0 {n} {n}\" role=\"img\" aria-label=\"{}\">",
        maud::html! { (title) }.into_string().replace('"', "&quot;")
    );
    for (y, row) in rows.iter().enumerate() {
        let sum = row.iter().sum::<usize>().max(1) as f64;
        for (x, v) in row.iter().enumerate().filter(|(_, v)| **v > 0) {
            let _ = write!(
                s,
                "<rect class=\"cell\" x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" opacity=\"{:.2}\"/>",
                (*v as f64 / sum).sqrt()
            );
        }
    }
    s + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_differ() {
        let axis = |lo, hi| ticks(lo, hi).into_iter().map(short).collect::<Vec<_>>();
        assert_eq!(axis(99.5, 100.4), ["99.6", "99.8", "100", "100.2", "100.4"]);
        assert_eq!(axis(0.0, 5000.0)[4..], ["4000", "5000"]);
    }

    #[test]
    fn a_value_that_never_changes_is_drawn_whatever_it_is() {
        for v in [0.0, 1e-30, -7.0, 100.0, 1e30, 3e38] {
            let l = Line {
                points: vec![(1.0, v), (2.0, v)],
                ..Line::default()
            };
            let s = lines("constant", &[l]);
            assert!(!s.contains("NaN") && !s.contains("inf"), "{s}");
            // In the middle of the frame, and with numbers beside it.
            let middle = (HEIGHT - BOTTOM + MARGIN) / 2.0;
            assert!(s.contains(&format!("points=\"56.0,{middle:.1} ")), "{s}");
            assert!(s.matches("class=\"grid\"").count() >= 2, "{s}");
        }
    }

    #[test]
    fn a_heat_map_draws_what_is_there() {
        let s = heat("m", &[vec![4, 0], vec![3, 1]]);
        assert_eq!(s.matches("<rect").count(), 3);
        assert!(s.contains("x=\"0\" y=\"0\" width=\"1\" height=\"1\" opacity=\"1.00\""));
        assert!(s.contains("opacity=\"0.50\""), "{s}");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0).len(), 6);
        assert_eq!(ticks(13.0, 61.0), [20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(ticks(0.07, 0.9).len(), 4);
        assert!(ticks(3.0, 3.0 + 1e-12).len() <= 12);
        assert!(ticks(1e30, 1e30 * (1.0 + 1e-15)).len() <= 12);
        assert!(ticks(-1e308, f64::MAX).is_empty());
        assert!(ticks(1e30, 1e30).is_empty() && ticks(0.0, f64::INFINITY).is_empty());
    }

    #[test]
    fn names_cannot_break_out_of_a_plot() {
        let l = Line {
            name: "<script>".into(),
            points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)],
            ..Line::default()
        };
        let s = lines("a \"b\" <c>", &[l.clone(), l]);
        assert!(!s.contains("<script>") && !s.contains("NaN"), "{s}");
        assert!(s.contains("a &quot;b&quot; &lt;c&gt;"));
    }
}
