//! `statetune export --to gguf`: the model, a `Modelfile` for Ollama, and the initial states as a prompt cache.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use statetune_core::shell::shell_path;
use statetune_core::tensorfile::{Dtype, GgufDtype, WeightsError, write_atomically};
use statetune_engine::RunError;
use statetune_engine::exports::{ModelCard, is_own_gguf, modelfile, save_gguf, save_prompt_cache};
use statetune_engine::model::{Weights, dtype_of};

use super::args::{DtypeName, ExportArgs};
use super::shared::{check, failed, name, out, passport, tuned};
use crate::subject::Found;
use crate::{Color, tell};

/// Writes the tuned model and the files beside it; returns the files.
pub(super) fn export(
    args: &ExportArgs,
    found: &Found,
    color: Color,
) -> Result<Vec<PathBuf>, RunError> {
    let out = out(args, found, ".gguf");
    let beside = |ending: &str| out.with_extension(ending);
    let (recipe, cache) = (beside("Modelfile"), beside("session"));
    let is_own = |_: &Path| is_own_gguf(&out);
    check(args, found, &[out.clone(), recipe.clone(), cache.clone()], is_own)?;
    let tuned = tuned(args, found, color)?;
    let shape = *tuned.weights.shape();
    let tokenizer = found.subject.load_tokenizer(&shape)?;
    let passport = passport(found, &tuned.weights)?;
    let name = name(found, &passport);
    let template = &found.subject.template;
    let card = ModelCard { name: &name, tokenizer: &tokenizer, template, passport: &passport };
    save_gguf(&tuned.weights, &out, gguf_dtype(args.dtype, &tuned.weights), &card)
        .map_err(failed)?;
    write_atomically(&recipe, |file| file.write_all(modelfile(&out, template).as_bytes()))
        .map_err(|source| WeightsError::Write { path: recipe.clone(), source })?;
    let mut files = vec![out.clone(), recipe];
    if let Some(states) = tuned.states.as_ref().filter(|_| !args.without_states) {
        save_prompt_cache(states, &shape, &cache).map_err(failed)?;
        let [model, cache_word] = [&out, &cache].map(|path| shell_path(path));
        tell(format_args!(
            "state    {} has the initial state, for prompts that begin with token 0: llama-completion -m {model} \
             --prompt-cache {cache_word} --prompt-cache-ro -p '<s>...'; Ollama does not read it",
            cache.display()
        ));
        files.push(cache);
    } else if cache.is_file() {
        // That of an earlier export does not belong to this model.
        fs::remove_file(&cache)
            .map_err(|source| WeightsError::Write { path: cache.clone(), source })?;
    }
    Ok(files)
}

/// The format of the matrices: that of the command line, or the one nearest to the weights.
fn gguf_dtype(asked: Option<DtypeName>, weights: &Weights) -> GgufDtype {
    let of_weights = || match weights.with_tensor("emb.weight", |x| dtype_of(x.kind())) {
        Dtype::BF16 => GgufDtype::BF16,
        Dtype::F16 => GgufDtype::F16,
        _ => GgufDtype::F32,
    };
    match asked {
        None => of_weights(),
        Some(DtypeName::Bf16) => GgufDtype::BF16,
        Some(DtypeName::Fp16) => GgufDtype::F16,
        Some(DtypeName::Fp32) => GgufDtype::F32,
        Some(DtypeName::Q8) => GgufDtype::Q8_0,
    }
}
