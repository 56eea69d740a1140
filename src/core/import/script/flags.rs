//! The training command, and which flag is which key: one table for reading scripts and for writing one.

use crate::import::shell::Word;

/// A flag of the training command.
pub(super) struct Flag {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) values: Vec<Word>,
}

impl Flag {
    pub(super) fn text(&self) -> &str {
        self.values.first().map_or("", |word| word.text.as_str())
    }

    pub(super) fn written(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|word| word.text.as_str()).collect();
        format!("--{} {}", self.name, values.join(" ")).trim_end().to_string()
    }
}

pub(super) fn is_program(word: &Word, name: &str) -> bool {
    word.text.rsplit('/').next() == Some(name)
}

pub(super) fn flags(words: &[Word]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    let program = words.iter().position(|word| word.text.ends_with(".py")).map_or(0, |at| at + 1);
    for word in &words[program..] {
        let negative =
            word.text.trim_start_matches('-').starts_with(|one: char| one.is_ascii_digit());
        match word.text.strip_prefix("--") {
            Some(name) if !negative => {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (name, None),
                };
                let value = value.map(|value| Word { text: value.to_string(), ..word.clone() });
                let values = value.into_iter().collect();
                flags.push(Flag { line: word.line, name: name.to_string(), values });
            }
            _ => {
                if let Some(flag) = flags.last_mut() {
                    flag.values.push(word.clone());
                }
            }
        }
    }
    flags
}

/// `make_data.py FILE COPIES CTX_LEN`.
pub(super) struct MakeData {
    pub(super) line: usize,
    pub(super) written: String,
    pub(super) file: String,
    pub(super) copies: Option<i64>,
}

pub(super) fn make_data(words: &[Word]) -> Option<MakeData> {
    let at = words.iter().position(|word| is_program(word, "make_data.py"))?;
    let file = words.get(at + 1)?;
    let copies = words.get(at + 2).and_then(|word| word.text.parse().ok());
    let written: Vec<_> = words[at..].iter().map(|word| word.text.as_str()).collect();
    Some(MakeData { line: file.line, written: written.join(" "), file: file.text.clone(), copies })
}

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Integer,
    Number,
    Text,
    /// 1 for true, anything else for false.
    Switch,
    /// An integer; a value below `least` is ignored for the reason `otherwise`.
    From {
        least: i64,
        otherwise: &'static str,
    },
}

/// Flags of RWKV-PEFT with a setting of the same meaning, in the order of its scripts.
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
        Kind::From { least: 1, otherwise: "the end of the run is always saved" },
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
        Kind::From { least: 0, otherwise: "a run always has a seed; the default is 42" },
    ),
];

/// Flags of RWKV-LM and Lightning, not of RWKV-PEFT, with a setting of the same meaning.
pub(super) const ELSEWHERE: &[(&str, &str, Kind)] = &[
    ("grad_clip", "optimizer.gradient_clip_val", Kind::Number),
    ("gradient_clip_val", "optimizer.gradient_clip_val", Kind::Number),
];

/// Methods with a JSON flag `--METHOD_config`.
pub(super) const ADAPTERS: &[&str] = &["lora", "pissa", "disha", "miss", "bone"];

/// The entries of that JSON, each with the method that writes it; `""` for names of other releases.
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

/// The entries of that JSON that name files to start from, each with its method.
pub(super) const LOADS: &[(&str, &str)] =
    &[("lora_load", "lora"), ("pissa_load", "pissa"), ("pissa_init", "pissa"), ("load", "disha")];

/// The parameter groups of `--train_parts`.
pub(super) const TRAIN_PARTS: &[&str] = &["emb", "head", "ln", "time", "low_rank", "att", "ffn"];

/// Defaults of the original that differ from those of statetune.
pub(super) const DEFAULTS: &[(&str, &str, &str)] = &[
    ("ctx_len", "train.ctx_len", "1024"),
    ("micro_bsz", "train.micro_bsz", "12"),
    ("epoch_steps", "train.epoch_steps", "1000"),
    ("epoch_count", "train.epoch_count", "500"),
    ("precision", "train.precision", "\"fp16\""),
    ("lr_init", "schedule.lr_init", "6e-4"),
    ("lr_final", "schedule.lr_final", "1e-5"),
];

/// Flags that the original never uses, or that change only how it computes.
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

/// Flags that only RWKV-LM has; its schedule differs.
pub(super) const OF_RWKV_LM: &[&str] =
    &["train_stage", "my_pile_stage", "my_exit_tokens", "magic_prime"];
