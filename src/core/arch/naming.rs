//! The namings under which trainers and libraries save RWKV models, and the names that this program uses for them.
//!
//! Trainers leave prefixes of their wrappers. Hugging Face's and fla's RWKV-7 has names, axes and low-rank matrices of
//! its own; each stands for one tensor of the original naming.

use std::path::Path;

use crate::tensorfile::{Axes, TensorFile, View, WeightsError};

/// What wrappers put in front of every name.
const PREFIXES: [&str; 3] = ["_forward_module.", "module.", "model."];
/// The token-shift vectors of RWKV-7, in the order of the rows of `x_x`.
const SHIFTS: [&str; 6] = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];
/// Parts of tensor names that only adapters have: LoRA and PiSSA, DiSHA under its names.
const ADAPTER_PARTS: [&str; 5] = ["lora_A", "lora_B", "disha", "bone", "miss_block"];

/// Opens a model's checkpoint with its tensors under the names and axes of the original naming.
///
/// # Errors
/// Those of [`TensorFile::open`].
pub fn open_model(path: &Path) -> Result<TensorFile, WeightsError> {
    let file = TensorFile::open(path)?;
    let is_fla = file.names().any(|name| is_of_fla(bare(name)));
    Ok(file.viewed(|name| views(bare(name), is_fla)))
}

/// The name without prefixes of wrappers.
fn bare(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// Whether the tensor belongs to an adapter.
pub fn is_of_adapter(name: &str) -> bool {
    name.split('.').any(|part| ADAPTER_PARTS.contains(&part))
}

/// The name of the initial WKV state of a layer, in state files of all programs.
pub fn time_state_name(layer: i64) -> String {
    format!("blocks.{layer}.att.time_state")
}

/// The names of the initial shift states of a layer, of its time mix and its channel mix. No other program has names for
/// them in files.
pub fn shift_state_names(layer: i64) -> [String; 2] {
    ["att", "ffn"].map(|part| format!("blocks.{layer}.{part}.shift_state"))
}

/// Whether the tensor is an initial state of a layer.
pub fn is_of_state(name: &str) -> bool {
    name.ends_with(".att.time_state") || is_of_shift(name)
}

/// Whether the tensor is an initial shift state of a layer.
pub fn is_of_shift(name: &str) -> bool {
    name.ends_with(".shift_state")
}

/// Whether only RWKV-7 in Hugging Face's naming has a tensor of this name.
fn is_of_fla(name: &str) -> bool {
    name.starts_with("layers.") && name.contains(".attn.w_lora.")
}

/// The tensors that a tensor of this name stands for.
fn views(name: &str, is_fla: bool) -> Vec<View> {
    let same = || vec![View { name: name.to_string(), axes: Axes::Same }];
    if is_fla { of_fla(name).unwrap_or_else(same) } else { same() }
}

/// The tensors of the original naming that a tensor of Hugging Face's naming stands for.
fn of_fla(name: &str) -> Option<Vec<View>> {
    let Some((layer, name)) = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'))
    else {
        let (module, parameter) = name.rsplit_once('.')?;
        let module = match module {
            "embeddings" | "embed_tokens" => "emb",
            "norm" => "ln_out",
            "lm_head" => "head",
            _ => return None,
        };
        return Some(vec![View { name: format!("{module}.{parameter}"), axes: Axes::Same }]);
    };
    let of_block = |name: &str, axes| View { name: format!("blocks.{layer}.{name}"), axes };
    if name == "attn.x_x" {
        let row = |(row, shift)| of_block(&format!("att.{shift}"), Axes::Row(row));
        return Some((0..).zip(SHIFTS).map(row).collect());
    }
    let (name, axes) = of_fla_block(name)?;
    Some(vec![of_block(&name, axes)])
}

/// The tensor of a block that a tensor of a layer of Hugging Face's naming stands for.
fn of_fla_block(name: &str) -> Option<(String, Axes)> {
    let parts: Vec<&str> = name.split('.').collect();
    let named = |module: &str, parameter: &str| Some((format!("{module}.{parameter}"), Axes::Same));
    match parts[..] {
        ["pre_norm", parameter] => named("ln0", parameter),
        ["attn_norm", parameter] => named("ln1", parameter),
        ["ffn_norm", parameter] => named("ln2", parameter),
        ["attn", "g_norm", parameter] => named("att.ln_x", parameter),
        ["attn", "r_proj", parameter] => named("att.receptance", parameter),
        ["attn", "k_proj", parameter] => named("att.key", parameter),
        ["attn", "v_proj", parameter] => named("att.value", parameter),
        ["attn", "o_proj", parameter] => named("att.output", parameter),
        ["ffn", layer @ ("key" | "value"), parameter] => named(&format!("ffn.{layer}"), parameter),
        ["attn", "r_k"] => Some(("att.r_k".to_string(), Axes::Same)),
        ["attn", vector] => Some((format!("att.{vector}"), Axes::Vector)),
        ["ffn", "x_k"] => Some(("ffn.x_k".to_string(), Axes::Vector)),
        // Two linear layers, (out, in) each, where the original has matrices (in, out); the bias is that of the second.
        ["attn", low_rank, "lora", index, parameter] => {
            let letter = low_rank.strip_suffix("_lora")?;
            let (number, axes) = match (index, parameter) {
                ("0", "weight") => (1, Axes::Swapped),
                ("2", "weight") => (2, Axes::Swapped),
                ("2", "bias") => (0, Axes::Vector),
                _ => return None,
            };
            Some((format!("att.{letter}{number}"), axes))
        }
        _ => None,
    }
}

/// The name of a tensor of RWKV-7 in Hugging Face's naming, and how its axes come from those of the original: the
/// reverse of [`open_model`], where a vector has one axis. Nothing for other names.
pub fn hugging_face_name(name: &str) -> Option<(String, Axes)> {
    let Some((layer, name)) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'))
    else {
        let (module, parameter) = name.rsplit_once('.')?;
        let module = match module {
            "emb" => "model.embeddings",
            "ln_out" => "model.norm",
            "head" => "lm_head",
            _ => return None,
        };
        return Some((format!("{module}.{parameter}"), Axes::Same));
    };
    let (name, axes) = hugging_face_layer(name)?;
    Some((format!("model.layers.{layer}.{name}"), axes))
}

/// The name and axes of a tensor of a block.
fn hugging_face_layer(name: &str) -> Option<(String, Axes)> {
    let parts: Vec<&str> = name.split('.').collect();
    let named = |module: &str, parameter: &str| Some((format!("{module}.{parameter}"), Axes::Same));
    match parts[..] {
        ["ln0", parameter] => named("pre_norm", parameter),
        ["ln1", parameter] => named("attn_norm", parameter),
        ["ln2", parameter] => named("ffn_norm", parameter),
        ["att", "ln_x", parameter] => named("attn.g_norm", parameter),
        ["att", "receptance", parameter] => named("attn.r_proj", parameter),
        ["att", "key", parameter] => named("attn.k_proj", parameter),
        ["att", "value", parameter] => named("attn.v_proj", parameter),
        ["att", "output", parameter] => named("attn.o_proj", parameter),
        ["ffn", layer @ ("key" | "value"), parameter] => named(&format!("ffn.{layer}"), parameter),
        ["ffn", "x_k"] => Some(("ffn.x_k".to_string(), Axes::Vector)),
        ["att", vector @ ("k_k" | "k_a")] => Some((format!("attn.{vector}"), Axes::Vector)),
        ["att", "r_k"] => named("attn", "r_k"),
        ["att", shift] if SHIFTS.contains(&shift) => named("attn", shift),
        ["att", low_rank] => {
            let (letter, number) = low_rank.split_at_checked(1)?;
            let (parameter, axes) = match number {
                "0" => ("2.bias", Axes::Vector),
                "1" => ("0.weight", Axes::Swapped),
                "2" => ("2.weight", Axes::Swapped),
                _ => return None,
            };
            Some((format!("attn.{letter}_lora.lora.{parameter}"), axes))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Shape, Version};

    #[test]
    fn prefixes_of_wrappers_are_dropped() {
        for name in ["blocks.0.att.key.weight", "layers.0.attn.r_k"] {
            assert_eq!(bare(name), name);
            for prefix in [
                "module.",
                "model.",
                "_forward_module.",
                "_forward_module.model.",
                "module.module.",
            ] {
                assert_eq!(bare(&format!("{prefix}{name}")), name);
            }
        }
    }

    #[test]
    fn names_of_fla_stand_for_one_tensor_each() {
        let one = |name: &str| match &of_fla(name).expect(name)[..] {
            [View { name, axes }] => (name.clone(), *axes),
            other => panic!("{other:?}"),
        };
        let is = |name: &str, axes| (name.to_string(), axes);
        assert_eq!(one("embeddings.weight"), is("emb.weight", Axes::Same));
        assert_eq!(one("norm.bias"), is("ln_out.bias", Axes::Same));
        assert_eq!(one("lm_head.weight"), is("head.weight", Axes::Same));
        assert_eq!(one("layers.0.pre_norm.bias"), is("blocks.0.ln0.bias", Axes::Same));
        assert_eq!(
            one("layers.12.attn.o_proj.weight"),
            is("blocks.12.att.output.weight", Axes::Same)
        );
        assert_eq!(one("layers.1.attn.v_lora.lora.2.bias"), is("blocks.1.att.v0", Axes::Vector));
        assert_eq!(one("layers.1.attn.g_lora.lora.0.weight"), is("blocks.1.att.g1", Axes::Swapped));
        assert_eq!(one("layers.1.attn.k_a"), is("blocks.1.att.k_a", Axes::Vector));
        assert_eq!(one("layers.1.ffn.key.weight"), is("blocks.1.ffn.key.weight", Axes::Same));
        assert_eq!(of_fla("layers.1.attn.x_x").expect("six").len(), 6);
        for unknown in
            ["layers.0.mlp.up.weight", "layers.0.attn.w_lora.lora.1.weight", "score.weight"]
        {
            assert_eq!(of_fla(unknown), None);
        }
    }

    #[test]
    fn every_tensor_has_a_name_of_hugging_face_that_stands_for_it() {
        let shape = Shape::for_scratch(Version::V7, 2, 128, 300);
        for (name, _) in shape.tensors() {
            let (new, axes) = hugging_face_name(&name).expect(&name);
            let views = of_fla(bare(&new)).expect(&new);
            let [View { name: back, axes: undone }] = &views[..] else {
                panic!("{new} stands for several tensors")
            };
            assert_eq!(*back, name);
            let is_vector = axes == Axes::Same && *undone == Axes::Vector; // (1, 1, n) in both
            assert!(is_vector || axes == *undone, "{name}: {axes:?} {undone:?}");
        }
        assert_eq!(hugging_face_name("blocks.0.att.time_state"), None);
    }
}
