//! Runs as one HTML page that stands alone: it loads nothing, and its policy forbids browsers to.
//!
//! Pages are written with maud, which checks their form while the program is compiled and escapes every text
//! that comes from a run; curves are drawn by plotters.

mod chart;
mod curves;
mod happenings;
mod highlight;
mod overview;
mod page;
mod samples;
mod story;
mod thin;

use crate::records::ReadRunError;
use crate::store::StoredRun;

/// Runs in one report at most: as many as there are colours that are told apart.
pub const MAX_RUNS: usize = chart::MAX_RUNS;

/// Name of the report in a run directory.
pub const FILE: &str = "report.html";

/// The page about these runs, of which there are at most [`MAX_RUNS`].
///
/// # Errors
/// A record of a run that cannot be read.
pub fn report(runs: &[StoredRun]) -> Result<String, ReadRunError> {
    let stories: Vec<story::Story> =
        runs.iter().map(story::Story::read).collect::<Result<_, _>>()?;
    Ok(page::page(&stories).into_string())
}
