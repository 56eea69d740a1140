//! What each key of infctx-trainer is here.

use toml_edit::Value;
use yaml_rust2::Yaml;

use super::values::{
    above_0, accelerator, integer, not_below_0, not_negative, positive, precision, share, switch,
};
use crate::import::imported::{ONE_COPY, Outcome};

/// A setting: its key, how to read its value, and how its meaning differs (empty: not at all).
pub(super) type Setting = (&'static str, fn(&Yaml) -> Option<Value>, &'static str);

/// The setting for a key of the original.
pub(super) fn setting(path: &str) -> Option<Setting> {
    let found: Setting = match path {
        "seed_everything" => ("train.random_seed", integer, ""),
        "trainer.accelerator" => ("hardware.accelerator", accelerator, ""),
        "trainer.max_epochs" => ("train.epoch_count", positive, ""),
        "trainer.precision" => ("train.precision", precision, ""),
        "trainer.microbatch_size" => ("train.micro_bsz", positive, ""),
        "trainer.gradient_clip_val" => ("optimizer.gradient_clip_val", not_below_0, ""),
        "model.n_layer" => ("model.n_layer", positive, ""),
        "model.n_embd" => ("model.n_embd", positive, ""),
        "model.ctx_len" => (
            "train.ctx_len",
            positive,
            "longer documents are split into samples; to carry the state on as infctx-trainer does, raise `train.ctx_len` and set `train.chunk_ctx`",
        ),
        "model.grad_cp" => ("train.grad_cp", switch, ""),
        "model.lr_init" => ("schedule.lr_init", above_0, ""),
        "model.lr_final" => ("schedule.lr_final", not_below_0, ""),
        "model.warmup_steps" => ("schedule.warmup_steps", not_negative, ""),
        "model.beta1" => ("optimizer.beta1", share, ""),
        "model.beta2" => ("optimizer.beta2", share, ""),
        "model.adam_eps" => ("optimizer.adam_eps", above_0, ""),
        "model.weight_decay" => ("optimizer.weight_decay", not_below_0, ""),
        "data.test_split" => ("data.val_split", share, ""),
        _ => return None,
    };
    Some(found)
}

/// The outcome of a key without a setting, and the reason.
pub(super) fn reason(path: &str) -> (Outcome, &'static str) {
    let top = path.split('.').take(2).collect::<Vec<_>>().join(".");
    match top.as_str() {
        "trainer.strategy" => (Outcome::Changed, ONE_COPY),
        "trainer.num_nodes" => (Outcome::Changed, "`hardware.num_nodes`, with a launcher"),
        "trainer.callbacks" => (Outcome::Changed, "use `[checkpoint]`"),
        "trainer.min_epochs" | "trainer.min_steps" | "trainer.max_time" => {
            (Outcome::Unsupported, "a run ends after `epoch_count` or `guard.max_hours`")
        }
        "trainer.log_every_n_steps" => (Outcome::Changed, "use `log.every_steps`"),
        "trainer.limit_train_batches" | "trainer.overfit_batches" => {
            (Outcome::Unsupported, "`data.limit` takes the first documents")
        }
        "trainer.limit_val_batches" | "trainer.val_check_interval" => {
            (Outcome::Unsupported, "a run evaluates on all validation documents; see `[eval]`")
        }
        "trainer.enable_checkpointing"
        | "trainer.enable_progress_bar"
        | "trainer.enable_model_summary"
        | "trainer.num_sanity_val_steps"
        | "trainer.deterministic"
        | "trainer.benchmark"
        | "trainer.profiler"
        | "trainer.detect_anomaly"
        | "trainer.default_root_dir"
        | "trainer.use_distributed_sampler"
        | "trainer.sync_batchnorm"
        | "model.substep_cuda_cache_clear"
        | "model.substep_logging"
        | "model.torch_set_float32_matmul_precision"
        | "data.processing_max_batch_size"
        | "data.skip_datapath_setup" => {
            (Outcome::NoEffect, "changes how the original computes, not what")
        }
        "model.vocab_size" => (Outcome::Mapped, "read from the weights"),
        "model.bptt_learning" | "model.bptt_learning_range" | "model.bptt_truncated_learning" => (
            Outcome::Changed,
            "set `train.chunk_ctx` to this `ctx_len`, and `train.ctx_len` to the longest document: gradients are those of whole documents",
        ),
        "model.dim_att" | "model.dim_ffn" | "model.head_size_a" | "model.head_size_divisor" => {
            (Outcome::Mapped, "follows from `n_embd`")
        }
        "model.layerwise_lr" => {
            (Outcome::Mapped, "the decay of the state always trains at twice the rate")
        }
        "model.ctx_len_cutoffs" | "model.ctx_len_warmup_steps" => {
            (Outcome::Unsupported, "all samples have the same `ctx_len`")
        }
        "model.lr_period" | "model.lr_period_type" => {
            (Outcome::Changed, "the curve is as long as the run")
        }
        "model.position_loss_bias" | "model.position_loss_bias_in_validation" => {
            (Outcome::Unsupported, "all target tokens have the same weight")
        }
        "data.data_path" => (Outcome::Changed, "prepared data has its own cache"),
        "data.test_split_shuffle" => {
            (Outcome::Changed, "the validation documents are drawn at random")
        }
        "data.min_token_size" | "data.max_token_size" => (
            Outcome::Unsupported,
            "documents are not left out by their length; see `data.overlong`",
        ),
        "data.sort_by_length" | "data.sort_asc" => {
            (Outcome::Unsupported, "documents are always shuffled")
        }
        "data.dataset_offset" | "data.dataset_length" => {
            (Outcome::Unsupported, "`data.limit` takes the first documents")
        }
        "data.text_rechunk_size" | "data.text_rechunk_auto" | "data.text_rechunk_force" => {
            (Outcome::Unsupported, "a text file is one document; long documents are split")
        }
        "data.packing_enable"
        | "data.packing_batchsize"
        | "data.packing_chunksize"
        | "data.packing_min_ctx_len"
        | "data.packing_in_sequence" => (Outcome::Changed, "use `dataload = \"pack\"`"),
        "data.source_dataset_params" | "data.source_dataset_split" => {
            (Outcome::Unsupported, "the whole file is read")
        }
        "data.custom_text_key" => (Outcome::Unsupported, "the text of a record has the key `text`"),
        _ if top.starts_with("data.multi_column") => {
            (Outcome::Unsupported, "`data.sft_field` names the keys of question and answer")
        }
        _ if top.starts_with("data.conversation") => {
            (Outcome::Unsupported, "conversations are `messages`; see `data.template`")
        }
        "data.disable_prompt_completion_mask" | "data.instruction_prefix_mask" => {
            (Outcome::Unsupported, "use `data.loss_mask`")
        }
        _ => (Outcome::Unsupported, "no such setting"),
    }
}
