//! `statetune export --to gguf`: the model, a `Modelfile` for Ollama, and the initial states as a prompt cache.

use std::path::{Path, PathBuf};

use statetune_core::shell::shell_path;
use statetune_core::tensorfile::{Dtype, GgufDtype, one_of_several};
use statetune_engine::RunError;
use statetune_engine::exports::{
    is_own_gguf, remove_earlier, save_gguf, save_modelfile, save_prompt_cache,
};
use statetune_engine::model::Weights;

use super::args::{DtypeName, ExportArgs};
use super::shared::{card, check, failed, out, refused, tuned};
use crate::subject::Found;
use crate::{Color, tell};

/// Writes the tuned model and the files beside it; returns the files.
pub(super) fn export(
    args: &ExportArgs,
    found: &Found,
    color: Color,
) -> Result<Vec<PathBuf>, RunError> {
    let out = out(args, found, ".gguf");
    if let Some(fault) = one_of_several(&out) {
        return Err(refused(fault));
    }
    let beside = |ending: &str| out.with_extension(ending);
    let (recipe, cache) = (beside("Modelfile"), beside("session"));
    let is_own = |_: &Path| is_own_gguf(&out);
    check(args, found, &[out.clone(), recipe.clone(), cache.clone()], is_own)?;
    let tuned = tuned(args, found, color)?;
    let shape = *tuned.weights.shape();
    let card = card(found, &tuned.weights)?;
    save_gguf(&tuned.weights, &out, gguf_dtype(args.dtype, &tuned.weights), &card)
        .map_err(failed)?;
    save_modelfile(&out, card.template, &recipe)?;
    let mut files = vec![out.clone(), recipe];
    if let Some(states) = tuned.states.filter(|_| !args.without_states) {
        save_prompt_cache(&args.drop.of(states), &shape, &cache).map_err(failed)?;
        let [model, cache_word] = [&out, &cache].map(|path| shell_path(path));
        tell(format_args!(
            "state    {} has the initial state, for prompts that begin with token 0: llama-completion -m {model} \
             --prompt-cache {cache_word} --prompt-cache-ro -p '<s>...'; Ollama does not read it",
            cache.display()
        ));
        files.push(cache);
    } else {
        remove_earlier(&cache)?;
    }
    Ok(files)
}

/// The format of the matrices: that of the command line, or the one nearest to the weights.
fn gguf_dtype(asked: Option<DtypeName>, weights: &Weights) -> GgufDtype {
    let of_weights = || match weights.dtype() {
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
