//! The programs that mount states: the file that each wants, and how it is told about it.

use statetune_core::digest::sha256_hex;
use std::path::{Path, PathBuf};

use crate::model::{TimeState, Version};
use crate::output::{Export, Passport, save_state_pth, save_state_st};
use statetune_core::tensorfile::{Dtype, WeightsError};

/// A program that mounts states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// RWKV Runner with its Python backend.
    RwkvRunner,
    /// Ai00, and web-rwkv in general.
    Ai00,
    /// The Python package `rwkv`.
    RwkvPip,
}

/// What a program was given.
#[derive(Debug)]
pub struct Mounted {
    /// The state file.
    pub file: PathBuf,
    /// Its form in words.
    pub form: &'static str,
}

impl Target {
    /// The name under which the command line knows it.
    pub fn name(self) -> &'static str {
        match self {
            Target::RwkvRunner => "rwkv-runner",
            Target::Ai00 => "ai00",
            Target::RwkvPip => "rwkv-pip",
        }
    }

    /// Writes `FOLDER/NAME.pth` or `.st` as the program wants it.
    ///
    /// # Errors
    /// When a file cannot be written, or a number is beyond its dtype.
    pub fn write(
        self,
        state: &TimeState,
        folder: &Path,
        name: &str,
        passport: &Passport,
    ) -> Result<Mounted, WeightsError> {
        if self == Target::Ai00 {
            let file = folder.join(format!("{name}.st"));
            save_state_st(state, &file, passport)?;
            return Ok(Mounted { file, form: "float16, [head, key, value]" });
        }
        // Both take any dtype; float32 loses nothing.
        let file = folder.join(format!("{name}.pth"));
        save_state_pth(state, &file, &Export { dtype: Dtype::F32, passport })?;
        Ok(Mounted { file, form: "float32, [head, value, key]" })
    }

    /// What a person does with the file: an entry of a configuration file, a call, or a program.
    pub fn entry(self, file: &Path, base: &Path, sizes: (Version, i64, i64)) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Target::RwkvRunner => format!(
                "\
Copy the file into the folder `state-models` of RWKV Runner and choose it there, or tell a running backend:

curl -X POST http://127.0.0.1:8000/update-config \\
  -H 'Content-Type: application/json' -d '{{\"state\": \"state-models/{name}\"}}'"
            ),
            Target::Ai00 => {
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
            Target::RwkvPip => python(file, base, sizes),
        }
    }

    /// What a person should know, a sentence each.
    pub fn caveats(self, version: Version) -> Vec<&'static str> {
        let merged_v7 = "never merge a state into an RWKV-7 `.pth` for this program: it ignores the state \
                         there without a word";
        match (self, version) {
            (Target::RwkvRunner, Version::V7) => {
                vec!["only the Python backend mounts states, and only on a `.pth` model", merged_v7]
            }
            (Target::RwkvRunner, _) => {
                vec!["only the Python backend mounts states, and only on a `.pth` model"]
            }
            (Target::RwkvPip, Version::V7) => vec![merged_v7],
            (Target::RwkvPip, _) => Vec::new(),
            (Target::Ai00, _) => vec![
                "a state that does not load is only a warning in the log: the server starts without it",
            ],
        }
    }
}

/// A program that calls the `rwkv` package with the state. Its RWKV-5 and 6 keep the matrices the other
/// way round than the file.
fn python(file: &Path, base: &Path, (version, n_layer, n_embd): (Version, i64, i64)) -> String {
    let (before, turn) = match version {
        Version::V7 => ("import os\nos.environ[\"RWKV_V7_ON\"] = \"1\"\n", ""),
        Version::V5 | Version::V6 => ("", ".transpose(1, 2).contiguous()"),
    };
    let model = base.with_extension("");
    format!(
        "\
{before}import torch
from rwkv.model import RWKV

model = RWKV(model={:?}, strategy=\"cpu fp32\")
tuned = torch.load({:?}, map_location=\"cpu\", weights_only=True)
state = []
for i in range({n_layer}):
    s = tuned[f\"blocks.{{i}}.att.time_state\"].float(){turn}
    state += [torch.zeros({n_embd}), s, torch.zeros({n_embd})]
logits, state = model.forward(token_ids, state)",
        model.display().to_string(),
        file.display().to_string()
    )
}

/// An identifier that is the same for the same name.
fn uuid(name: &str) -> String {
    let hex = sha256_hex(name);
    // Version 8 means that the digits are made in a way of one's own.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
