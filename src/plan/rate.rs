//! Whether the learning rate is one that people use.

use crate::config::{Config, EpochSteps, Peft};
use crate::data::grouped;
use crate::diagnostic::Diagnostic;

/// The usual learning rate of a kind of training.
struct Usual {
    /// What is trained, as a message calls it.
    what: &'static str,
    lr_init: f64,
    /// Rates outside raise a warning.
    band: [f64; 2],
    /// What goes with it.
    recipe: &'static str,
}

/// States start at zero and need rates near 1 (RWKV-LM); published recipes go down to 1e-5, where hardly anything
/// moves. Adapters take 1e-5 to 1e-4, new models up to a few times 1e-3.
fn usual(config: &Config) -> Usual {
    match config.peft {
        Peft::State(_) => Usual {
            what: "state tuning",
            lr_init: 1.0,
            band: [1e-3, 1e2],
            recipe: "typical: 1.0 falling to 0.01, 10 warmup steps",
        },
        Peft::Full(_) => Usual {
            what: "training weights",
            lr_init: 1e-4,
            band: [1e-7, 1e-1],
            recipe: "typical: 1e-5 to 6e-4",
        },
        _ => Usual {
            what: "adapters",
            lr_init: 1e-4,
            band: [1e-7, 1e-1],
            recipe: "typical: 1e-5 to 1e-4",
        },
    }
}

/// The warning about a rate far outside the usual ones; `None` for any other.
pub(super) fn warning(config: &Config) -> Option<Diagnostic> {
    let Usual { what, lr_init: usual, band: [least, most], recipe } = usual(config);
    let lr_init = config.schedule.lr_init;
    let (times, direction) = match lr_init {
        lr if lr < least => (usual / lr, "below"),
        lr if lr > most => (lr / usual, "above"),
        _ => return None,
    };
    let times = if times < 1e9 { grouped(times.round() as usize) } else { format!("{times:.0e}") };
    let message =
        format!("`lr_init = {lr_init:?}` is {times} times {direction} the usual start for {what}");
    let mut warning = Diagnostic::warning("ST2301", message).label(recipe);
    if let (Peft::State(_), EpochSteps::Steps(steps)) = (&config.peft, config.train.epoch_steps) {
        let steps = u64::from(steps) * u64::from(config.train.epoch_count);
        let most = lr_init * steps as f64; // a step of Adam is about its rate at most
        warning = warning.note(format!(
            "at this rate a state entry moves by at most about {most:.1e} over the planned {} steps",
            grouped(steps as usize)
        ));
    }
    Some(warning.note("published recipes disagree; two short runs with other rates settle it"))
}
