//! The rules of `hardware.strategy = "context"`.

use super::{Faults, Plan};
use crate::arch::{SAVED_EVERY, Shape};
use crate::config::{Config, Strategy};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::objective::Objective;

const STRATEGY: &str = "hardware.strategy";

/// Refuses samples that are not cut, and objectives whose loss is not the sum of the losses of tokens.
pub(super) fn check(faults: &mut Faults<'_>) {
    let Config { train, hardware, objective, .. } = faults.config();
    if hardware.strategy != Strategy::Context {
        return;
    }
    if train.chunk_ctx == 0 {
        // One device may get others later; a chunk of the whole sample would cut nothing.
        let devices = hardware.devices.count().saturating_mul(hardware.num_nodes).max(2);
        let step = SAVED_EVERY as u32;
        let chunk_ctx = train.ctx_len.div_ceil(devices).next_multiple_of(step);
        let fault = Diagnostic::error(msg!(CONTEXT_NEEDS_CHUNKS))
            .note(msg!(DEVICES_TAKE_CHUNKS))
            .help(msg!(SET_CHUNK_CTX, near = chunk_ctx));
        faults.add(STRATEGY, fault);
    }
    if !matches!(objective, Objective::Sft(_)) {
        let name = objective.name();
        faults.add(STRATEGY, refusal(msg!(CONTEXT_NEEDS_SFT, name)));
    }
}

fn refusal(problem: Text) -> Diagnostic {
    Diagnostic::error(problem).help(msg!(SHARE_PASSES))
}

impl Plan {
    /// Refuses a model whose head looks at all tokens before.
    pub(super) fn check_context(&self, shape: &Shape) -> Result<(), Box<Diagnostic>> {
        if self.train.devices.strategy == Strategy::Context && shape.head_qk > 0 {
            let fault = refusal(msg!(CONTEXT_WITH_HEAD_QK));
            return Err(Box::new(self.experiment.at(STRATEGY, fault)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, parse};
    use crate::plan::tests::faults_of;

    fn found(train: &str, objective: &str, devices: u32) -> Vec<String> {
        let text = format!(
            "name = \"long\"\ndata = {{ data_file = \"x.jsonl\" }}\npeft = {{ type = \"state\" }}\n\
             schedule = {{ lr_init = 1.0, lr_final = 0.01 }}\nobjective = {{ type = \"{objective}\" }}\n\
             [train]\n{train}\n[hardware]\nstrategy = \"context\"\ndevices = {devices}\n"
        );
        let loaded = parse("long.toml".as_ref(), text, &Overrides::default()).expect("valid");
        faults_of(&loaded, super::check)
    }

    #[test]
    fn chunks_of_plain_losses_are_shared() {
        assert!(found("ctx_len = 4096\nchunk_ctx = 1024", "sft", 3).is_empty());
        let expected = "\
error[ST2119]: `strategy = \"context\"` requires `train.chunk_ctx`
 --> long.toml:9:12
  |
9 | strategy = \"context\"
  |            ^^^^^^^^^
  |
  = note: the devices compute the chunks of a sample in turn
  = help: set `chunk_ctx = 1376`";
        assert_eq!(found("ctx_len = 4096", "sft", 3), [expected]);
        let alone = &found("ctx_len = 4096", "sft", 1)[0];
        assert!(alone.ends_with("set `chunk_ctx = 2048`"), "{alone}");
        let refused = found("ctx_len = 4096\nchunk_ctx = 1024", "dpo", 3);
        assert!(
            refused[0].contains("does not work with `objective.type = \"dpo\"`"),
            "{refused:?}"
        );
    }
}
