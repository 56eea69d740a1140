//! Whether the steps of a run see all of its data.

use statetune_core::config::EpochSteps;
use statetune_core::data::{Coverage, grouped};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::Plan;

/// The warning about data that the run never sees; `None` when it sees all. A pass has `copies` of the documents.
pub(super) fn warning(
    plan: &Plan,
    copies: u64,
    coverage: &Coverage,
    samples_per_step: u64,
) -> Option<Diagnostic> {
    let EpochSteps::Steps(_) = plan.train.epoch_steps else { return None };
    if coverage.unseen == 0.0 {
        return None;
    }
    let Coverage { documents, samples, samples_per_pass, unseen, .. } = *coverage;
    let percent = unseen * 100.0;
    let message = msg!(DATA_NEVER_SEEN, percent = format_args!("{percent:.0}"));
    let steps = samples / samples_per_step;
    let copies = match copies / documents {
        0 | 1 => msg!(DOCUMENTS_OF_DATA, documents = grouped(documents)),
        repeats => msg!(DOCUMENTS_AND_REPEATS, documents = grouped(documents), repeats),
    };
    let pass = samples_per_pass.div_ceil(samples_per_step);
    let warning = Diagnostic::warning(message)
        .note(msg!(
            SAMPLES_SEEN,
            steps = grouped(steps),
            samples_per_step,
            seen = grouped(samples),
            all = grouped(samples_per_pass),
            copies
        ))
        .note(msg!(EPOCH_IS_INTERVAL))
        .help(msg!(FULL_PASS, pass));
    Some(plan.experiment.at("train.epoch_steps", warning)).filter(|one| !one.is_allowed())
}
