//! Warns about a learning rate far from the usual one for the method.

use super::{Faults, Plan};
use crate::config::{Config, EpochSteps};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::peft::Peft;
use crate::words::grouped;

/// The factor above or below the usual rate beyond which a rate gets a warning.
pub(super) const FAR: f64 = 100.0;

/// The key of the warmup.
const WARMUP: &str = "schedule.warmup_steps";
/// A usual warmup is this part of the steps.
const WARMUP_SHARE: u64 = 10;

/// The usual rate of a method, and how it is usually written.
fn usual(peft: &Peft) -> (f64, Text, Text) {
    match peft {
        Peft::State(_) => (1.0, msg!(STATE_TUNING), msg!(TYPICAL_STATE_RATE)),
        Peft::Full(_) => (1e-4, msg!(FULL_TUNING), msg!(TYPICAL_FULL_RATE)),
        _ => (1e-4, msg!(ADAPTERS), msg!(TYPICAL_ADAPTER_RATE)),
    }
}

/// The usual rate of a method.
pub(super) fn usual_rate(peft: &Peft) -> f64 {
    usual(peft).0
}

/// Warns where the rate is far from the usual one.
pub(super) fn check(faults: &mut Faults<'_>) {
    let config = faults.config();
    let (usual, method, typical) = usual(&config.peft);
    let Some(rate) = config.schedule.lr_init.rate() else { return };
    let factor = if rate < usual { usual / rate } else { rate / usual };
    if factor <= FAR {
        return;
    }
    let times = match factor < 1e9 {
        true => grouped(factor.round() as u64),
        false => format!("{factor:.0e}"),
    };
    let written = faults.loaded.written("schedule.lr_init").unwrap_or(rate.to_string());
    let message = match rate < usual {
        true => msg!(LR_INIT_LOW, rate = written, times, method),
        false => msg!(LR_INIT_HIGH, rate = written, times, method),
    };
    let moves = match (&config.peft, config.train.epoch_steps) {
        (Peft::State(_), EpochSteps::Steps(steps)) if rate < usual => {
            let steps = u64::from(steps) * u64::from(config.train.epoch_count);
            Some(msg!(STATE_MOVES_OVER_RUN, moves = rate * steps as f64, steps = grouped(steps)))
        }
        (Peft::State(_), _) if rate < usual => Some(msg!(STATE_MOVES_PER_STEP, rate)),
        _ => None,
    };
    let warning = Diagnostic::warning(message).label(typical);
    let warning = moves.into_iter().fold(warning, Diagnostic::note);
    let warning = match config.peft {
        Peft::State(_) => warning.note(msg!(RECIPES_DISAGREE)),
        _ => warning,
    };
    faults.add_silenceable("schedule.lr_init", warning);
}

/// Warns where the numbers of steps and of warmup steps are written, and the run is shorter.
pub(super) fn check_warmup(faults: &mut Faults<'_>) {
    let Config { train, schedule, .. } = faults.config();
    let is_written = faults.loaded.place(WARMUP).is_some();
    if let EpochSteps::Steps(steps) = train.epoch_steps
        && is_written
    {
        let steps = u64::from(steps) * u64::from(train.epoch_count);
        let warning = long_warmup(schedule.warmup_steps.into(), steps);
        if let Some(warning) = warning {
            faults.add(WARMUP, warning);
        }
    }
}

/// The warning about a warmup that is longer than the run.
fn long_warmup(warmup: u64, steps: u64) -> Option<Diagnostic> {
    let message = || msg!(WARMUP_LONGER_THAN_RUN, steps = grouped(steps), warmup = grouped(warmup));
    (steps < warmup).then(|| {
        let help = msg!(SHORTEN_WARMUP, fewer = steps / WARMUP_SHARE);
        Diagnostic::warning(message()).note(msg!(RATE_IS_NOT_REACHED)).help(help)
    })
}

impl Plan {
    /// The warning about a warmup that is longer than the run of `steps` steps, unless the settings alone tell and
    /// [`Plan::warnings`] has it.
    pub fn long_warmup(&self, steps: u64) -> Option<Diagnostic> {
        let is_written = self.experiment.place(WARMUP).is_some();
        if is_written && matches!(self.train.epoch_steps, EpochSteps::Steps(_)) {
            return None;
        }
        let warning = long_warmup(self.train.schedule.warmup_steps.as_u64(), steps)?;
        let key = if is_written { WARMUP } else { "schedule" };
        Some(self.experiment.at(key, warning)).filter(|one| !one.is_allowed())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, Overrides, parse};
    use crate::plan::tests::faults_of;

    /// Five mini-epochs of a method.
    fn loaded(method: &str, rate: &str, steps: &str) -> Loaded {
        let text = format!(
            "name = \"rate\"\n[data]\ndata_file = \"x.jsonl\"\n[peft]\ntype = \"{method}\"\n[train]\n\
             epoch_steps = {steps}\nepoch_count = 5\n[schedule]\nlr_init = {rate}\nlr_final = 0.01\n"
        );
        parse("emoji.toml".as_ref(), text, &Overrides::default()).expect("valid")
    }

    /// The warnings about a rate of a method.
    fn warnings(method: &str, rate: &str, steps: &str) -> Vec<String> {
        let loaded = loaded(method, rate, steps);
        faults_of(&loaded, super::check)
    }

    #[test]
    fn a_tiny_rate_for_states() {
        let expected = "\
warning[ST2301]: `lr_init = 1e-5` is 1/100,000 of the usual value for state tuning
  --> emoji.toml:10:11
   |
10 | lr_init = 1e-5
   |           ^^^^ typical: 1.0 falling to 0.01, 10 warmup steps
   |
   = note: at this rate each entry of the state changes by about 0.05 at most in the planned 5,000 steps
   = note: write `1.0` for the rate of this program's recipe; some published recipes use 5e-4, 1e-4 or 1e-5 over many more steps
   = help: silence with `# statetune: allow(ST2301)` on the line above";
        assert_eq!(warnings("state", "1e-5", "1000"), [expected]);
        assert!(warnings("state", "1e-3", "\"pass\"")[0].contains("about 0.001 at most in a step"));
    }

    #[test]
    fn a_rate_that_is_to_be_found_is_not_told_about() {
        assert_eq!(warnings("lora", "\"auto\"", "1"), [""; 0]);
    }

    #[test]
    fn a_warmup_longer_than_the_run() {
        let expected = "\
warning[ST2303]: the run has 5 steps, fewer than the 10 steps of warmup
  --> emoji.toml:11:16
   |
11 | warmup_steps = 10
   |                ^^
   |
   = note: the learning rate only rises and never reaches `lr_init`
   = help: set `warmup_steps = 0` in `[schedule]`, or train for more steps";
        let of = |steps: &str| {
            let loaded = loaded("state", "1.0\nwarmup_steps = 10", steps);
            faults_of(&loaded, super::check_warmup)
        };
        assert_eq!(of("1"), [expected]);
        assert_eq!(of("2"), [""; 0], "as many steps as the warmup has");
        assert_eq!(of("\"pass\""), [""; 0], "known once the documents are prepared");
    }

    #[test]
    fn usual_rates_are_not_told_about() {
        for (method, rate) in [
            ("state", "0.01"),
            ("state", "10"),
            ("lora", "1e-4"),
            ("full", "6e-4"),
            ("disha", "1e-2"),
        ] {
            assert_eq!(warnings(method, rate, "1"), [""; 0], "{method} {rate}");
        }
        let far = &warnings("lora", "1.0", "1")[0];
        assert!(far.contains("10,000 times the usual value for adapters"), "{far}");
        assert!(warnings("full", "1e-7", "1")[0].contains("1/1,000 of the usual"));
        assert!(warnings("full", "1e30", "1")[0].contains("is 1e34 times the usual"));
    }
}
