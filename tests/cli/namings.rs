//! Checkpoints under other names: those that are read compute the same, bit for bit; the others are named.

use statetune_core::tensorfile::{Dtype, NewTensor, write_pth, write_safetensors};
use statetune_engine::model::{Shape, Version, Weights, file_tensor};
use tch::{Kind, Tensor};

use crate::case::{Case, SIZES, STATE, tampered};

const TOKENS: &str = "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023, 72, 5, 61, 8]";

/// A case whose base is a random model without zeros or symmetries, and its weights.
fn case(version: Version) -> (Case, Weights) {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(version, n_layer, n_embd, vocab_size);
    tch::manual_seed(3);
    let noisy = |_: &str, x: Tensor| &x + x.randn_like() * 0.1;
    let case = Case::new().having("base.pth", tampered(shape, noisy)).having("tokens.json", TOKENS);
    let weights = Weights::load(&case.path("base.pth")).expect("a model");
    (case, weights)
}

/// All that `score` prints about a model.
fn printed(case: &Case, model: &str) -> String {
    let output = case.statetune(&["score", "--model", model, "--tokens", "tokens.json"]);
    assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{model}");
    output.stdout
}

/// A tensor of RWKV-7 as Hugging Face's models and fla hold it.
fn in_fla(name: &str, x: &Tensor) -> (String, Tensor) {
    let flat = || x.flatten(0, -1);
    let parts: Vec<&str> = name.split('.').collect();
    let layer = |rest: &str, x: Tensor| (format!("model.layers.{}.{rest}", parts[1]), x);
    let same = || x.shallow_clone();
    match parts[..] {
        ["emb", "weight"] => ("model.embeddings.weight".to_string(), same()),
        ["head", "weight"] => ("lm_head.weight".to_string(), same()),
        ["ln_out", end] => (format!("model.norm.{end}"), same()),
        [_, _, "ln0", end] => layer(&format!("pre_norm.{end}"), same()),
        [_, _, "ln1", end] => layer(&format!("attn_norm.{end}"), same()),
        [_, _, "ln2", end] => layer(&format!("ffn_norm.{end}"), same()),
        [_, _, "att", "ln_x", end] => layer(&format!("attn.g_norm.{end}"), same()),
        [_, _, "att", linear, "weight"] => {
            let letter = linear.replace("receptance", "r").replace("output", "o");
            layer(&format!("attn.{}_proj.weight", &letter[..1]), same())
        }
        [_, _, "att", "r_k"] => layer("attn.r_k", same()),
        [_, _, "att", vector @ ("k_k" | "k_a")] => layer(&format!("attn.{vector}"), flat()),
        [_, _, "att", shift] if shift.starts_with("x_") => layer(&format!("attn.{shift}"), same()),
        [_, _, "att", low_rank] => {
            let (letter, number) = low_rank.split_at(1);
            let (end, x) = match number {
                "0" => ("2.bias", flat()),
                "1" => ("0.weight", x.tr()),
                _ => ("2.weight", x.tr()),
            };
            layer(&format!("attn.{letter}_lora.lora.{end}"), x)
        }
        [_, _, "ffn", "x_k"] => layer("ffn.x_k", flat()),
        [_, _, "ffn", linear, end] => layer(&format!("ffn.{linear}.{end}"), same()),
        _ => panic!("{name} has no name there"),
    }
}

fn new_tensors(tensors: &[(String, Tensor)]) -> Vec<NewTensor<'static>> {
    tensors.iter().map(|(name, x)| file_tensor(name, x, Dtype::BF16)).collect()
}

#[test]
fn prefixes_of_trainers_are_read() {
    for version in Version::ALL {
        let (case, weights) = case(version);
        let expected = printed(&case, "base.pth");
        for prefix in ["module.", "model.", "_forward_module.", "_forward_module.module."] {
            let named: Vec<_> = weights
                .iter()
                .map(|(name, x)| (format!("{prefix}{name}"), x.shallow_clone()))
                .collect();
            write_pth(&case.path("prefixed.pth"), new_tensors(&named)).expect("written");
            assert_eq!(printed(&case, "prefixed.pth"), expected, "{version} {prefix}");
        }
    }
}

#[test]
fn rwkv_7_of_hugging_face_and_fla_is_read() {
    let (case, weights) = case(Version::V7);
    let expected = printed(&case, "base.pth");
    let tensors: Vec<_> = weights.iter().map(|(name, x)| in_fla(name, x)).collect();
    let file = case.path("model.safetensors");
    write_safetensors(&file, new_tensors(&tensors), &[("format", "pt")]).expect("written");
    assert_eq!(printed(&case, "model.safetensors"), expected);

    // Earlier versions of fla hold the six token shifts as one matrix.
    let is_shift = |name: &str| name.contains(".attn.x_");
    let mut joined: Vec<_> = tensors
        .iter()
        .filter(|(name, _)| !is_shift(name))
        .map(|(name, x)| (name.clone(), x.shallow_clone()))
        .collect();
    for layer in 0..weights.shape().n_layer {
        let rows = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"].map(|shift| {
            weights.get(&format!("blocks.{layer}.att.{shift}"), Kind::BFloat16).flatten(0, -1)
        });
        joined.push((format!("model.layers.{layer}.attn.x_x"), Tensor::stack(&rows, 0)));
    }
    write_pth(&case.path("joined.pth"), new_tensors(&joined)).expect("written");
    assert_eq!(printed(&case, "joined.pth"), expected);

    // It trains, and the trained state fits the original file too.
    let case = case.with(STATE, "base.pth", "model.safetensors");
    case.statetune(&["run", STATE]).is_done();
    let original = ["mount", "latest", "--for", "rwkv-pip", "--model", "base.pth", "--out", "out"];
    case.statetune(&original).is_done();
    let export =
        ["export", "model.safetensors", "--to", "pth", "--like", "base.pth", "--out", "back.pth"];
    case.statetune(&export).succeeds("back.pth", "");
    assert_eq!(
        std::fs::read(case.path("back.pth")).expect("a file"),
        std::fs::read(case.path("base.pth")).expect("a file")
    );
}

#[test]
fn other_namings_are_named() {
    let case = Case::new();
    let tensor =
        |name: &str| (name.to_string(), Tensor::ones([4, 4], (Kind::Float, tch::Device::Cpu)));
    let names = ["rwkv.embeddings.weight", "rwkv.blocks.0.attention.key.weight"];
    write_pth(&case.path("base.pth"), new_tensors(&names.map(tensor))).expect("written");
    case.refuses(
        21,
        "\
error[ST4002]: base.pth: found an RWKV model in a naming of Hugging Face or fla that is not read, with tensors such as `rwkv.blocks.0.attention.key.weight`, expected an RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model
  |
  = help: use the `.pth` that the model was published as; of these namings, only RWKV-7's is read",
    );
}

#[test]
fn an_adapter_in_place_of_a_model() {
    let expected = |tensor: &str| {
        format!(
            "\
error[ST4002]: base.pth: found an adapter without its base model, with tensors such as `{tensor}`, expected an RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model
  |
  = help: name the base model of the adapter as the weights; to train on from the adapter, merge it first: `statetune merge RUN`, or the program that wrote it"
        )
    };
    for (peft, tensor) in [
        ("type = \"lora\"\nrank = 4\ntrain_parts = [\"ln\"]", "blocks.0.att.key.lora_A"),
        ("type = \"disha\"\nrank = 16", "blocks.0.att.key.disha"),
    ] {
        let case = Case::new().with(STATE, "type = \"state\"", peft);
        case.statetune(&["run", STATE]).is_done();
        let adapter = std::fs::read(case.path(case.only_run().join("export/rwkv-1.pth")));
        Case::new().having("base.pth", adapter.expect("an adapter")).refuses(21, &expected(tensor));
    }
    // As the PEFT library of Hugging Face writes it.
    let case = Case::new();
    let name = "base_model.model.blocks.0.att.key.lora_A.weight";
    let tensor = (name.to_string(), Tensor::ones([4, 4], (Kind::Float, tch::Device::Cpu)));
    write_pth(&case.path("base.pth"), new_tensors(&[tensor])).expect("written");
    case.refuses(21, &expected(name));
}
