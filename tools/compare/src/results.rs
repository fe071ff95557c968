//! What was found: cells of rows of samples, as comparison.json keeps them.
//!
//! A part is one command's: the null broker's cells, or the real one's. Parts are kept in files
//! of their own, so that a later command adds to what an earlier one found.

use std::fs;
use std::path::Path;

use compare_measure::{Mode, Outcome, Report};
use serde::{Deserialize, Serialize};

use crate::{chart, table};

/// One run, and what happened around it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) report: Report,
    /// What the broker spent meanwhile.
    pub(crate) broker_cpu_s: Option<f64>,
    /// CPUs that everyone else kept busy meanwhile; above a tenth, the figures are noise.
    pub(crate) others_busy: f64,
    /// Records that the broker has, where it keeps any.
    pub(crate) stored: Option<u64>,
}

/// One contender's samples of one cell, a round each.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) about: String,
    pub(crate) samples: Vec<Sample>,
    /// Runs that gave no figures, and why.
    pub(crate) failures: Vec<String>,
}

/// The same work for all contenders.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) mode: Mode,
    pub(crate) size: usize,
    pub(crate) partitions: u32,
    /// Records a second, where there is a schedule.
    pub(crate) rate: Option<u64>,
    pub(crate) rows: Vec<Row>,
}

/// What one command found.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    /// `null` or `real`: the file's name, and the order.
    pub(crate) place: String,
    pub(crate) heading: String,
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) rounds: usize,
    /// Contenders that could not take part, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

impl Part {
    pub(crate) fn is_real(&self) -> bool {
        self.place == "real"
    }
}

impl Row {
    /// A figure of each sample, smallest first.
    pub(crate) fn figures(&self, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mut figures: Vec<f64> = self.samples.iter().map(figure).collect();
        figures.retain(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        figures
    }
}

/// Of sorted figures: the middle one, or the mean of the two.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => f64::NAN,
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// Adds a part to the folder and writes everything that is made of all parts there.
pub(crate) fn publish(folder: &Path, part: &Part) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    let text = serde_json::to_string_pretty(part)?;
    fs::write(folder.join(format!("part-{}.json", part.place)), text)?;
    render(folder)
}

/// Writes comparison.md, comparison.json and the charts from the parts in the folder.
pub(crate) fn render(folder: &Path) -> Outcome<()> {
    let mut parts: Vec<Part> = Vec::new();
    for place in ["null", "real"] {
        match fs::read_to_string(folder.join(format!("part-{place}.json"))) {
            Ok(text) => parts.push(serde_json::from_str(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if parts.is_empty() {
        return Err(format!("no part-null.json or part-real.json in {}", folder.display()).into());
    }
    fs::write(folder.join("comparison.json"), serde_json::to_string_pretty(&parts)?)?;
    let mut text = String::from("# Producers compared\n\n");
    for (name, chart) in chart::all(&parts) {
        fs::write(folder.join(name), chart)?;
        text += &format!("![{}]({name})\n\n", name.trim_end_matches(".svg"));
    }
    for part in &parts {
        text += &table::part(part);
    }
    text += &table::settings(&parts);
    fs::write(folder.join("comparison.md"), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
    }
}
