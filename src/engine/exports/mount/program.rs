//! The programs that mount states: the file that each one reads and the instructions for it.

use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::digest::sha256_hex;
use statetune_core::peft::StateReader;
use statetune_core::tensorfile::{Dtype, WeightsError};

use crate::exports::{ExportOptions, Passport, save_state_pth, save_state_st};
use crate::model::{TimeState, Version};

/// A program that mounts states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// RWKV Runner with its Python backend.
    RwkvRunner,
    /// Ai00, and web-rwkv in general.
    Ai00,
    /// The Python package `rwkv`.
    RwkvPip,
}

/// A written state file.
#[derive(Debug)]
pub struct MountFile {
    /// The path.
    pub file: PathBuf,
    /// Dtype and index order, for people.
    pub form: &'static str,
}

/// What a program needs to use a mounted state, besides the files of the model and of the state.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// Version of the model, its number of blocks, and its channels.
    pub sizes: (Version, i64, i64),
    /// Whether the file holds shift states.
    pub has_shift: bool,
    /// The vocabulary file; `None` for the World vocabulary.
    pub vocabulary: Option<&'a Path>,
    /// A text for the model to continue.
    pub prompt: &'a str,
}

impl Program {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Program::RwkvRunner => "rwkv-runner",
            Program::Ai00 => "ai00",
            Program::RwkvPip => "rwkv-pip",
        }
    }

    /// The program among those that read states.
    pub fn reader(self) -> StateReader {
        match self {
            Program::RwkvRunner => StateReader::RwkvRunner,
            Program::Ai00 => StateReader::Ai00,
            Program::RwkvPip => StateReader::RwkvPip,
        }
    }

    /// The state file of this name in `folder`: `FOLDER/NAME.pth` or `FOLDER/NAME.st`.
    pub fn file(self, folder: &Path, name: &str) -> PathBuf {
        folder.join(match self {
            Program::Ai00 => format!("{name}.st"),
            Program::RwkvRunner | Program::RwkvPip => format!("{name}.pth"),
        })
    }

    /// Writes [`Program::file`].
    ///
    /// # Errors
    /// A file that cannot be written, or a value beyond the range of its dtype.
    pub fn write(
        self,
        state: &TimeState,
        folder: &Path,
        name: &str,
        passport: &Passport,
    ) -> Result<MountFile, WeightsError> {
        let file = self.file(folder, name);
        if self == Program::Ai00 {
            save_state_st(state, &file, passport)?;
            return Ok(MountFile { file, form: "float16, [head, key, value]" });
        }
        // Both programs read any dtype; float32 is exact.
        save_state_pth(state, &file, &ExportOptions { dtype: Dtype::F32, passport })?;
        Ok(MountFile { file, form: "float32, [head, value, key]" })
    }

    /// Instructions for the file: a configuration entry, a request, or a program.
    pub fn entry(self, file: &Path, base: &Path, usage: &Usage<'_>) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Program::RwkvRunner => format!(
                "\
Copy the file into the folder `state-models` of RWKV Runner and choose it there, or tell a running backend:

curl -X POST http://127.0.0.1:8000/update-config \\
  -H 'Content-Type: application/json' -d '{{\"state\": \"state-models/{name}\"}}'"
            ),
            Program::Ai00 => {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                format!(
                    "\
Copy the file into the folder of the models (`path` in `[model]`) and add to the configuration of Ai00:

[[state]]
id = \"{}\"
name = {stem:?}
path = {name:?}
default = true",
                    uuid(&stem)
                )
            }
            Program::RwkvPip => python(file, base, usage),
        }
    }

    /// Known pitfalls, one sentence each.
    pub fn caveats(self, version: Version) -> Vec<&'static str> {
        let merged_v7 = "never merge a state into an RWKV-7 `.pth` for this program: it ignores the state \
                         there without a word";
        match (self, version) {
            (Program::RwkvRunner, Version::V7) => {
                vec!["only the Python backend mounts states, and only on a `.pth` model", merged_v7]
            }
            (Program::RwkvRunner, _) => {
                vec!["only the Python backend mounts states, and only on a `.pth` model"]
            }
            (Program::RwkvPip, Version::V7) => vec![merged_v7],
            (Program::RwkvPip, _) => Vec::new(),
            (Program::Ai00, _) => vec![
                "a state that does not load is only a warning in the log: the server starts without it",
            ],
        }
    }
}

/// A Python program that answers `prompt` with the `rwkv` package and the state. RWKV-5 and 6 of the package transpose the
/// matrices of the file.
fn python(file: &Path, base: &Path, usage: &Usage<'_>) -> String {
    let (version, n_layer, n_embd) = usage.sizes;
    let [att, ffn] = ["att", "ffn"].map(|part| match usage.has_shift {
        true => format!("tuned[f\"blocks.{{i}}.{part}.shift_state\"].float()"),
        false => format!("torch.zeros({n_embd})"),
    });
    let (before, turn) = match version {
        Version::V7 => ("import os\nos.environ[\"RWKV_V7_ON\"] = \"1\"\n", ""),
        Version::V5 | Version::V6 => ("", ".transpose(1, 2).contiguous()"),
    };
    let (import, tokenizer) = match usage.vocabulary {
        Some(file) => (
            "from rwkv.rwkv_tokenizer import TRIE_TOKENIZER",
            format!("TRIE_TOKENIZER({})", literal(file)),
        ),
        None => (
            "from rwkv.utils import PIPELINE",
            "PIPELINE(model, \"rwkv_vocab_v20230424\")".to_owned(),
        ),
    };
    format!(
        "\
{before}import torch
from rwkv.model import RWKV
{import}

model = RWKV(model={}, strategy=\"cpu fp32\")
tokenizer = {tokenizer}
tuned = torch.load({}, map_location=\"cpu\", weights_only=True)
state = []
for i in range({n_layer}):
    s = tuned[f\"blocks.{{i}}.att.time_state\"].float(){turn}
    state += [{att}, s, {ffn}]

answer = []
logits, state = model.forward(tokenizer.encode({}), state)
for _ in range(100):
    token = int(logits.argmax())
    if token == 0:
        break
    answer.append(token)
    logits, state = model.forward([token], state)
print(tokenizer.decode(answer))",
        literal(&base.with_extension("")),
        literal(file),
        json!(usage.prompt),
    )
}

/// An absolute path as a text of Python, whose literals include those of JSON.
fn literal(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    json!(path.to_string_lossy()).to_string()
}

/// A UUID derived from `name`.
fn uuid(name: &str) -> String {
    let hex = sha256_hex(name);
    // Version 8: custom digits.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
