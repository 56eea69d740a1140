//! Reads the flags that have no setting, and says what they mean in the original.

use super::read::Reader;
use crate::import::imported::Outcome;

/// What a flag without a setting does in the original.
enum Effect {
    /// Changes how the original computes, not what.
    Computes,
    /// Changes the training in RWKV-LM and RWKV-PEFT of 2024 unless it has one of these values; later releases read the
    /// flag and ignore it.
    Early(&'static [&'static str], &'static str),
    /// Changes the training.
    Trains(&'static str),
    /// Changes what the original writes.
    Writes(&'static str),
}

use Effect::{Computes, Early, Trains, Writes};

const REST: &[(&str, Effect)] = &[
    ("auto_select_gpus", Computes),
    ("avg_loss", Computes),
    ("benchmark", Computes),
    ("check_val_every_n_epoch", Computes),
    ("compile", Computes),
    ("deepspeed", Computes),
    ("deepspeed_config", Computes),
    ("default_root_dir", Computes),
    ("detect_anomaly", Computes),
    ("deterministic", Computes),
    ("ds_bucket_mb", Computes),
    ("enable_checkpointing", Computes),
    ("enable_model_summary", Computes),
    ("enable_progress_bar", Computes),
    ("fla", Computes),
    ("fused_kernel", Computes),
    ("local_rank", Computes),
    ("log_every_n_steps", Computes),
    ("max_epochs", Computes),
    ("num_sanity_val_steps", Computes),
    ("num_workers", Computes),
    ("pin_memory", Computes),
    ("profiler", Computes),
    ("replace_sampler_ddp", Computes),
    ("sync_batchnorm", Computes),
    ("use_distributed_sampler", Computes),
    ("dropout", Early(&["0", "0.0"], "dropout of activations in every block")),
    ("load_partial", Early(&["0"], "initial values for missing weights")),
    ("my_att_shift", Early(&["1"], "time mixes without token shift")),
    ("my_exit", Early(&["99999999"], "an end after this mini-epoch")),
    ("my_ffn_shift", Early(&["1"], "channel mixes without token shift")),
    ("my_pile_edecay", Early(&["0"], "mini-epochs before the rate falls")),
    ("my_pile_shift", Early(&["0", "-1"], "an offset of all windows")),
    ("my_pile_version", Early(&["0", "1"], "a list of token files as the data")),
    ("my_pos_emb", Early(&["0"], "trained positions, for images")),
    ("my_qa_mask", Early(&["0"], "a loss on answers only, for the tokenizer of the Pile")),
    ("my_random_steps", Early(&["0"], "random windows before the walk")),
    ("my_sample_len", Early(&["0"], "the length of a row of `uint16` data")),
    ("tiny_att_dim", Early(&["0", "-1"], "a small attention beside one layer")),
    ("tiny_att_downscale", Early(&["0", "-1"], "a small attention beside one layer")),
    ("tiny_att_layer", Early(&["-999", "-1"], "the layer of a small attention")),
    ("LISA", Trains("layers drawn at random train for a time; here all parameters train")),
    ("lisa_r", Trains("the number of layers that train at a time")),
    ("lisa_k", Trains("the steps after which other layers train")),
    ("lr_period", Trains("the length of the curve; here the whole run")),
    ("lr_period_type", Trains("the length of the curve; here the whole run")),
    ("merge", Writes("a run exports the adapter; `statetune merge RUN` writes a model")),
];

impl Reader {
    /// Gives every remaining flag its outcome.
    pub(super) fn rest(&mut self) {
        for flag in std::mem::take(&mut self.flags) {
            let known = REST.iter().find(|(name, _)| *name == flag.name);
            let (outcome, why) = match known.map(|(_, effect)| effect) {
                Some(Computes) => {
                    (Outcome::NoEffect, "changes how the original computes, not what".into())
                }
                Some(Early(off, _)) if off.contains(&flag.text()) => {
                    (Outcome::Mapped, "the value that changes nothing".into())
                }
                Some(Early(..)) if self.trainer.ignores_lm() => {
                    (Outcome::NoEffect, "read and ignored by this release".into())
                }
                Some(Early(_, what) | Trains(what)) => {
                    (Outcome::Unsupported, format!("in the original: {what}"))
                }
                Some(Writes(what)) => (Outcome::Changed, (*what).to_string()),
                None if flag.name.starts_with("my_img") => {
                    (Outcome::Unsupported, "in the original: images".to_string())
                }
                None => (Outcome::Unsupported, "no such setting".to_string()),
            };
            self.record(&flag, outcome, "", &why);
        }
    }
}
