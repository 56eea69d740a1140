//! Packed weights in a file, and weights that are streamed from a file: the same bits as in memory, and pages that go again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use statetune_core::packed::{PackedWeights, Unusable};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::peft::{Method, StateTuning};
use statetune_engine::quant::{Format, quantise, quantise_stored};
use statetune_engine::train::StepOptions;
use tch::{Device, Kind, Tensor};

use super::numerics::{OPTIONS, batch, gradients, weights_of};

const FORMATS: [Format; 6] = [
    Format::Int8,
    Format::Fp8,
    Format::Nf4 { double: false },
    Format::Nf4 { double: true },
    Format::Fp4 { double: false },
    Format::Fp4 { double: true },
];

/// The dense matrices of all linear layers.
fn dense(weights: &Weights) -> Vec<Tensor> {
    let linears = weights.shape().linears().into_iter();
    linears.map(|(name, _)| weights.get(&name, Kind::Float)).collect()
}

/// A checkpoint of random weights in a folder.
fn checkpoint(folder: &Path, shape: Shape) -> PathBuf {
    let path = folder.join("base.pth");
    weights_of(shape).save_pth(&path).expect("written");
    path
}

/// State tuning from states without zeros.
fn tuning(weights: &Weights, kind: Kind) -> StateTuning {
    let method = StateTuning::new(Model::new(weights, kind, Op::Cpu));
    tch::no_grad(|| {
        for mut parameter in method.parameters() {
            let numbers =
                Tensor::arange(parameter.tensor.numel() as i64, (Kind::Float, Device::Cpu));
            parameter.tensor.copy_(&(numbers.sin() * 0.2).view_as(&parameter.tensor));
        }
    });
    method
}

#[test]
fn packed_weights_from_a_file_have_the_bits_of_those_in_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape::for_scratch(Version::V7, 2, 128, 61);
    let path = checkpoint(folder.path(), shape);
    let cache = folder.path().join("cache");
    let load = || Weights::load(&path).expect("a sound checkpoint");
    let batches = [batch(6, 61, &[17, 30])];
    let stored = |format| {
        let mut weights = load();
        quantise_stored(&mut weights, format, &path, &cache).expect("finite weights");
        weights
    };
    for format in FORMATS {
        let mut in_memory = load();
        quantise(&mut in_memory, format, |_| false).expect("finite weights");
        let expected = dense(&in_memory);
        let of_memory = gradients(&tuning(&in_memory, Kind::Float), Kind::Float, OPTIONS, &batches);
        for is_new in [true, false] {
            let weights = stored(format);
            let packed = weights.packed().expect("packed");
            let was_made = matches!(packed, PackedWeights::Made(_, Unusable::Absent));
            assert_eq!(was_made, is_new, "{format}: {packed:?}");
            assert!(dense(&weights).iter().zip(&expected).all(|(x, y)| x.equal(y)), "{format}");
            let method = tuning(&weights, Kind::Float);
            let (loss, found) = gradients(&method, Kind::Float, OPTIONS, &batches);
            assert_eq!(loss, of_memory.0, "{format}");
            assert!(found.iter().zip(&of_memory.1).all(|(x, y)| x.equal(y)), "{format}");
        }
    }

    // What cannot be used is made again; what cannot be written stays in memory.
    let format = FORMATS[3];
    let why = |weights: &Weights| match weights.packed() {
        Some(PackedWeights::Made(_, why)) => *why,
        other => panic!("{other:?}"),
    };
    let file = stored(format).packed().and_then(PackedWeights::file).expect("a file").path();
    let sound = fs::read(file).expect("written");
    // A new file each: the old one is still mapped.
    let replace = |content: &[u8]| {
        fs::write(folder.path().join("new"), content).expect("written");
        fs::rename(folder.path().join("new"), file).expect("replaced");
    };
    let mut wrong = sound.clone();
    *wrong.last_mut().expect("bytes") ^= 1;
    for damaged in [&wrong[..], &sound[..sound.len() - 1], &sound[..100], b""] {
        replace(damaged);
        assert_eq!(why(&stored(format)), Unusable::Damaged);
        assert_eq!(fs::read(file).expect("written"), sound);
    }
    tch::manual_seed(3);
    let other = Weights::from_fn(shape, |_, size| Tensor::randn(size, (Kind::Float, Device::Cpu)));
    fs::remove_file(&path).expect("removed"); // the old file stays mapped
    other.save_pth(&path).expect("written");
    assert_eq!(why(&stored(format)), Unusable::OtherWeights);
    assert_ne!(fs::read(file).expect("written"), sound);
    let place = file.parent().expect("a folder");
    fs::remove_dir_all(place).expect("removed");
    fs::write(place, "in the way").expect("written");
    let weights = stored(format);
    assert!(matches!(weights.packed(), Some(PackedWeights::InMemory(_))), "{:?}", weights.packed());
    let mut in_memory = load();
    quantise(&mut in_memory, format, |_| false).expect("finite weights");
    assert!(dense(&weights).iter().zip(dense(&in_memory)).all(|(x, y)| x.equal(&y)));
}

#[test]
fn streamed_weights_give_the_bits_of_resident_ones() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let batches = [batch(6, 61, &[17, 30]), batch(7, 61, &[12])];
    for version in [Version::V5, Version::V6, Version::V7] {
        for n_layer in [1, 2, 4] {
            let path = checkpoint(folder.path(), Shape::for_scratch(version, n_layer, 128, 61));
            let kind = Kind::BFloat16;
            let load = || Weights::load(&path).expect("a sound checkpoint");
            let mut packed = load();
            let (format, cache) = (FORMATS[2], folder.path().join("cache"));
            quantise_stored(&mut packed, format, &path, &cache).expect("finite weights");
            let mut in_memory = load();
            quantise(&mut in_memory, format, |_| false).expect("finite weights");
            let copied = |weights: Weights| weights.copied_ahead(kind, |_| false).expect("places");
            let packed_again = || {
                let mut packed = load();
                quantise(&mut packed, format, |_| false).expect("finite weights");
                packed
            };
            for (streamed, resident) in [
                (load().streamed(kind), load()),
                (packed.streamed(kind), in_memory),
                (copied(load()), load()),
                (copied(packed_again()), packed_again()),
            ] {
                let again = StepOptions { grad_cp: true, ..OPTIONS };
                let of =
                    |weights, options| gradients(&tuning(weights, kind), kind, options, &batches);
                let (expected_loss, expected) = of(&resident, OPTIONS);
                let (loss, found) = of(&streamed, again);
                assert_eq!(loss, expected_loss, "{version}, {n_layer} blocks");
                assert!(found.iter().zip(&expected).all(|(x, y)| x.equal(y)), "{version}");
            }
            fs::remove_file(&path).expect("removed"); // mapped files are not written to
        }
    }
}

/// Bytes of a mapped file that this process has in memory.
fn resident(file: &Path) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").expect("Linux");
    let mut is_ours = false;
    let mut bytes = 0;
    for line in maps.lines() {
        // `7f00-7f10 r--p 00000000 fe:00 123 /path` begins a mapping, `Rss: 4 kB` is about it.
        if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            is_ours = line.ends_with(&*file.to_string_lossy());
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_ours) {
            let kib = size.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
            bytes += 1024 * kib;
        }
    }
    bytes
}

/// The largest number of bytes of a mapped file in memory while `work` runs.
fn most_resident(file: &Path, work: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(resident(file));
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        work();
        done.store(true, Ordering::Relaxed);
        watch.join().expect("the thread ends")
    })
}

#[test]
fn memory_holds_two_blocks_of_streamed_weights() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape::for_scratch(Version::V7, 12, 256, 61);
    let kind = Kind::BFloat16;
    let path = checkpoint(folder.path(), shape);
    let len = fs::metadata(&path).expect("a file").len();
    let load = || Weights::load(&path).expect("a sound checkpoint");
    let step = |weights: Weights| {
        let method = StateTuning::new(Model::new(&weights, kind, Op::Cpu));
        let options = StepOptions { grad_cp: true, ..OPTIONS };
        let batches = [batch(40, 61, &[17, 30])];
        // Making the model reads a few pages of every block.
        gradients(&method as &dyn Method, kind, options, &batches);
        most_resident(&path, || {
            for _ in 0..3 {
                gradients(&method as &dyn Method, kind, options, &batches);
            }
        })
    };
    let streamed = step(load().streamed(kind));
    let all = step(load());
    // The system maps pages around those that are read.
    let two_blocks = 2 * len / 12;
    assert!(streamed <= two_blocks * 3 / 2, "{streamed} of {len} bytes in memory");
    assert!(all > len * 9 / 10, "{all} of {len} bytes in memory");
}
