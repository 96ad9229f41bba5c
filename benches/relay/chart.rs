//! The figures as bars, in an SVG of its own making: a panel for each kind of figure, in it a group for each number of clients, in
//! that a bar for each peer.

use std::fmt::Write as _;

const WIDTH: f64 = 1_000.0;
const PANEL: f64 = 230.0;
/// Above a panel's bars: its title, and the numbers on the bars.
const HEAD: f64 = 44.0;
/// Below them: the numbers of clients.
const FOOT: f64 = 26.0;
const LEGEND: f64 = 58.0;
const MARGIN: f64 = 20.0;
/// Between two groups.
const GAP: f64 = 18.0;
const COLOURS: [&str; 7] = [
    "#9aa5b1", "#d9822b", "#1f6feb", "#58a6ff", "#7a3e9d", "#2e7d32", "#b23b3b",
];

/// One kind of figure.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// Each group is to a scale of its own, for figures that differ by orders of magnitude from group to group.
    pub(crate) by_group: bool,
    /// By group and peer; `None` leaves the bar out.
    pub(crate) figures: Vec<Vec<Option<f64>>>,
}

/// The whole picture: `groups` are the labels below, `peers` the legend.
pub(crate) fn svg(title: &str, groups: &[String], peers: &[String], panels: &[Panel]) -> String {
    let height = LEGEND + panels.len() as f64 * PANEL + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut out, MARGIN, 24.0, "start", 16.0, title);
    let step = (WIDTH - 2.0 * MARGIN) / peers.len().max(1) as f64;
    for (index, peer) in peers.iter().enumerate() {
        let x = MARGIN + index as f64 * step.min(190.0);
        bar(&mut out, x, 36.0, 12.0, 12.0, index);
        text(&mut out, x + 17.0, 47.0, "start", 12.0, peer);
    }
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut out, LEGEND + index as f64 * PANEL, groups, panel);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, top: f64, groups: &[String], panel: &Panel) {
    let base = top + PANEL - FOOT;
    text(out, MARGIN, top + 20.0, "start", 13.0, panel.title);
    let highest = |figures: &[Option<f64>]| {
        figures
            .iter()
            .flatten()
            .copied()
            .fold(f64::MIN_POSITIVE, f64::max)
    };
    let of_all = panel
        .figures
        .iter()
        .map(|group| highest(group))
        .fold(f64::MIN_POSITIVE, f64::max);
    let width = (WIDTH - 2.0 * MARGIN) / groups.len().max(1) as f64;
    for (number, (group, figures)) in groups.iter().zip(&panel.figures).enumerate() {
        let left = MARGIN + number as f64 * width + GAP / 2.0;
        let full = if panel.by_group { highest(figures) } else { of_all };
        let each = (width - GAP) / figures.len().max(1) as f64;
        for (peer, figure) in figures.iter().enumerate() {
            let Some(figure) = figure else { continue };
            let x = left + peer as f64 * each;
            let height = (PANEL - HEAD - FOOT) * figure / full;
            bar(out, x + 1.0, base - height, each - 2.0, height, peer);
            text(
                out,
                x + each / 2.0,
                base - height - 4.0,
                "middle",
                9.5,
                &short(*figure),
            );
        }
        text(
            out,
            left + (width - GAP) / 2.0,
            base + 16.0,
            "middle",
            12.0,
            group,
        );
    }
    let _infallible = writeln!(
        out,
        "<line x1=\"{MARGIN}\" y1=\"{base}\" x2=\"{}\" y2=\"{base}\" stroke=\"#444444\"/>",
        WIDTH - MARGIN
    );
}

fn bar(out: &mut String, x: f64, y: f64, width: f64, height: f64, peer: usize) {
    let colour = COLOURS[peer % COLOURS.len()];
    let _infallible = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: f64, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _infallible = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"#222222\">{words}</text>"
    );
}

fn short(figure: f64) -> String {
    match figure {
        10_000.0.. => format!("{:.1}k", figure / 1_000.0),
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
