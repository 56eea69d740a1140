//! The options of `statetune export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use statetune_core::tensorfile::Dtype;

use crate::drop_part::DropArgs;
use crate::replace::ReplaceArgs;
use crate::subject::SubjectArgs;

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// A run, or a state, adapter or model file.
    #[arg(value_name = "RUN|FILE")]
    pub(super) name: String,
    /// Format to write.
    #[arg(long, value_name = "FORM", value_enum)]
    pub(super) to: FormName,
    /// Number format [default: bf16 for a state as `pth`, the format of each tensor for a model and its states; `.st`
    /// files are always fp16].
    #[arg(long, value_name = "DTYPE", value_enum)]
    pub(super) dtype: Option<DtypeName>,
    /// File or folder to write [default: next to the source, with the extension of the format].
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) replace: ReplaceArgs,
    #[command(flatten)]
    pub(super) drop: DropArgs,
    /// Leave out the initial states, which most programs for RWKV-7 do not read.
    #[arg(long)]
    pub(super) without_states: bool,
    /// Write the tensors of a model in the order of this checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(super) like: Option<PathBuf>,
    /// Merge an adapter into the dequantised weights instead of the original base: exactly the trained model, including
    /// quantisation errors.
    #[arg(long)]
    pub(super) quantised: bool,
    #[command(flatten)]
    pub(super) subject: SubjectArgs,
}

/// File format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum FormName {
    /// For PyTorch programs: RWKV Runner, the `rwkv` package, trainers.
    Pth,
    /// For Ai00 and web-rwkv: float16, with their names and axis order.
    St,
    /// Safetensors with the names and axes of a `.pth`; models only.
    Safetensors,
    /// The initial states in a model file, as a state file of their own, a `.pth`.
    State,
    /// A model folder for Hugging Face Transformers with the package rwkv7-hf; RWKV-7 with its adapter merged.
    Hf,
    /// For llama.cpp and Ollama: RWKV-6 or 7 with its adapter merged, a `Modelfile`, and the initial states as a prompt
    /// cache.
    Gguf,
    /// A LoRA or PiSSA adapter for the PEFT library, on the folder of `hf`.
    Peft,
}

impl FormName {
    /// The name on command lines.
    pub(super) fn name(self) -> String {
        self.to_possible_value().expect("every format is shown").get_name().to_owned()
    }
}

/// Number format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum DtypeName {
    Bf16,
    Fp16,
    Fp32,
    /// Eight bits in blocks of 32; only for `--to gguf`.
    #[value(name = "q8_0")]
    Q8,
}

impl DtypeName {
    /// The dtype of checkpoints; none for a packed format.
    pub(super) fn dtype(self) -> Option<Dtype> {
        match self {
            DtypeName::Bf16 => Some(Dtype::BF16),
            DtypeName::Fp16 => Some(Dtype::F16),
            DtypeName::Fp32 => Some(Dtype::F32),
            DtypeName::Q8 => None,
        }
    }
}

impl ExportArgs {
    /// An option of another format than the one to write.
    pub(super) fn stray_option(&self) -> Option<&'static str> {
        let form = self.to;
        let merges = matches!(form, FormName::Hf | FormName::Gguf);
        let is_program = merges || form == FormName::Peft;
        let takes_states = matches!(form, FormName::Pth | FormName::St | FormName::Gguf);
        let options = [
            ("--dtype q8_0", self.dtype == Some(DtypeName::Q8) && form != FormName::Gguf),
            ("--dtype", self.dtype.is_some() && form == FormName::Peft),
            ("--like", self.like.is_some() && is_program),
            ("--quantised", self.quantised && !merges),
            ("--drop", self.drop.is_given() && !takes_states),
        ];
        options.into_iter().find_map(|(option, is_stray)| is_stray.then_some(option))
    }
}
