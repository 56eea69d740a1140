//! Whether the steps of a run see all of its data.

use statetune_core::config::EpochSteps;
use statetune_core::data::Coverage;
use statetune_core::diagnostic::Diagnostic;
use statetune_core::plan::Plan;
use statetune_core::words::grouped;

/// The warning about data that the run never sees; `None` when it sees all. A pass has `copies` of the documents.
pub(super) fn warning(
    plan: &Plan,
    copies: u64,
    coverage: &Coverage,
    samples_per_step: u64,
) -> Option<Diagnostic> {
    let EpochSteps::Steps(_) = plan.config().train.epoch_steps else { return None };
    if coverage.unseen == 0.0 {
        return None;
    }
    let Coverage { documents, samples, samples_per_pass, unseen, .. } = *coverage;
    let percent = unseen * 100.0;
    let message = format!("with these steps, {percent:.0} % of the data is never seen");
    let steps = samples / samples_per_step;
    let copies = match copies / documents {
        0 | 1 => format!("{} documents", grouped(documents)),
        repeats => format!("{} documents x {repeats} repeats", grouped(documents)),
    };
    let pass = samples_per_pass.div_ceil(samples_per_step);
    let warning = Diagnostic::warning("ST2401", message)
        .note(format!(
            "{} steps x {samples_per_step} samples = {} of {} training samples ({copies})",
            grouped(steps),
            grouped(samples),
            grouped(samples_per_pass)
        ))
        .note("a mini-epoch is a saving interval, not a pass over the data")
        .help(format!(
            "one full pass is `epoch_steps = {pass}`, or let the tool count: `epoch_steps = \"pass\"`"
        ));
    Some(plan.loaded.at("train.epoch_steps", warning)).filter(|one| !one.is_allowed())
}
