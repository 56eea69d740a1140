//! RWKV-6 and RWKV-7 as GGUF files for llama.cpp and programs that build on it.
//!
//! The names, axes and metadata are those of llama.cpp's architectures `rwkv6` and `rwkv7`. Vectors, the matrices of the
//! token shift and of the decay of RWKV-6, and narrow matrices that do not fit a block of eight bits stay wide, as
//! llama.cpp's own converter writes them.

use std::cell::RefCell;
use std::path::Path;

use statetune_core::data::{Tokenizer, escaped};
use statetune_core::diagnostic::msg;
use statetune_core::tensorfile::{
    Dtype, GgufDtype, GgufTensor, GgufValue, WeightsError, first_gguf_text, write_gguf,
};
use statetune_core::work::Work;
use tch::{Kind, Tensor};

use super::card::{ExportError, ModelCard};
use super::passport::METADATA_KEY;
use super::state::check_range;
use crate::model::{Arch, Shape, Weights};

/// Epsilon of the layer norms, which llama.cpp reads from the file. That of the norm of heads is fixed there to the value
/// of a head size of 64.
const LAYER_NORM_EPS: f32 = 1e-5;
/// The head size of all models that llama.cpp can norm by heads.
const HEAD_SIZE: i64 = 64;
/// The longest context, in tokens, that the metadata promise: a model without a limit.
const CONTEXT_LENGTH: u32 = 1 << 20;
/// The text of token 0, which ends documents and stands for itself in no text.
const END_OF_DOCUMENT: &str = "<s>";
// Types of tokens: a word of the vocabulary, a mark, and an id without a token.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// Writes the model as one GGUF file with `dtype` for its matrices.
///
/// # Errors
/// A model that llama.cpp has no architecture for, a value beyond the range of `dtype`, or a file that cannot be
/// written; no partial file is left behind.
pub fn save_gguf(
    weights: &Weights,
    out: &Path,
    dtype: GgufDtype,
    card: &ModelCard<'_>,
) -> Result<(), ExportError> {
    let shape = weights.shape();
    let arch = architecture(shape)?;
    let tensors = tensors(weights);
    let shapes = checked(&tensors, out, dtype)?;
    let metadata = metadata(shape, arch, dtype, card);
    let work = RefCell::new(Work::begin("writing tensors", tensors.len() as u64));
    let new = tensors.into_iter().zip(shapes).map(|((name, make), shape)| {
        let work = &work;
        let values = Box::new(move || {
            work.borrow_mut().advance(1);
            values(&make())
        });
        GgufTensor { dtype: stored(&name, &shape, dtype), name, shape, values }
    });
    let new: Vec<GgufTensor<'_>> = new.collect();
    let metadata: Vec<(&str, GgufValue)> =
        metadata.iter().map(|(key, value)| (&**key, value.clone())).collect();
    Ok(write_gguf(out, &metadata, &new)?)
}

/// Whether `file` is a GGUF file that [`save_gguf`] wrote.
pub fn is_own_gguf(file: &Path) -> bool {
    first_gguf_text(file).is_some_and(|(key, _)| key == METADATA_KEY)
}

/// The architecture of llama.cpp for a model of this shape.
pub(super) fn architecture(shape: &Shape) -> Result<&'static str, ExportError> {
    let version = shape.version();
    let arch = match shape.arch {
        Arch::V6(_) => "rwkv6",
        Arch::V7(_) => "rwkv7",
        Arch::V5(_) => {
            return Err(ExportError::Refused(msg!(
                LLAMA_LACKS_VERSION,
                version = version.to_string()
            )));
        }
    };
    let is_plain = !shape.pre_ffn && shape.head_qk == 0 && shape.dim_att() == shape.n_embd;
    match is_plain && shape.head_size == HEAD_SIZE {
        true => Ok(arch),
        false => Err(ExportError::Refused(msg!(
            LLAMA_LACKS_SHAPE,
            n_head = shape.n_head,
            head_size = shape.head_size,
            n_embd = shape.n_embd
        ))),
    }
}

/// The type of a tensor in a file whose matrices have `dtype`.
fn stored(name: &str, shape: &[usize], dtype: GgufDtype) -> GgufDtype {
    const WIDE: [&str; 6] = [
        "time_mix_first.weight",
        "time_mix_lerp_fused.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
    ];
    let is_wide = shape.len() == 1 || WIDE.iter().any(|wide| name.ends_with(wide));
    match shape.last() {
        _ if is_wide => GgufDtype::F32,
        Some(&row) if !dtype.fits(row) => GgufDtype::F16,
        _ => dtype,
    }
}

/// The shapes of the tensors, all of whose values are within the range of `dtype`.
fn checked(
    tensors: &[(String, Make<'_>)],
    out: &Path,
    dtype: GgufDtype,
) -> Result<Vec<Vec<usize>>, WeightsError> {
    let limit = match dtype {
        GgufDtype::F16 => Dtype::F16,
        GgufDtype::BF16 => Dtype::BF16,
        GgufDtype::F32 | GgufDtype::Q8_0 => Dtype::F32,
    };
    let mut checking = Work::begin("checking tensors", tensors.len() as u64);
    let shape = |(name, make): &(String, Make<'_>)| {
        let tensor = make();
        check_range(name, &tensor, out, limit)?;
        checking.advance(1);
        Ok(tensor.size().iter().map(|&size| size as usize).collect())
    };
    tensors.iter().map(shape).collect()
}

/// The values of a tensor in row-major order.
fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.to_kind(Kind::Float).contiguous().view([-1]);
    Vec::try_from(flat).expect("float32 on the CPU")
}

/// Makes a tensor of the file.
type Make<'a> = Box<dyn Fn() -> Tensor + 'a>;

/// The tensors of the file by name.
fn tensors(weights: &Weights) -> Vec<(String, Make<'_>)> {
    let shape = weights.shape();
    let is_v7 = matches!(shape.arch, Arch::V7(_));
    let mut all: Vec<(String, Make<'_>)> = Vec::new();
    for (name, size) in shape.tensors() {
        let Some((layer, rest)) =
            name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'))
        else {
            let name = name.clone();
            all.push((of_model(&name), Box::new(move || weights.get(&name, Kind::Float))));
            continue;
        };
        let fused = if is_v7 { "att.x_r" } else { "att.time_maa_w" };
        if rest == fused {
            all.push(lerps(weights, layer, is_v7));
        }
        // What llama.cpp wants in place of the value residual that block 0 does not have.
        if is_v7 && layer == "0" && ["att.a0", "att.a1", "att.a2"].contains(&rest) {
            let (source, rest) = (name.clone(), rest.replace("att.a", "att.v"));
            let (to, axes) = of_block(&rest).expect("a name of RWKV-7");
            let axes = if is_vector(&size) { Axes::Flat } else { axes };
            all.push((
                format!("blk.0.{to}"),
                Box::new(move || axes.of(&weights.get(&source, Kind::Float))),
            ));
        }
        let is_unread = !shape.reads(&name);
        let Some((to, axes)) = of_block(rest).filter(|_| !is_unread) else { continue };
        let to = if rest.starts_with("ln0.") { to } else { format!("blk.{layer}.{to}") };
        let axes = if is_vector(&size) { Axes::Flat } else { axes };
        all.push((to, Box::new(move || axes.of(&weights.get(&name, Kind::Float)))));
    }
    all
}

/// Whether a tensor of this size is (1, 1, n).
fn is_vector(size: &[i64]) -> bool {
    matches!(size, [1, 1, _])
}

/// The mixtures of a token and the one before, in one tensor.
fn lerps<'a>(weights: &'a Weights, layer: &str, is_v7: bool) -> (String, Make<'a>) {
    let names: Vec<String> = match is_v7 {
        true => {
            ["r", "w", "k", "v", "a", "g"].map(|one| format!("blocks.{layer}.att.x_{one}")).to_vec()
        }
        false => ["w", "k", "v", "r", "g"]
            .map(|one| format!("blocks.{layer}.att.time_maa_{one}"))
            .to_vec(),
    };
    let make = move || {
        let rows: Vec<Tensor> =
            names.iter().map(|name| weights.get(name, Kind::Float).view([1, 1, 1, -1])).collect();
        Tensor::cat(&rows, 0)
    };
    (format!("blk.{layer}.time_mix_lerp_fused.weight"), Box::new(make))
}

/// How the axes of a tensor of the file come from those of the model.
#[derive(Clone, Copy, Debug)]
enum Axes {
    Same,
    /// The last two swapped.
    Swapped,
    /// All in one.
    Flat,
}

impl Axes {
    fn of(self, tensor: &Tensor) -> Tensor {
        match self {
            Axes::Same => tensor.shallow_clone(),
            Axes::Swapped => tensor.transpose(-2, -1),
            Axes::Flat => tensor.contiguous().view([-1]),
        }
    }
}

/// The name of a tensor outside the blocks.
fn of_model(name: &str) -> String {
    match name {
        "emb.weight" => "token_embd.weight".to_string(),
        "head.weight" => "output.weight".to_string(),
        _ => name.replace("ln_out.", "output_norm."),
    }
}

/// The name and axes of a tensor of a block; nothing for the mixtures, which [`lerps`] makes.
fn of_block(name: &str) -> Option<(String, Axes)> {
    let (part, rest) = name.split_once('.')?;
    let same = |name: String| Some((name, Axes::Same));
    let (letter, number) = rest.split_at_checked(1)?;
    match (part, rest) {
        ("ln0", _) => same(format!("token_embd_norm.{rest}")),
        ("ln1", _) => same(format!("attn_norm.{rest}")),
        ("ln2", _) => same(format!("attn_norm_2.{rest}")),
        ("ffn", "x_k" | "time_maa_k") => same("channel_mix_lerp_k.weight".to_string()),
        ("ffn", "time_maa_r") => same("channel_mix_lerp_r.weight".to_string()),
        ("ffn", _) => same(format!("channel_mix_{rest}")),
        (_, "r_k") => Some(("time_mix_r_k.weight".to_string(), Axes::Flat)),
        (_, "k_k" | "k_a") => same(format!("time_mix_{rest}.weight")),
        (_, "time_maa_x") => same("time_mix_lerp_x.weight".to_string()),
        (_, "time_maa_w1" | "time_maa_w2" | "time_decay_w1" | "time_decay_w2") => {
            let name = rest.replace("time_maa", "time_mix").replace("time_decay", "time_mix_decay");
            Some((format!("{name}.weight"), Axes::Swapped))
        }
        (_, "time_decay") => same("time_mix_decay.weight".to_string()),
        (_, "time_faaaa") => same("time_mix_first.weight".to_string()),
        _ if rest.starts_with("x_") || rest.starts_with("time_maa_") => None,
        _ if rest.starts_with("ln_x.") => same(format!("time_mix_{}", rest.replace("ln_x", "ln"))),
        _ if "wavg".contains(letter) && ["0", "1", "2"].contains(&number) => {
            let axes = if number == "0" { Axes::Same } else { Axes::Swapped };
            Some((format!("time_mix_{rest}.weight"), axes))
        }
        _ => same(format!("time_mix_{rest}")),
    }
}

/// The metadata, the passport first: the mark of a file that this program wrote.
fn metadata(
    shape: &Shape,
    arch: &str,
    dtype: GgufDtype,
    card: &ModelCard<'_>,
) -> Vec<(String, GgufValue)> {
    let text = |text: &str| GgufValue::Text(text.to_string());
    let number = |number: i64| GgufValue::U32(u32::try_from(number).unwrap_or(u32::MAX));
    let (file_type, is_packed) = match dtype {
        GgufDtype::F32 => (0, false),
        GgufDtype::F16 => (1, false),
        GgufDtype::Q8_0 => (7, true),
        GgufDtype::BF16 => (32, false),
    };
    let [_, (_, passport)] = card.passport.metadata();
    let mut all = vec![
        (METADATA_KEY.to_string(), text(&passport)),
        ("general.architecture".to_string(), text(arch)),
        ("general.type".to_string(), text("model")),
        ("general.name".to_string(), text(&card.name)),
        ("general.file_type".to_string(), number(file_type)),
    ];
    if is_packed {
        all.push(("general.quantization_version".to_string(), number(2)));
    }
    let mut of_arch = vec![
        ("context_length", GgufValue::U32(CONTEXT_LENGTH)),
        ("embedding_length", number(shape.n_embd)),
        ("block_count", number(shape.n_layer)),
        ("feed_forward_length", number(shape.dim_ffn)),
        ("attention.head_count", number(0)), // required and unused
        ("attention.layer_norm_epsilon", GgufValue::F32(LAYER_NORM_EPS)),
        ("wkv.head_size", number(shape.head_size)),
    ];
    of_arch.extend(match shape.arch {
        Arch::V7(widths) => vec![
            ("attention.decay_lora_rank", number(widths.ranks.w)),
            ("attention.iclr_lora_rank", number(widths.ranks.a)),
            ("attention.value_residual_mix_lora_rank", number(widths.ranks.v)),
            ("attention.gate_lora_rank", number(widths.ranks.g)),
        ],
        Arch::V6(widths) => vec![
            ("time_mix_extra_dim", number(widths.mix)),
            ("time_decay_extra_dim", number(widths.decay)),
        ],
        Arch::V5(_) => Vec::new(),
    });
    all.extend(of_arch.into_iter().map(|(key, value)| (format!("{arch}.{key}"), value)));
    all.extend(vocabulary(shape, &card.tokenizer));
    if let Some(template) = card.template.jinja() {
        all.push(("tokenizer.chat_template".to_string(), text(&template)));
    }
    all
}

/// The vocabulary, one token for each row of the embedding. llama.cpp undoes the escapes of Python's literals.
fn vocabulary(shape: &Shape, tokenizer: &Tokenizer) -> Vec<(String, GgufValue)> {
    let ids = 0..u32::try_from(shape.vocab_size).unwrap_or(u32::MAX);
    let token = |id: u32| match tokenizer.token_bytes(id) {
        _ if id == 0 => (END_OF_DOCUMENT.to_string(), CONTROL),
        Some(bytes) => (escaped(bytes), NORMAL),
        None => (format!("[PAD{id}]"), UNUSED),
    };
    let (texts, kinds): (Vec<String>, Vec<i32>) = ids.map(token).unzip();
    let all = [
        ("model", GgufValue::Text("rwkv".to_string())),
        ("tokens", GgufValue::Texts(texts)),
        ("token_type", GgufValue::I32s(kinds)),
        ("bos_token_id", GgufValue::U32(0)),
        ("eos_token_id", GgufValue::U32(0)),
        ("add_bos_token", GgufValue::Bool(false)),
    ];
    all.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).into()
}
