//! Models of every version as files.

use std::path::{Path, PathBuf};
use std::process::Command;

use statetune_core::tensorfile::{Dtype, write_pth};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Arch, Model, Ranks, Rwkv7, Shape, Version, Weights, file_tensor};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::versions::{Outcome, shape, shapes, time_state, tokens, weights};

/// The tensors of a model by name.
type Tensors = Vec<(String, Tensor)>;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A checkpoint of these tensors in a folder, float32.
fn checkpoint(folder: &Path, tensors: &Tensors) -> PathBuf {
    let path = folder.join("model.pth");
    let tensors = tensors.iter().map(|(name, x)| file_tensor(name, x, Dtype::F32));
    write_pth(&path, tensors).expect("written");
    path
}

/// The error of loading the printed model of this shape after a change of its tensors.
fn refusal(shape: Shape, change: impl Fn(&mut Tensors)) -> String {
    let folder = folder();
    let mut tensors: Tensors =
        weights(shape).iter().map(|(name, x)| (name.to_string(), x.shallow_clone())).collect();
    change(&mut tensors);
    let path = checkpoint(folder.path(), &tensors);
    let message = Weights::load(&path).expect_err("to be refused").to_string();
    message.strip_prefix(&format!("{}: ", path.display())).expect("it names the file").to_string()
}

#[test]
fn a_loaded_model_is_the_saved_one() {
    for shape in shapes() {
        for prefix in ["", "_forward_module.", "module.", "model.", "_forward_module.model."] {
            let folder = folder();
            let saved = weights(shape);
            let named = |(name, x): (&str, &Tensor)| (format!("{prefix}{name}"), x.shallow_clone());
            let path = checkpoint(folder.path(), &saved.iter().map(named).collect());
            let loaded = Weights::load(&path).expect("a model");
            assert_eq!(*loaded.shape(), shape);
            for ((name, found), (expected_name, expected)) in loaded.iter().zip(saved.iter()) {
                assert_eq!(name, expected_name);
                assert!(found.equal(&expected.to_kind(Kind::Float)), "{name}");
            }
        }
    }
}

#[test]
fn the_value_residual_of_the_first_layer_is_optional() {
    let ranks = Ranks { w: 32, a: 32, v: 32, g: 32 };
    let shape =
        Shape { arch: Arch::V7(Rwkv7 { ranks, first_layer_v: true }), ..shape(Version::V7) };
    let folder = folder();
    let named = |(name, x): (&str, &Tensor)| (name.to_string(), x.shallow_clone());
    let path = checkpoint(folder.path(), &weights(shape).iter().map(named).collect());
    let loaded = Weights::load(&path).expect("a model");
    assert_eq!(*loaded.shape(), shape);
    let without = |(name, _): &(String, Tensor)| {
        !["v0", "v1", "v2"].iter().any(|v| *name == format!("blocks.0.att.{v}"))
    };
    let tensors: Tensors = loaded.iter().map(named).filter(without).collect();
    let without = Weights::load(&checkpoint(folder.path(), &tensors)).expect("a model");
    let logits = [&loaded, &without].map(|weights| {
        let model = Model::new(weights, Kind::Float, Op::Reference);
        Outcome::document(&model, time_state(&shape, Kind::Float), &tokens()).logits
    });
    assert!(logits[0].equal(&logits[1]), "nothing reads them");
}

#[test]
fn tensors_of_another_version_are_named() {
    let remove = |name: &'static str| move |all: &mut Tensors| all.retain(|(n, _)| n != name);
    let add = |name: &'static str| {
        move |all: &mut Tensors| {
            all.push((name.to_string(), Tensor::zeros([4, 4], (Kind::Float, Device::Cpu))))
        }
    };
    for version in Version::ALL {
        let shape = shape(version);
        assert_eq!(
            refusal(shape, remove("blocks.1.att.receptance.weight")),
            "1 tensor is missing: `blocks.1.att.receptance.weight`"
        );
        assert_eq!(
            refusal(shape, add("blocks.1.att.extra")),
            format!("1 tensor is not part of an {version} model: `blocks.1.att.extra`")
        );
        assert_eq!(
            refusal(shape, |all| {
                let (_, x) = all.iter_mut().find(|(n, _)| n == "head.weight").expect("a head");
                *x = x.narrow(0, 0, 31);
            }),
            "tensor `head.weight` has shape [31, 128], expected [32, 128]"
        );
        assert_eq!(
            refusal(shape, add("_forward_module.emb.weight")),
            "tensor `emb.weight` appears twice, as `emb.weight` and `_forward_module.emb.weight`"
        );
        assert_eq!(
            refusal(shape, add("blocks.0.att.time_state")),
            "1 tensor is missing: `blocks.1.att.time_state`"
        );
        assert_eq!(
            refusal(shape, |all| all.retain(|(n, _)| !n.starts_with("blocks.0."))),
            "found a file that is not an RWKV model, expected an RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model"
        );
    }
    assert_eq!(
        refusal(shape(Version::V7), add("head_q.weight")),
        "1 tensor is not part of an RWKV-7 (x070) model: `head_q.weight`"
    );
    assert_eq!(
        refusal(shape(Version::V7), add("blocks.1.ffn.s_emb.weight")),
        "found a variant of RWKV-7 with tensors such as `blocks.1.ffn.s_emb.weight`, expected an \
         RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model"
    );
    assert_eq!(
        refusal(shape(Version::V5), remove("blocks.0.att.gate.weight")),
        "found an RWKV model older than 5.2 (5.0 or 5.1), expected an RWKV-5.2 (x052), RWKV-6 (x060) or \
         RWKV-7 (x070) model"
    );
}

/// The checkpoint, in the environment of the copy of this program that [`loading_makes_no_second_copy`] starts.
const CHECKPOINT: &str = "STATETUNE_TEST_CHECKPOINT";

/// Kilobytes on a line of `/proc/self/status`.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line of that name");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[test]
#[ignore = "runs in a process of its own, which `loading_makes_no_second_copy` starts"]
fn load_and_report_memory() {
    let path = std::env::var_os(CHECKPOINT).expect("the other test sets it");
    // The first operation sets up libtorch.
    let _ = Tensor::ones([64, 64], (Kind::BFloat16, Device::Cpu)).max();
    let before = status_kib("VmRSS:");
    let weights = Weights::load(Path::new(&path)).expect("a model");
    let model = Model::new(&weights, Kind::BFloat16, Op::Cpu);
    for (name, tensor) in weights.iter() {
        assert_eq!(tensor.max().double_value(&[]), 0.5, "{name}");
    }
    println!("peak KiB: {} of {}", status_kib("VmHWM:") - before, model.shape().parameters());
}

/// Loads a checkpoint of 200 MB and reads all its tensors, with almost no memory besides the mapped file.
#[test]
fn loading_makes_no_second_copy() {
    let folder = folder();
    let path = folder.path().join("model.pth");
    let shape = Shape::for_scratch(Version::V7, 13, 512, 65536);
    let half = |_: &str, size: &[i64]| Tensor::full(size, 0.5, (Kind::BFloat16, Device::Cpu));
    Weights::from_fn(shape, half).save_pth(&path).expect("written");
    let file_kib = std::fs::metadata(&path).expect("written").len() / 1024;
    assert!(file_kib > 200_000, "{file_kib} KiB");

    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["model_files::load_and_report_memory", "--exact", "--ignored", "--nocapture"])
        .env(CHECKPOINT, &path)
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let peak_kib = text.split_once("peak KiB: ").and_then(|(_, rest)| rest.split_once(' '));
    let peak_kib: u64 = peak_kib.expect("a report").0.parse().expect("a number");
    let ratio = peak_kib as f64 / file_kib as f64;
    println!("peak memory while loading: {ratio:.3} x file size");
    assert!(ratio <= 1.15, "{ratio}");
}
