//! Runs as one HTML page. The page is self-contained: it loads nothing, and its content security policy forbids loading.
//!
//! maud checks the HTML at compile time and escapes every text of a run; plotters draws the curves.

mod chart;
mod curves;
mod documents;
mod highlight;
mod page;
mod run_data;
mod suites;
mod tables;
mod timeline;

use crate::records::ReadRunError;
use crate::store::StoredRun;
use run_data::RunData;

/// Runs in one report at most: the number of distinguishable colours.
pub const MAX_RUNS: usize = chart::MAX_RUNS;

pub use page::GENERATOR;

/// Name of the report in a run directory.
pub const FILE: &str = "report.html";

/// The page of at most [`MAX_RUNS`] runs.
///
/// # Errors
/// The first record of a run that cannot be read.
pub fn report(runs: &[StoredRun]) -> Result<String, ReadRunError> {
    let runs = runs.iter().map(RunData::read).collect::<Result<Vec<_>, _>>()?;
    Ok(page::page(&runs).into_string())
}
