//! Which flag of the other trainers is which key here: one table for reading scripts and for writing one.

/// How a value is written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Integer,
    Number,
    Text,
    /// 1 for yes, anything else for no.
    Switch,
    /// A whole number; one below `least` says nothing here, for the reason `otherwise`.
    From {
        least: i64,
        otherwise: &'static str,
    },
}

/// Flags of RWKV-PEFT that mean the same here, in the order in which its own scripts have them.
pub(super) const SAME: &[(&str, &str, Kind)] = &[
    ("n_layer", "model.n_layer", Kind::Integer),
    ("n_embd", "model.n_embd", Kind::Integer),
    ("dataload", "data.dataload", Kind::Text),
    ("loss_mask", "data.loss_mask", Kind::Text),
    ("ctx_len", "train.ctx_len", Kind::Integer),
    ("micro_bsz", "train.micro_bsz", Kind::Integer),
    ("accumulate_grad_batches", "train.accumulate_grad_batches", Kind::Integer),
    ("epoch_count", "train.epoch_count", Kind::Integer),
    (
        "epoch_save",
        "checkpoint.epoch_save",
        Kind::From { least: 1, otherwise: "the end is always saved" },
    ),
    ("lr_init", "schedule.lr_init", Kind::Number),
    ("lr_final", "schedule.lr_final", Kind::Number),
    ("beta1", "optimizer.beta1", Kind::Number),
    ("beta2", "optimizer.beta2", Kind::Number),
    ("adam_eps", "optimizer.adam_eps", Kind::Number),
    ("weight_decay", "optimizer.weight_decay", Kind::Number),
    ("accelerator", "hardware.accelerator", Kind::Text),
    ("precision", "train.precision", Kind::Text),
    ("grad_cp", "train.grad_cp", Kind::Switch),
    (
        "random_seed",
        "train.random_seed",
        Kind::From { least: 0, otherwise: "a run always has a seed, 42 where none is given" },
    ),
];

/// Flags of RWKV-LM and of Lightning that mean the same here, and that RWKV-PEFT has not.
pub(super) const ELSEWHERE: &[(&str, &str, Kind)] = &[
    ("grad_clip", "optimizer.gradient_clip_val", Kind::Number),
    ("gradient_clip_val", "optimizer.gradient_clip_val", Kind::Number),
];

/// Methods with a `--METHOD_config` in JSON.
pub(super) const ADAPTERS: &[&str] = &["lora", "pissa", "disha", "miss", "bone"];

/// What such a JSON sets, and the method with which it is written so; `""` for the names of other releases.
pub(super) const PARTS: &[(&str, &str, Kind, &str)] = &[
    ("lora_r", "peft.rank", Kind::Integer, "lora"),
    ("lora_alpha", "peft.alpha", Kind::Number, "lora"),
    ("lora_dropout", "peft.dropout", Kind::Number, "lora"),
    ("pissa_r", "peft.rank", Kind::Integer, "pissa"),
    ("svd_niter", "peft.svd_niter", Kind::Integer, "pissa"),
    ("mode", "peft.mode", Kind::Text, "disha"),
    ("r", "peft.rank", Kind::Integer, "disha"),
    ("disha_mode", "peft.mode", Kind::Text, ""),
    ("bone_mode", "peft.mode", Kind::Text, ""),
    ("disha_r", "peft.rank", Kind::Integer, ""),
    ("bone_r", "peft.rank", Kind::Integer, ""),
    ("alpha", "peft.alpha", Kind::Number, ""),
    ("dropout", "peft.dropout", Kind::Number, ""),
];

/// Names in that JSON of files to begin with, and the method that has them.
pub(super) const LOADS: &[(&str, &str)] =
    &[("lora_load", "lora"), ("pissa_load", "pissa"), ("pissa_init", "pissa"), ("load", "disha")];

/// Groups of parameters of `--train_parts`.
pub(super) const TRAIN_PARTS: &[&str] = &["emb", "head", "ln", "time", "low_rank", "att", "ffn"];

/// What the original assumes where its script is silent and this program would assume something else.
pub(super) const DEFAULTS: &[(&str, &str, &str)] = &[
    ("ctx_len", "train.ctx_len", "1024"),
    ("micro_bsz", "train.micro_bsz", "12"),
    ("epoch_steps", "train.epoch_steps", "1000"),
    ("epoch_count", "train.epoch_count", "500"),
    ("precision", "train.precision", "\"fp16\""),
    ("lr_init", "schedule.lr_init", "6e-4"),
    ("lr_final", "schedule.lr_final", "1e-5"),
];

/// Flags that the original reads and never uses, or that change how it computes and not what.
pub(super) const DEAD: &[&str] = &[
    "dim_att",
    "dim_ffn",
    "dropout",
    "ds_bucket_mb",
    "fla",
    "fused_kernel",
    "head_size_a",
    "head_size_divisor",
    "load_partial",
    "my_att_shift",
    "my_exit",
    "my_ffn_shift",
    "my_pile_edecay",
    "my_pile_version",
    "my_pos_emb",
    "my_qa_mask",
    "my_random_steps",
    "my_sample_len",
    "tiny_att_dim",
    "tiny_att_layer",
    "tiny_att_downscale",
    "enable_progress_bar",
    "avg_loss",
    "my_img_bit",
    "my_img_clip",
    "my_img_encoder",
    "my_img_l1_scale",
    "my_img_noise_scale",
    "my_img_size",
    "my_img_version",
    "compile",
];

/// Flags of RWKV-LM alone, whose schedule is another one.
pub(super) const OF_RWKV_LM: &[&str] =
    &["train_stage", "my_pile_stage", "my_exit_tokens", "magic_prime"];
