//! States, adapters and models of another size, damaged or of unknown kind: the whole message, the exit code, and
//! no file left behind.

use std::path::PathBuf;

use statetune_core::tensorfile::{Dtype, NewTensor, write_pth};
use statetune_engine::model::{Shape, Version, Weights};

use crate::case::{Case, SIZES, STATE, checkpoint};

/// A case after a run with this `[peft]`, and the run's product.
fn run(peft: &str) -> (Case, PathBuf) {
    let case = Case::new().with(STATE, "type = \"state\"", peft);
    let case = case.with(STATE, "lr_init = 1.0", "lr_init = 1e-2");
    case.statetune(&["run", STATE]).is_done();
    let product = case.only_run().join("export/rwkv-1.pth");
    (case, product)
}

fn shape(version: Version) -> Shape {
    Shape::for_scratch(version, SIZES.0, SIZES.1, SIZES.2)
}

/// Runs a command that is to be refused; `out` stands for the names of its output.
#[track_caller]
fn refuses(case: &Case, arguments: &[&str], code: i32, message: &str) {
    let before = (case.list(""), case.list(case.only_run().join("export")));
    let output = case.statetune(arguments);
    let fingerprints = regex::Regex::new("fingerprint [0-9a-f]{4} [0-9a-f]{4}").expect("valid");
    let stderr = fingerprints.replace_all(&output.stderr, "fingerprint #### ####");
    assert_eq!(stderr.trim_end(), message, "{arguments:?}");
    assert_eq!((output.code, &*output.stdout), (Some(code), ""), "{arguments:?}");
    assert_eq!((case.list(""), case.list(case.only_run().join("export"))), before);
}

const MERGE: [&str; 4] = ["merge", "latest", "--out", "out.pth"];

#[test]
fn an_adapter_for_other_weights() {
    let (case, _) = run("type = \"lora\"\nrank = 4");
    Weights::scratch(shape(Version::V7), 77).save_pth(&case.path("other.pth")).expect("written");
    let with = |model: &'static str| [&MERGE[..], &["--model", model]].concat();
    refuses(
        &case,
        &with("other.pth"),
        28,
        "\
error[ST8002]: `runs/DATE-tiny-ID/export/rwkv-1.pth` was trained on other weights
  |
  = note: trained on  RWKV-7 (x070) 2 x 64  base.pth  fingerprint #### ####
  = note: found       RWKV-7 (x070) 2 x 64  other.pth  fingerprint #### ####
  = note: the shapes match (2 x 1 x 64 x 64), so other programs would load the file and answer badly
  = help: use `runs/DATE-tiny-ID/export/rwkv-1.pth` with the weights it was trained on, or measure the damage first:
          statetune eval runs/DATE-tiny-ID/export/rwkv-1.pth --model other.pth FILE",
    );
    case.write("v6.pth", checkpoint(shape(Version::V6)));
    refuses(
        &case,
        &with("v6.pth"),
        28,
        "\
error[ST8004]: `runs/DATE-tiny-ID/export/rwkv-1.pth` is for another version of RWKV
  |
  = note: trained on  RWKV-7 (x070) 2 x 64
  = note: found       RWKV-6 (x060) 2 x 64 in v6.pth",
    );
    case.write("deep.pth", checkpoint(Shape::for_scratch(Version::V7, 3, 64, 4096)));
    refuses(
        &case,
        &with("deep.pth"),
        21,
        "\
error[ST4003]: runs/DATE-tiny-ID/export/rwkv-1.pth: 12 tensors are missing: \
         `blocks.2.att.receptance.lora_A`, `blocks.2.att.receptance.lora_B`, \
         `blocks.2.att.key.lora_A`, `blocks.2.att.key.lora_B`, `blocks.2.att.value.lora_A` and 7 others",
    );
    // What the damage is can be measured.
    let product = case.only_run().join("export/rwkv-1.pth");
    let eval = ["eval", &product.to_string_lossy(), "data.jsonl", "--model", "other.pth"];
    let output = case.statetune(&[&eval[..], &["--tokenizer", "vocab.txt"]].concat());
    assert!(output.stderr.starts_with("warning[ST8002]: "), "{output:?}");
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn an_adapter_of_another_rank_or_method() {
    let (case, product) = run("type = \"lora\"\nrank = 4");
    let resolved = case.only_run().join("resolved.toml");
    let settings = case.read(&resolved);
    case.write(&resolved, settings.replacen("rank = 4 ", "rank = 8 ", 1));
    let problem = "tensor `blocks.0.att.receptance.lora_A` has shape [4, 64], expected [8, 64]";
    let message = format!("error[ST4003]: runs/DATE-tiny-ID/export/rwkv-1.pth: {problem}");
    refuses(&case, &MERGE, 21, &message);
    refuses(&case, &["generate", "latest"], 21, &message);

    // The passport tells the rank; where it lies, the numbers do not fit it.
    let passport = product.with_extension("json");
    let text = case.read(&passport);
    let name = product.to_string_lossy().into_owned();
    let by_file = ["generate", &name, "--model", "base.pth", "--tokenizer", "vocab.txt"];
    case.write(&passport, text.replace("\"rank\": 4", "\"rank\": 8"));
    refuses(&case, &by_file, 21, &message);
    case.write(&passport, text.replace("\"rank\": 4", "\"rank\": 0"));
    let message = "\
error[ST8001]: `runs/DATE-tiny-ID/export/rwkv-1.json` is not a passport that this version of statetune can read
  |
  = note: the rank is 0";
    refuses(&case, &by_file, 21, message);
    case.write(&passport, text.replace("\"type\": \"lora\"", "\"type\": \"vera\""));
    let message = "\
error[ST8001]: `runs/DATE-tiny-ID/export/rwkv-1.json` is not a passport that this version of statetune can read
  |
  = note: unknown variant `vera`, expected one of `state`, `lora`, `pissa`, `disha`, `miss`, `bone`, `full`";
    refuses(&case, &by_file, 21, message);
}

#[test]
fn a_damaged_adapter() {
    let (case, product) = run("type = \"disha\"\nrank = 16");
    let whole = std::fs::read(case.path(&product)).expect("a product");
    case.write(&product, &whole[..whole.len() / 2]);
    let message = "\
error[ST4012]: runs/DATE-tiny-ID/export/rwkv-1.pth: the file is corrupted: the end is missing, as after an interrupted download
  |
  = help: download or copy the file again, and compare its size with the original";
    refuses(&case, &MERGE, 21, message);
    refuses(&case, &["generate", "latest"], 21, message);
}

/// Without its side-car a run still knows its adapter; a file alone is numbers without a meaning, but for the
/// form that carries its passport inside.
#[test]
fn an_adapter_without_its_passport() {
    let (case, product) = run("type = \"lora\"\nrank = 4");
    let arguments =
        ["--model", "base.pth", "--tokenizer", "vocab.txt", "--temperature", "0", "-p", "Hi"];
    let of_run = ["generate", "latest", "--temperature", "0", "-p", "Hi", "--max-tokens", "48"];
    let expected = case.statetune(&of_run).is_done().stdout.clone();
    let say = |file: &PathBuf| {
        let more = [&["generate", &*file.to_string_lossy(), "--max-tokens", "48"], &arguments[..]];
        case.statetune(&more.concat())
    };
    let loaded = "adapter  24 tensors of runs/DATE-tiny-ID/export/rwkv-1";
    say(&product).succeeds(&expected, &format!("{loaded}.pth"));
    std::fs::remove_file(case.path(product.with_extension("json"))).expect("a side-car");
    say(&product.with_extension("safetensors"))
        .succeeds(&expected, &format!("{loaded}.safetensors"));
    let name = product.to_string_lossy().into_owned();
    refuses(
        &case,
        &[&["generate", &*name], &arguments[..]].concat(),
        21,
        "\
error[ST8022]: the adapter `runs/DATE-tiny-ID/export/rwkv-1.pth` does not say which method made it
  |
  = note: the passport `runs/DATE-tiny-ID/export/rwkv-1.json` is missing
  = help: pass the run instead of the file, or put the `.json` of the adapter beside the `.pth`",
    );
    let warning = "\
warning[ST8003]: the base model of `runs/DATE-tiny-ID/export/rwkv-1.pth` is unknown
  |
  = note: the passport `runs/DATE-tiny-ID/export/rwkv-1.json` is missing
  = note: on weights other than the ones it was trained on, answers become worse

export   24 tensors of runs/DATE-tiny-ID/export/rwkv-1.pth";
    case.statetune(&MERGE).succeeds("out.pth", warning);
}

/// Checkpoints that another program has quantised in an unknown format.
#[test]
fn quantised_checkpoints_of_unknown_type() {
    let (case, _) = run("type = \"state\"");
    let base = Weights::load(&case.path("base.pth")).expect("the model");
    let matrix = "blocks.0.att.key.weight";
    let tensors = || -> Vec<NewTensor<'static>> { base.file_tensors(Dtype::BF16).collect() };
    let codes = |name: &str, dtype: Dtype, shape: &[usize]| NewTensor {
        name: name.to_string(),
        dtype,
        shape: shape.to_vec(),
        bytes: vec![7; dtype.size() * shape.iter().product::<usize>()].into(),
    };
    let write = |name: &str, shape: &[usize], scale: bool| {
        let mut all = tensors();
        let place = all.iter_mut().find(|one| one.name == matrix).expect("a matrix");
        *place = codes(matrix, Dtype::U8, shape);
        if scale {
            all.push(codes("blocks.0.att.key.weight.absmax", Dtype::F32, &[64]));
        }
        write_pth(&case.path(name), all).expect("written");
    };
    write("codes.pth", &[64, 64], false);
    write("packed.pth", &[2048, 1], true);
    for (file, problem) in [
        ("codes.pth", "tensor `blocks.0.att.key.weight` is uint8, expected floating point"),
        (
            "packed.pth",
            "1 tensor is not part of an RWKV-7 (x070) model: `blocks.0.att.key.weight.absmax`",
        ),
    ] {
        let message = format!("error[ST4003]: {file}: {problem}");
        let tokenizer = ["--tokenizer", "vocab.txt"];
        refuses(&case, &[&["generate", "--model", file], &tokenizer[..]].concat(), 21, &message);
        refuses(&case, &["export", file, "--to", "st", "--out", "out.st"], 21, &message);
        let text = case.read(STATE).replace("base.pth", file);
        case.write("again.toml", text);
        refuses(&case, &["run", "again.toml"], 21, &message);
    }
}
