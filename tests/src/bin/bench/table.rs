//! The table that a run ends in.

use std::fmt::Write;
use std::time::Duration;

use weft_agent::lab::Quantiles;

const HEAD: [&str; 5] = ["metric", "target", "measured", "against", "verdict"];

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// There is no target: the figure explains another.
    Told,
    /// There is no figure.
    Broken,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    cells: [String; 4],
    verdict: Verdict,
}

impl Row {
    /// A figure that is judged.
    pub(crate) fn judged(metric: &str, target: &str, measured: String, met: bool) -> Self {
        let verdict = if met { Verdict::Met } else { Verdict::Missed };
        Self { cells: [metric.to_owned(), target.to_owned(), measured, String::new()], verdict }
    }

    /// A figure beside the judged ones.
    pub(crate) fn told(metric: &str, measured: String) -> Self {
        let cells = [metric.to_owned(), String::new(), measured, String::new()];
        Self { cells, verdict: Verdict::Told }
    }

    /// A part without figures.
    pub(crate) fn broken(part: &str, why: &str) -> Self {
        let cells = [part.to_owned(), String::new(), format!("not measured: {why}"), String::new()];
        Self { cells, verdict: Verdict::Broken }
    }

    /// Adds what was measured in the same minute for comparison.
    pub(crate) fn against(mut self, text: String) -> Self {
        self.cells[3] = text;
        self
    }

    fn texts(&self) -> [&str; 5] {
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Told => "",
            Verdict::Broken => "BROKEN",
        };
        let [metric, target, measured, against] = &self.cells;
        [metric, target, measured, against, verdict]
    }
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    loads: Vec<String>,
}

impl Table {
    /// Notes how busy the machine is, ourselves included.
    pub(crate) fn note_load(&mut self) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        self.loads.extend(load.split_whitespace().next().map(str::to_owned));
    }

    /// Says where and under what load this was measured.
    fn conditions(&self) -> String {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let (kernel, loads) = (kernel.trim(), self.loads.join(", "));
        format!("{cores} cores, Linux {kernel}; load of the last minute at each part: {loads}")
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let rows: Vec<_> = std::iter::once(HEAD).chain(self.rows.iter().map(Row::texts)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in rows {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        let _ = writeln!(text, "{}", self.conditions());
        text
    }

    /// For docs/BENCHMARKS.md.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), " --- |".repeat(HEAD.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.texts().join(" | "));
        }
        let _ = writeln!(text, "\n{}", self.conditions());
        text
    }
}

/// Says how times are spread.
pub(crate) fn spread(times: &[Duration]) -> String {
    let Quantiles { p50, p99, max, samples } = Quantiles::of(times.to_vec());
    format!("p50 {} / p99 {} / max {} ms ({samples})", short(p50), short(p99), short(max))
}

/// Says a figure with three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}
