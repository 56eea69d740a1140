//! Which flag is which key: one table for reading scripts and for writing one.

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// An integer of at least `least`.
    Integer { least: i64 },
    /// An integer; below `least` it is ignored for the reason `otherwise`.
    From { least: i64, otherwise: &'static str },
    /// A number of at least 0.
    Number,
    /// A number above 0.
    Positive,
    /// A number from 0 to below 1.
    Share,
    /// One of these words, each with its word here.
    Word(&'static [(&'static str, &'static str)]),
    /// 1 for true, anything else for false.
    Switch,
}

impl Kind {
    /// A number of things.
    pub(super) const COUNT: Kind = Kind::Integer { least: 1 };

    /// What a value must be.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Integer { least } | Self::From { least, .. } => {
                format!("not an integer of at least {least}")
            }
            Self::Number => "not a number of at least 0".into(),
            Self::Positive => "not a number above 0".into(),
            Self::Share => "not a number from 0 to below 1".into(),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                let (last, first) = words.split_last().unwrap_or((&"", &[]));
                format!("must be {} or {last}", first.join(", "))
            }
            Self::Switch => String::new(),
        }
    }
}

/// Flags of RWKV-PEFT with a setting of the same meaning, in the order of its scripts.
pub(super) const SAME: &[(&str, &str, Kind)] = &[
    ("n_layer", "model.n_layer", Kind::COUNT),
    ("n_embd", "model.n_embd", Kind::COUNT),
    ("dataload", "data.dataload", DATALOAD),
    ("loss_mask", "data.loss_mask", LOSS_MASK),
    ("ctx_len", "train.ctx_len", Kind::COUNT),
    ("micro_bsz", "train.micro_bsz", Kind::COUNT),
    ("accumulate_grad_batches", "train.accumulate_grad_batches", Kind::COUNT),
    ("epoch_count", "train.epoch_count", Kind::COUNT),
    (
        "epoch_save",
        "checkpoint.epoch_save",
        Kind::From { least: 1, otherwise: "the end of the run is always saved" },
    ),
    ("lr_init", "schedule.lr_init", Kind::Positive),
    ("lr_final", "schedule.lr_final", Kind::Number),
    ("beta1", "optimizer.beta1", Kind::Share),
    ("beta2", "optimizer.beta2", Kind::Share),
    ("adam_eps", "optimizer.adam_eps", Kind::Positive),
    ("weight_decay", "optimizer.weight_decay", Kind::Number),
    ("accelerator", "hardware.accelerator", ACCELERATOR),
    ("precision", "train.precision", PRECISION),
    ("grad_cp", "train.grad_cp", Kind::Switch),
    (
        "random_seed",
        "train.random_seed",
        Kind::From { least: 0, otherwise: "no seed; a run always has one, 42 unless set" },
    ),
];

pub(super) const DATALOAD: Kind = Kind::Word(&[("pad", "pad"), ("only", "only"), ("get", "get")]);
pub(super) const LOSS_MASK: Kind =
    Kind::Word(&[("pad", "pad"), ("none", "none"), ("qa", "qa"), ("se", "se")]);
pub(super) const ACCELERATOR: Kind =
    Kind::Word(&[("gpu", "gpu"), ("cpu", "cpu"), ("auto", "auto"), ("cuda", "gpu")]);
pub(super) const PRECISION: Kind = Kind::Word(&[
    ("fp32", "fp32"),
    ("tf32", "tf32"),
    ("fp16", "fp16"),
    ("bf16", "bf16"),
    ("32", "fp32"),
    ("16", "fp16"),
    ("bf16-mixed", "bf16"),
    ("16-mixed", "fp16"),
    ("bf16-true", "bf16"),
    ("32-true", "fp32"),
    ("16-true", "fp16"),
]);

/// Methods of `--peft` with adapters. The JSON of their settings is in `--METHOD_config`.
pub(super) const ADAPTERS: &[&str] = &["lora", "pissa", "disha", "miss", "bone"];

/// The settings of an adapter in JSON or as flags, each with the method that writes it; `""` for names of other releases.
pub(super) const PARTS: &[(&str, &str, Kind, &str)] = &[
    ("lora_r", "peft.rank", Kind::COUNT, "lora"),
    ("lora_alpha", "peft.alpha", Kind::Positive, "lora"),
    ("lora_dropout", "peft.dropout", Kind::Share, "lora"),
    ("pissa_r", "peft.rank", Kind::COUNT, "pissa"),
    ("svd_niter", "peft.svd_niter", Kind::Integer { least: 0 }, "pissa"),
    ("mode", "peft.mode", MODE, "disha"),
    ("r", "peft.rank", Kind::COUNT, "disha"),
    ("disha_mode", "peft.mode", MODE, ""),
    ("bone_mode", "peft.mode", MODE, ""),
    ("disha_r", "peft.rank", Kind::COUNT, ""),
    ("bone_r", "peft.rank", Kind::COUNT, ""),
    ("miss_r", "peft.rank", Kind::COUNT, ""),
    ("alpha", "peft.alpha", Kind::Positive, ""),
    ("dropout", "peft.dropout", Kind::Share, ""),
];

const MODE: Kind = Kind::Word(&[("bone", "bone"), ("bat", "bat")]);

/// The entries of that JSON that name files to start from, each with its method.
pub(super) const LOADS: &[(&str, &str)] =
    &[("lora_load", "lora"), ("pissa_load", "pissa"), ("pissa_init", "pissa"), ("load", "disha")];

/// The parameter groups of `--train_parts`.
pub(super) const TRAIN_PARTS: &[&str] = &["emb", "head", "ln", "time", "low_rank", "att", "ffn"];
