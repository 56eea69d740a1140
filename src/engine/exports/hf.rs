//! RWKV-7 as a model folder of Hugging Face Transformers, for the package `rwkv7-hf`.
//!
//! The folder holds the weights under fla's names and axes, the configuration, the vocabulary with the settings of its
//! tokenizer, the chat template, and three files of Python, which lead Transformers to the classes of the package.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use statetune_core::arch::hugging_face_name;
use statetune_core::diagnostic::msg;
use statetune_core::tensorfile::{Axes, Dtype, LazyTensor, write_lazily};
use statetune_core::work::Work;
use tch::Tensor;

use super::card::{ExportError, ModelCard};
use super::files::{make_folder, remove_earlier, write_text};
use super::state::check_range;
use crate::model::{Arch, Rwkv7, Shape, Weights, dtype_of, file_tensor};

/// The file of the weights in the folder.
pub const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer_config.json";
const VOCABULARY: &str = "rwkv_vocab_v20230424.txt";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Files of Python: the module, and the classes that it takes from the package `rwkv7_hf`.
const MODULES: [(&str, &str); 3] = [
    ("configuration_rwkv7.py", "RWKV7Config"),
    ("modeling_rwkv7.py", "RWKV7ForCausalLM, RWKV7Model"),
    ("tokenization_rwkv7.py", "RWKV7Tokenizer"),
];

/// The files that [`save_hf`] writes into the folder `out`.
pub fn hf_files(out: &Path) -> Vec<PathBuf> {
    let own = [WEIGHTS, CONFIG, GENERATION, TOKENIZER, VOCABULARY, CHAT_TEMPLATE];
    own.iter().chain(MODULES.iter().map(|(file, _)| file)).map(|name| out.join(name)).collect()
}

/// Writes the model into the folder `out`, every tensor as `dtype`, or in the dtype that it has.
///
/// # Errors
/// A model of another version, a value beyond the range of `dtype`, or a file that cannot be written.
pub fn save_hf(
    weights: &Weights,
    out: &Path,
    dtype: Option<Dtype>,
    card: &ModelCard<'_>,
) -> Result<(), ExportError> {
    let shape = weights.shape();
    let Arch::V7(widths) = shape.arch else {
        let version = shape.version().to_string();
        return Err(ExportError::Refused(msg!(HF_LACKS_VERSION, version)));
    };
    make_folder(out)?;
    save_weights(weights, &out.join(WEIGHTS), dtype, card)?;
    let dtype = dtype.unwrap_or_else(|| weights.dtype());
    let json = |value: Value| format!("{value:#}\n");
    let mut texts = vec![
        (CONFIG, json(config(shape, &widths, dtype))),
        (GENERATION, json(json!({ "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0 }))),
        (TOKENIZER, json(tokenizer_config(shape))),
        (VOCABULARY, card.tokenizer.lines()),
    ];
    texts.extend(MODULES.map(|(file, classes)| (file, module(classes))));
    match card.template.jinja() {
        Some(template) => texts.push((CHAT_TEMPLATE, template)),
        None => remove_earlier(&out.join(CHAT_TEMPLATE))?,
    }
    for (name, text) in texts {
        write_text(&out.join(name), &text)?;
    }
    Ok(())
}

fn save_weights(
    weights: &Weights,
    path: &Path,
    dtype: Option<Dtype>,
    card: &ModelCard<'_>,
) -> Result<(), ExportError> {
    let shape = weights.shape();
    let names: Vec<String> = shape
        .tensors()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| shape.reads(name))
        .collect();
    let mut checking = Work::begin("checking tensors", names.len() as u64);
    let mut tensors = Vec::new();
    for name in &names {
        let (new_name, axes) = hugging_face_name(name).expect("a tensor of RWKV-7");
        let (size, kind) = weights.with_tensor(name, |x| (axed(x, axes).size(), x.kind()));
        let dtype = dtype.unwrap_or_else(|| dtype_of(kind));
        weights.with_tensor(name, |x| check_range(name, x, path, dtype))?;
        checking.advance(1);
        let bytes =
            move || weights.with_tensor(name, |x| file_tensor(name, &axed(x, axes), dtype).bytes);
        let shape = size.iter().map(|&size| size as usize).collect();
        tensors.push(LazyTensor { name: new_name, dtype, shape, bytes: Box::new(bytes) });
    }
    drop(checking);
    let metadata = card.passport.metadata();
    let metadata = metadata.each_ref().map(|(key, text)| (*key, &**text));
    Ok(write_lazily(path, tensors, &metadata)?)
}

/// A tensor of the original naming with the axes of a tensor of Hugging Face's.
fn axed(tensor: &Tensor, axes: Axes) -> Tensor {
    match axes {
        Axes::Same | Axes::Row(_) => tensor.shallow_clone(),
        Axes::Vector => tensor.reshape([-1]),
        Axes::Swapped => tensor.transpose(-2, -1),
    }
}

fn config(shape: &Shape, widths: &Rwkv7, dtype: Dtype) -> Value {
    let dtype = match dtype {
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
        _ => "float32",
    };
    json!({
        "architectures": ["RWKV7ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_rwkv7.RWKV7Config",
            "AutoModel": "modeling_rwkv7.RWKV7Model",
            "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM",
        },
        "model_type": "rwkv7",
        "dtype": dtype,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.n_embd,
        "num_hidden_layers": shape.n_layer,
        "num_heads": shape.n_head,
        "head_dim": shape.head_size,
        "attention_hidden_size": shape.dim_att(),
        "intermediate_size": shape.dim_ffn,
        "hidden_ratio": shape.dim_ffn as f64 / shape.n_embd as f64,
        "decay_low_rank_dim": widths.ranks.w,
        "a_low_rank_dim": widths.ranks.a,
        // A model of one block has none, and the package wants a number.
        "v_low_rank_dim": widths.ranks.v.max(1),
        "gate_low_rank_dim": widths.ranks.g,
        "norm_eps": 1e-5,
        "norm_bias": true,
        "tie_word_embeddings": false,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    })
}

fn tokenizer_config(shape: &Shape) -> Value {
    json!({
        "tokenizer_class": "RWKV7Tokenizer",
        "auto_map": { "AutoTokenizer": ["tokenization_rwkv7.RWKV7Tokenizer", null] },
        "model_vocab_size": shape.vocab_size,
        "pad_token": "<|padding|>",
        "eos_token": "<|endoftext|>",
        "errors": "replace",
    })
}

/// A module that takes its classes from the package.
fn module(classes: &str) -> String {
    format!(
        "\"\"\"The classes of the package rwkv7-hf: pip install rwkv7-hf\"\"\"\n\nfrom rwkv7_hf import {classes}  # noqa: F401\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_are_those_that_the_reader_undoes() {
        let x = Tensor::arange(6, (tch::Kind::Float, tch::Device::Cpu)).view([2, 3]);
        assert_eq!(axed(&x, Axes::Swapped).size(), [3, 2]);
        assert_eq!(axed(&x.view([1, 1, 6]), Axes::Vector).size(), [6]);
    }
}
