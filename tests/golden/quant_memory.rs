//! Memory of packing a model, in a process of its own: this test binary with a variable in its environment.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, TimeState, Version, Weights};
use statetune_engine::peft::{AdapterSpec, AnyMethod, Compute, Pissa, TuningSpec, WeightTuning};
use statetune_engine::quant::{Format, bytes, quantise};
use tch::{Device, Kind, Tensor};

/// Names the checkpoint to the child process.
const CHECKPOINT: &str = "STATETUNE_TEST_CHECKPOINT";
const FORMAT: Format = Format::Nf4 { double: false };

/// A model of 420 MB in bfloat16, almost all of it in matrices that are packed.
fn shape() -> Shape {
    Shape::for_scratch(Version::V7, 16, 1024, 512)
}

/// Bytes of resident memory of this process: current (`VmRSS:`) or peak (`VmHWM:`).
fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Packs a model and runs one forward and backward pass. Resident bytes: peak while packing, after packing, between
/// the passes, and at the end.
fn step(weights: &mut Weights) -> [u64; 4] {
    quantise(weights, FORMAT, |_| false).expect("finite weights");
    let (peak, after) = (resident("VmHWM:"), resident("VmRSS:"));
    let model = Model::new(weights, Kind::BFloat16, Op::Cpu);
    let zeros = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
    let state =
        TimeState::of_wkv(zeros.wkv.into_iter().map(|s| s.set_requires_grad(true)).collect());
    let ids = Tensor::arange(4, (Kind::Int64, Device::Cpu)).view([1, 4]);
    let (hidden, _) = model.forward(&ids, &model.start(&state, 1), None).expect("a model");
    let kept = resident("VmRSS:");
    model.logits(&hidden).logsumexp([-1], false).sum(Kind::Float).backward();
    [peak, after, kept, resident("VmRSS:")]
}

/// PiSSA of all linear layers.
fn recipe() -> TuningSpec {
    let method = AnyMethod::Pissa(Pissa { rank: 8, svd_niter: 1, ..Pissa::default() });
    let adapter = Some(AdapterSpec { method, targets: None });
    TuningSpec { adapter, ..TuningSpec::nothing() }
}

/// Peak resident bytes while PiSSA splits the matrices of a model and the residuals are packed.
fn taking_out(weights: Weights) -> u64 {
    let compute = Compute { kind: Kind::BFloat16, op: Op::Cpu, seed: 1, quant: Some(FORMAT) };
    let tuning = WeightTuning::start(&recipe(), weights, compute).expect("finite weights");
    let peak = resident("VmHWM:");
    drop(tuning);
    peak
}

/// The child process of PiSSA; prints a number for its parent.
#[test]
#[ignore = "the child process of `taking_parts_out_needs_one_layer_in_float32`"]
fn child_of_pissa() {
    let Some(checkpoint) = env::var_os(CHECKPOINT) else { return };
    taking_out(Weights::scratch(Shape::for_scratch(Version::V7, 1, 128, 512), 1));
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
    let before = resident("VmRSS:");
    let weights = Weights::load(Path::new(&checkpoint)).expect("a sound checkpoint");
    println!("memory {}", taking_out(weights).saturating_sub(before));
}

/// The child process; prints numbers for its parent.
#[test]
#[ignore = "the child process of `packing_needs_the_packed_model_and_one_layer`"]
fn child() {
    let Some(checkpoint) = env::var_os(CHECKPOINT) else { return };
    // The code of libtorch counts from its first use.
    step(&mut Weights::scratch(Shape::for_scratch(Version::V7, 1, 128, 512), 1));
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
    let before = resident("VmRSS:");

    let mut weights = Weights::load(Path::new(&checkpoint)).expect("a sound checkpoint");
    let [peak, after, kept, trained] = step(&mut weights).map(|x| x.saturating_sub(before));
    println!("memory {peak} {after} {kept} {trained}");
}

/// The numbers that a test of this file prints in a process of its own, for a model of [`shape`].
fn measured(child: &str) -> Vec<u64> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = folder.path().join("model.pth");
    // Every tensor is written before the next one is made.
    let weights = Weights::from_fn(shape(), |_, size| {
        Tensor::full(size, 0.01, (Kind::BFloat16, Device::Cpu))
    });
    weights.save_pth(&checkpoint).expect("written");
    drop(weights);

    let child = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(CHECKPOINT, &checkpoint)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .expect("a child process");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    let line = output.lines().find_map(|line| line.split_once("memory ")).expect("the numbers").1;
    line.split(' ').map(|x| x.parse().expect("a number")).collect()
}

#[test]
fn splitting_matrices_needs_one_layer_in_float32() {
    let shape = shape();
    let [peak] = measured("quant_memory::child_of_pissa")[..] else { panic!("one number") };
    let packed = bytes(&shape, 2, Some(FORMAT));
    let layer = 2 * bytes(&shape, 2, None) / shape.n_layer.unsigned_abs();
    let adapters: i64 =
        recipe().trained_tensors(&shape).iter().map(|(_, size)| size.iter().product::<i64>()).sum();
    let adapters = 4 * adapters.unsigned_abs();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "packed {:.0} MB, adapters {:.0} MB, a layer in float32 {:.0} MB; peak {:.0} MB",
        mb(packed),
        mb(adapters),
        mb(layer),
        mb(peak)
    );
    assert!(peak <= packed + adapters + layer, "{} MB of memory", mb(peak));
}

#[test]
fn packing_needs_the_packed_model_and_one_layer() {
    let shape = shape();
    let numbers = measured("quant_memory::child");
    let [peak, after, kept, trained] = numbers[..] else { panic!("four numbers") };

    let dense = bytes(&shape, 2, None);
    let packed = bytes(&shape, 2, Some(FORMAT));
    let layer = dense / shape.n_layer.unsigned_abs();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "dense {:.0} MB, packed {:.0} MB, a layer {:.0} MB; peak while packing {:.0} MB, after it \
         {:.0} MB, after a forward pass {:.0} MB, after the backward pass {:.0} MB",
        mb(dense),
        mb(packed),
        mb(layer),
        mb(peak),
        mb(after),
        mb(kept),
        mb(trained)
    );
    assert!(peak <= packed + layer, "{} MB of memory while packing", mb(peak));
    // The dense matrices of all layers would need 16 layers. On CPUs without bf16 instructions tiles are widened, too.
    assert!(kept <= packed + 3 * layer && trained <= packed + 3 * layer, "dense copies are kept");
}
