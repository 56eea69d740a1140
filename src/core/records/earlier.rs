//! Where the past settings of a run are.

use std::path::Path;

/// The folder of past settings in a run directory.
pub(super) const EARLIER: &str = "earlier";

/// The run directory whose settings `folder` holds: the run's own, or one of its past settings.
pub(crate) fn run_of_settings(folder: &Path) -> &Path {
    let earlier = folder.parent().filter(|above| above.ends_with(EARLIER));
    earlier.and_then(Path::parent).unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_settings_are_those_of_their_run() {
        let run = Path::new("runs/one");
        assert_eq!(run_of_settings(&run.join("earlier/step-0000004")), run);
        assert_eq!(run_of_settings(run), run);
    }
}
