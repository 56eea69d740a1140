//! Which trainer a script is for: where the script is silent, the defaults of that trainer hold.

use super::command::Flag;

/// A trainer, by the years in which it read such scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trainer {
    /// RWKV-LM, versions 4 to 7.
    Lm,
    /// RWKV-PEFT until the beginning of 2025, and RWKV-LM-LoRA, which RWKV-Runner uses.
    Peft2024,
    /// RWKV-PEFT of 2025, the trainer of the tutorial.
    Peft2025,
    /// RWKV-PEFT since the end of 2025, with the adapters of Hugging Face.
    Peft2026,
}

/// Flags that only RWKV-LM has.
const OF_LM: &[&str] =
    &["train_stage", "my_pile_stage", "my_exit_tokens", "magic_prime", "head_chunk"];
/// Flags of RWKV-PEFT and of the LoRA trainer before it.
const OF_PEFT: &[&str] = &[
    "peft",
    "peft_config",
    "merge",
    "lora",
    "lora_r",
    "lora_config",
    "PISSA",
    "pissa_config",
    "disha_config",
    "miss_config",
    "bone",
    "bone_r",
    "bone_config",
    "LISA",
    "emb",
    "train_type",
    "state_tune",
    "train_parts",
    "dataload",
    "loss_mask",
    "mask_id",
    "quant",
    "op",
    "fla",
    "fused_kernel",
    "lr_schedule",
    "sft_field",
    "sft_split",
    "data_shuffle",
    "chunk_ctx",
];
const OF_2026: &[&str] = &["peft_config", "merge"];
const OF_2025: &[&str] = &["op", "lr_schedule", "disha_config", "fused_kernel"];
const OF_2024: &[&str] = &[
    "lora",
    "lora_r",
    "PISSA",
    "LISA",
    "emb",
    "bone",
    "bone_r",
    "bone_config",
    "state_tune",
    "fla",
    "pre_ffn",
    "head_qk",
];

impl Trainer {
    /// The trainer that knows these flags.
    pub(super) fn of(flags: &[Flag]) -> Trainer {
        let has = |names: &[&str]| flags.iter().any(|flag| names.contains(&flag.name.as_str()));
        let is = |name: &str, values: &[&str]| {
            let mut named = flags.iter().filter(|flag| flag.name == name);
            named.any(|flag| values.contains(&flag.text().to_lowercase().as_str()))
        };
        // The official state tuning of RWKV-LM says `states`, that of RWKV-PEFT `state`.
        let is_lm = is("train_type", &["states"]);
        let is_peft = has(OF_PEFT) || is("data_type", &["jsonl", "sft"]);
        let has_lm_data = is("data_type", &["utf-8", "utf-16le", "numpy", "uint16", "dummy"]);
        match () {
            () if has(OF_2026) || is("peft", &["state", "adalora", "prefix"]) => Self::Peft2026,
            () if is_lm
                || !is_peft && (has(OF_LM) || has(&["pre_ffn", "head_qk"]) || has_lm_data) =>
            {
                Self::Lm
            }
            () if has(OF_2025) || is("data_type", &["jsonl"]) => Self::Peft2025,
            () if is("peft", &["disha", "miss"]) => Self::Peft2025,
            () if has(OF_2024) || is("dataload", &["get", "only"]) => Self::Peft2024,
            () => Self::Peft2025,
        }
    }

    /// The name in notes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lm => "RWKV-LM",
            Self::Peft2024 => "RWKV-PEFT of 2024",
            Self::Peft2025 => "RWKV-PEFT of 2025",
            Self::Peft2026 => "RWKV-PEFT of 2026",
        }
    }

    /// Whether the trainer accepts the flags of RWKV-LM and ignores them.
    pub(super) fn ignores_lm(self) -> bool {
        matches!(self, Self::Peft2025 | Self::Peft2026)
    }

    /// How documents become samples unless the script says it.
    pub(super) fn dataload(self) -> &'static str {
        match self {
            Self::Lm | Self::Peft2024 => "get",
            Self::Peft2025 | Self::Peft2026 => "pad",
        }
    }
}
