//! Files that other programs read or write: states, checkpoints and token pairs, against Python.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use half::{bf16, f16};
use serde_json::{Value, json};
use statetune_core::data::{Binidx, BinidxWriter};
use statetune_core::digest::sha256_hex;
use statetune_core::tensorfile::{
    Dtype, FileFormat, NewTensor, TensorFile, write_pth, write_safetensors,
};
use statetune_engine::exports::{
    ExportKind, ExportOptions, ModelSizes, Passport, save_adapter, save_state,
};
use statetune_engine::inference::{ReadMode, score};
use statetune_engine::kernels::Op;
use statetune_engine::model::{
    Arch, Model, ModelError, Rwkv7, Shape, TimeState, Version, Weights, file_tensor,
};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The output of a program, which must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}:\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A script of `tests/data/` with arguments.
fn script(name: &str, arguments: &[&Path]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let mut command = Command::new("python3");
    command.arg(path).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where Python finds torch: PYTHONPATH and LD_LIBRARY_PATH.
struct Torch {
    parent: PathBuf,
    libraries: String,
}

impl Torch {
    /// The torch that `LIBTORCH` is a part of, or why there is none for this machine's Python.
    fn find() -> Result<Torch, String> {
        let libtorch = std::env::var_os("LIBTORCH").ok_or("LIBTORCH is not set")?;
        let libtorch = fs::canonicalize(libtorch).map_err(|error| format!("LIBTORCH: {error}"))?;
        let suffix = "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'), end='')";
        let suffix = output(Command::new("python3").args(["-c", suffix]));
        let module = libtorch.join(format!("_C{suffix}"));
        if !module.exists() {
            let module = module.display();
            return Err(format!("LIBTORCH holds no package for this python3: {module} is missing"));
        }
        let parent = libtorch.parent().expect("a parent folder").to_path_buf();
        let stand_ins = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torch_stand_ins");
        let libraries = output(&mut script("torch_stand_ins.py", &[&parent, &stand_ins]));
        Ok(Torch { parent, libraries: libraries.trim_end().to_string() })
    }
}

/// The output of a script that imports torch; without torch `None`, with a printed reason.
pub(super) fn with_torch(name: &str, arguments: &[&Path]) -> Option<String> {
    static TORCH: OnceLock<Result<Torch, String>> = OnceLock::new();
    match TORCH.get_or_init(Torch::find) {
        Ok(torch) => {
            let mut command = script(name, arguments);
            command.env("PYTHONPATH", &torch.parent).env("LD_LIBRARY_PATH", &torch.libraries);
            Some(output(&mut command))
        }
        Err(reason) => {
            eprintln!("not checked with {name}: {reason}");
            None
        }
    }
}

/// `check_pth.py` on a file: its tensors in order, without their sums.
fn torch_load(path: &Path) -> Option<Vec<Value>> {
    let mut tensors: Vec<Value> =
        serde_json::from_str(&with_torch("check_pth.py", &[path])?).expect("a list of tensors");
    for tensor in &mut tensors {
        tensor.as_object_mut().expect("an object").remove("sum");
    }
    Some(tensors)
}

/// A tensor as `torch_load` describes it.
fn bf16_described(name: &str, tensor: &Tensor) -> Value {
    described(name, tensor, "bfloat16", |x| bf16::from_f32(x).to_le_bytes().to_vec())
}

fn described(name: &str, tensor: &Tensor, dtype: &str, bytes: fn(f32) -> Vec<u8>) -> Value {
    let bytes: Vec<u8> = numbers(tensor).into_iter().flat_map(bytes).collect();
    let sha256 = sha256_hex(bytes);
    json!({ "name": name, "dtype": dtype, "shape": tensor.size(), "sha256": sha256 })
}

/// The elements of a tensor in row-major order.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view([-1])).expect("a vector of float32")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A small model, with or without the unread tensors of block 0.
fn with_first_layer_v(first_layer_v: bool) -> Shape {
    let shape = Shape::for_scratch(Version::V7, 2, 128, 20);
    let Arch::V7(widths) = shape.arch else { unreachable!("it is an RWKV-7 model") };
    Shape { arch: Arch::V7(Rwkv7 { first_layer_v, ..widths }), ..shape }
}

fn tiny() -> Shape {
    with_first_layer_v(true)
}

/// Random states without a symmetric matrix.
fn random_state(seed: i64) -> TimeState {
    tch::manual_seed(seed);
    let zeros = TimeState::zeros(&tiny(), Kind::Float, Device::Cpu);
    TimeState::of_wkv(zeros.wkv.iter().map(Tensor::randn_like).collect())
}

/// The passport of the states of these tests.
fn passport() -> Passport {
    Passport::new(ExportKind::State, ModelSizes::from(&tiny()), json!({ "type": "state" }))
}

/// Writes both forms of a state, the `.pth` in `dtype`.
fn save(state: &TimeState, stem: &Path, dtype: Dtype) -> Vec<PathBuf> {
    save_state(state, stem, &ExportOptions { dtype, passport: &passport() }).expect("written")
}

#[test]
fn python_loads_a_state() {
    let (folder, state) = (folder(), random_state(1));
    let save = |state: &TimeState, stem: &str| save(state, &folder.path().join(stem), Dtype::BF16);
    let pth = &save(&state, "run.final")[0];
    assert_eq!(pth.file_name(), Some(OsStr::new("run.final.pth")));
    let described = |state: &TimeState| -> Vec<Value> {
        let layers = state.wkv.iter().enumerate();
        layers.map(|(layer, s)| bf16_described(&TimeState::name(layer), s)).collect()
    };
    let expected = described(&state);
    assert_eq!(expected[1]["name"], "blocks.1.att.time_state");
    assert_eq!(expected[1]["shape"], json!([2, 64, 64]));
    let Some(found) = torch_load(pth) else { return };
    assert_eq!(found, expected);

    // The order [head, value, key] shows in the numbers: the other order is another file.
    let found =
        torch_load(&save(&state.transposed(), "transposed")[0]).expect("torch was there before");
    assert_eq!(found, described(&state.transposed()));
    for (found, expected) in found.iter().zip(&expected) {
        assert_ne!(found["sha256"], expected["sha256"]);
    }
}

#[test]
fn python_loads_an_exact_state() {
    let (folder, state) = (folder(), random_state(9));
    let paths = save(&state, &folder.path().join("state"), Dtype::F32);
    let exact = |(layer, s): (usize, &Tensor)| {
        described(&TimeState::name(layer), s, "float32", |x| x.to_le_bytes().to_vec())
    };
    let expected: Vec<Value> = state.wkv.iter().enumerate().map(exact).collect();
    let Some(found) = torch_load(&paths[0]) else { return };
    assert_eq!(found, expected);
}

#[test]
fn python_loads_an_adapter() {
    let folder = folder();
    tch::manual_seed(10);
    let random = |size: [i64; 2]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    let tensors = [
        ("blocks.0.att.key.lora_A", random([4, 64])),
        ("blocks.0.att.key.lora_B", random([64, 4])),
    ];
    let passport = Passport::of_all(&[None], ExportKind::Adapter, json!({ "type": "lora" }));
    let named = tensors.iter().map(|(name, tensor)| (*name, tensor));
    let paths = save_adapter(named, &folder.path().join("rwkv-0"), &passport).expect("written");
    let exact =
        |(name, x): &(&str, Tensor)| described(name, x, "float32", |x| x.to_le_bytes().to_vec());
    for path in &paths {
        assert_eq!(Passport::of(path).expect("a sound file").as_ref(), Some(&passport));
    }
    let Some(found) = torch_load(&paths[0]) else { return };
    assert_eq!(found, tensors.iter().map(exact).collect::<Vec<_>>());
}

#[test]
fn the_other_format_of_a_state_is_transposed() {
    let (folder, state) = (folder(), random_state(2));
    let paths = save(&state, &folder.path().join("state"), Dtype::BF16);
    let file = TensorFile::open(&paths[1]).expect("a sound file");
    assert_eq!(file.path(), folder.path().join("state.st"));
    assert_eq!(file.format(), FileFormat::Safetensors);
    assert_eq!(file.metadata()["format"], "pt");
    assert_eq!(Passport::of(&paths[1]).expect("a sound file"), Some(passport()));
    assert_eq!(file.names().len(), state.wkv.len());
    for (layer, s) in state.transposed().wkv.iter().enumerate() {
        let found = file.get(&TimeState::name(layer)).expect("a tensor for each layer");
        assert_eq!((found.dtype(), found.shape()), (Dtype::F16, [2, 64, 64].as_slice()));
        let expected: Vec<u8> =
            numbers(s).into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()).collect();
        assert!(*found.bytes() == expected, "layer {layer}");
    }
}

#[test]
fn a_state_survives_a_round_trip() {
    let (folder, state) = (folder(), random_state(3));
    let pth = &save(&state, &folder.path().join("state"), Dtype::BF16)[0];
    let found = TimeState::load(pth, &tiny()).expect("a state of this shape");
    assert_eq!(found.wkv.len(), state.wkv.len());
    for (found, s) in found.wkv.iter().zip(&state.wkv) {
        assert_eq!(found.kind(), Kind::Float);
        assert!(found.equal(&s.to_kind(Kind::BFloat16).to_kind(Kind::Float)));
    }
}

/// A model of every version reads its state in the right order from both formats, and the wrong order gives other
/// numbers.
#[test]
fn a_transposed_state_shows_in_every_version() {
    for version in Version::ALL {
        let folder = folder();
        let shape = Shape::for_scratch(version, 2, 128, 20);
        let new = Weights::scratch(shape, 5);
        // The output of a new time mix is zero, so the state would make no difference.
        let weights = Weights::from_fn(shape, |name, size| match name.ends_with("output.weight") {
            true => Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.1,
            false => new.get(name, Kind::Float),
        });
        let model = Model::new(&weights, Kind::Float, Op::Cpu);
        let logprobs = |state: &TimeState| {
            let scored = score(&model, state, &[1, 5, 9, 2, 7, 3], ReadMode::Whole);
            scored.expect("sound operands").logprobs
        };
        let distance = |x: &Tensor, y: &Tensor| (x - y).abs().max().double_value(&[]);
        let state = random_state(6);
        let expected = logprobs(&state);
        let paths = save(&state, &folder.path().join("state"), Dtype::F32);
        for (path, tolerance) in paths.iter().zip([0.0, 1e-3]) {
            let found = logprobs(&TimeState::load(path, &shape).expect("a state of this shape"));
            let far = distance(&found, &expected);
            assert!(far <= tolerance, "{version}: {far} in {}", path.display());
        }
        let far = distance(&logprobs(&state.transposed()), &expected);
        assert!(far > 0.02, "{version}: {far}");
    }
}

#[test]
fn numbers_beyond_a_dtype_are_refused() {
    let folder = folder();
    let state = random_state(8);
    let _ = state.wkv[1].get(0).get(2).get(3).fill_(-1e5);
    let stem = folder.path().join("state");
    let export = ExportOptions { dtype: Dtype::BF16, passport: &passport() };
    let error = save_state(&state, &stem, &export).expect_err("beyond float16");
    let st = folder.path().join("state.st");
    let expected = format!(
        "{}: tensor `blocks.1.att.time_state` contains 1e5, but the largest float16 is 6.5504e4",
        st.display()
    );
    assert_eq!((error.code(), error.to_string()), ("ST4015", expected));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn python_and_statetune_load_a_saved_checkpoint() {
    let folder = folder();
    let path = folder.path().join("model.pth");
    let weights = Weights::scratch(tiny(), 4);
    weights.save_pth(&path).expect("written");

    let loaded = Weights::load(&path).expect("a sound checkpoint");
    assert_eq!(loaded.shape(), weights.shape());
    assert_eq!(loaded.iter().count(), tiny().tensors().len());
    for ((name, found), (expected_name, expected)) in loaded.iter().zip(weights.iter()) {
        assert_eq!(name, expected_name);
        assert_eq!(found.kind(), Kind::BFloat16);
        assert!(found.equal(&expected.to_kind(Kind::BFloat16)), "{name}");
    }

    let Some(found) = torch_load(&path) else { return };
    let expected: Vec<Value> =
        weights.iter().map(|(name, tensor)| bf16_described(name, tensor)).collect();
    assert_eq!(found, expected);
}

#[test]
fn files_saved_by_python_are_read() {
    let folder = folder();
    if with_torch("make_pth.py", &[folder.path()]).is_none() {
        return;
    }
    let expected =
        fs::read_to_string(folder.path().join("expected.json")).expect("made by the script");
    let expected: serde_json::Map<String, Value> =
        serde_json::from_str(&expected).expect("an object");
    assert_eq!(expected.len(), 10);
    for (name, expected) in &expected {
        let file = TensorFile::open(folder.path().join(name)).expect(name);
        let found: Vec<Value> = file
            .tensors()
            .map(|tensor| {
                let hex: String = tensor.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                json!({
                    "name": tensor.name(),
                    "dtype": tensor.dtype().name(),
                    "shape": tensor.shape(),
                    "hex": hex,
                })
            })
            .collect();
        assert_eq!(json!(found), *expected, "{name}");
    }
}

#[test]
fn python_reads_token_pairs() {
    let folder = folder();
    for (vocab_size, dtype, last) in [(65536, "u16", 65535), (65537, "i32", 65536)] {
        let documents = [vec![1, 2, 3], vec![last], vec![300, 0]];
        let prefix = folder.path().join(format!("data.{dtype}"));
        let mut writer = BinidxWriter::create(&prefix, vocab_size).expect("a folder to write in");
        documents.iter().for_each(|document| writer.push(document).expect("ids of the vocabulary"));
        writer.finish().expect("written");

        let pair = Binidx::open(&prefix).expect("a sound pair");
        let found: Vec<Vec<u32>> =
            (0..pair.len()).map(|i| pair.doc(i).expect("readable")).collect();
        assert_eq!(found, documents);
        let found: Value =
            serde_json::from_str(&output(&mut script("check_binidx.py", &[&prefix])))
                .expect("JSON");
        assert_eq!(found, json!({ "dtype": dtype, "documents": documents }));
    }
}

/// The tensors of a small valid checkpoint.
fn tensors(shape: Shape) -> Vec<NewTensor<'static>> {
    Weights::scratch(shape, 5)
        .iter()
        .map(|(name, tensor)| file_tensor(name, tensor, Dtype::F32))
        .collect()
}

fn new_tensor(name: &str, shape: &[usize]) -> NewTensor<'static> {
    NewTensor {
        name: name.to_string(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        bytes: vec![0; 4 * shape.iter().product::<usize>()].into(),
    }
}

/// The message of an error about the file at `path`, without the path.
fn problem(path: &Path, error: ModelError) -> String {
    let message = error.to_string();
    let place = format!("{}: ", path.display());
    message
        .strip_prefix(&place)
        .unwrap_or_else(|| panic!("{message} does not begin with {place}"))
        .to_string()
}

fn load_file(path: &Path) -> Result<Weights, String> {
    Weights::load(path).map_err(|error| problem(path, error))
}

/// The result of [`Weights::load`] for a file with these tensors.
fn load(tensors: Vec<NewTensor<'static>>) -> Result<Weights, String> {
    let folder = folder();
    let path = folder.path().join("model.pth");
    write_pth(&path, tensors).expect("written");
    load_file(&path)
}

/// The error of weights that do not load.
fn refusal(loaded: Result<Weights, String>) -> String {
    loaded.map(|weights| *weights.shape()).expect_err("to be refused")
}

/// The error of loading a valid checkpoint after a change.
fn changed(change: impl FnOnce(&mut Vec<NewTensor<'static>>)) -> String {
    let mut tensors = tensors(tiny());
    change(&mut tensors);
    refusal(load(tensors))
}

#[test]
fn checkpoints_of_other_trainers_are_accepted() {
    let sharded = tensors(tiny())
        .into_iter()
        .map(|tensor| NewTensor { name: format!("_forward_module.{}", tensor.name), ..tensor });
    let weights = load(sharded.collect()).expect("the prefix is ignored");
    assert_eq!(*weights.shape(), tiny());
    assert!(weights.iter().all(|(name, _)| !name.starts_with('_')));

    // Nothing reads v0 v1 v2 of block 0; their values are kept.
    for first_layer_v in [true, false] {
        let shape = with_first_layer_v(first_layer_v);
        let weights = load(tensors(shape)).expect("both forms are in use");
        assert_eq!(*weights.shape(), shape);
        let expected = shape.tensors();
        assert!(weights.iter().map(|(name, _)| name).eq(expected.iter().map(|(name, _)| name)));
    }
}

#[test]
fn missing_tensors_are_named() {
    let without = |is_missing: fn(&str) -> bool| {
        changed(|all| all.retain(|tensor| !is_missing(&tensor.name)))
    };
    assert_eq!(
        without(|name| name == "blocks.1.att.k_a"),
        "1 tensor is missing: `blocks.1.att.k_a`"
    );
    assert_eq!(without(|name| name == "blocks.0.att.v1"), "1 tensor is missing: `blocks.0.att.v1`");
    assert_eq!(
        without(|name| name.starts_with("blocks.1.att.x_") || name.starts_with("blocks.1.ffn")),
        "9 tensors are missing: `blocks.1.att.x_r`, `blocks.1.att.x_w`, `blocks.1.att.x_k`, \
         `blocks.1.att.x_v`, `blocks.1.att.x_a` and 4 others"
    );
    // Without these the sizes of the model are unknown.
    for name in ["emb.weight", "blocks.0.att.g1", "blocks.1.att.v1", "blocks.0.ffn.key.weight"] {
        assert_eq!(
            changed(|all| all.retain(|tensor| tensor.name != name)),
            format!(
                "tensor `{name}` is missing, expected an RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model"
            )
        );
    }
    assert_eq!(
        changed(|all| {
            for tensor in all {
                tensor.name = tensor.name.replace("blocks.1", "blocks.2");
            }
        }),
        "the checkpoint has 2 blocks, but block numbers go up to 2"
    );
}

#[test]
fn surplus_tensors_are_named() {
    assert_eq!(
        changed(|all| all.push(new_tensor("head.bias", &[2]))),
        "1 tensor is not part of an RWKV-7 (x070) model: `head.bias`"
    );
}

#[test]
fn wrong_tensors_are_named() {
    let reshaped = |name: &str, shape: &[usize]| {
        changed(|all| {
            let tensor =
                all.iter_mut().find(|tensor| tensor.name == name).expect("a name of the model");
            *tensor = new_tensor(name, shape);
        })
    };
    assert_eq!(
        reshaped("blocks.1.ffn.value.weight", &[128, 448]),
        "tensor `blocks.1.ffn.value.weight` has shape [128, 448], expected [128, 512]"
    );
    assert_eq!(
        reshaped("ln_out.bias", &[127]),
        "tensor `ln_out.bias` has shape [127], expected [128]"
    );
    assert_eq!(
        reshaped("blocks.0.att.g1", &[1, 128, 32]),
        "tensor `blocks.0.att.g1` has shape [1, 128, 32], expected a matrix that is not empty"
    );
    assert_eq!(
        reshaped("blocks.0.att.r_k", &[1, 64]),
        "tensor `blocks.0.att.r_k` has 1 heads of 64 channels, which does not match the 128 channels of `emb.weight`"
    );
    assert_eq!(
        reshaped("blocks.1.att.r_k", &[4, 32]),
        "tensor `blocks.1.att.r_k` has shape [4, 32], expected [2, 64]"
    );
    assert_eq!(
        changed(|all| all[0].dtype = Dtype::I32), // the size of float32
        "tensor `emb.weight` is int32, expected floating point"
    );
}

#[test]
fn damaged_and_hostile_checkpoints_are_refused() {
    let folder = folder();
    let path = folder.path().join("model.pth");
    Weights::scratch(tiny(), 6).save_pth(&path).expect("written");
    let whole = fs::read(&path).expect("written");
    fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    assert_eq!(
        refusal(load_file(&path)),
        "the file is corrupted: the end is missing, as after an interrupted download"
    );

    let mut archive = ZipWriter::new(fs::File::create(&path).expect("created"));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file("archive/data.pkl", stored).expect("an entry");
    archive.write_all(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.").expect("written");
    archive.finish().expect("written");
    assert_eq!(refusal(load_file(&path)), "refused to load the file: it calls `os.system`");
}

#[test]
fn bad_state_files_are_refused() {
    let folder = folder();
    let paths = save(&random_state(7), &folder.path().join("state"), Dtype::BF16);
    let load = |path: &Path, shape: Shape| {
        problem(path, TimeState::load(path, &shape).expect_err("to be refused"))
    };
    assert_eq!(
        load(&paths[0], Shape::for_scratch(Version::V7, 2, 192, 20)),
        "tensor `blocks.0.att.time_state` has shape [2, 64, 64], expected [3, 64, 64]"
    );
    assert_eq!(
        load(&paths[0], Shape::for_scratch(Version::V7, 3, 128, 20)),
        "found 2 tensors, expected one for each of 3 layers"
    );
    let f32_st = folder.path().join("f32.st");
    let tensors = [0, 1].map(|layer| {
        let name = TimeState::name(layer);
        file_tensor(&name, &random_state(7).wkv[layer], Dtype::F32)
    });
    write_safetensors(&f32_st, tensors, &[]).expect("written");
    assert_eq!(
        load(&f32_st, tiny()),
        "tensor `blocks.0.att.time_state` is float32 in a .safetensors file, which does not define the order \
         of its axes; expected float16 [head, key, value], or a .pth"
    );

    let path = folder.path().join("other.pth");
    let names = ["blocks.0.att.time_state", "emb.weight"];
    write_pth(&path, names.map(|name| new_tensor(name, &[2, 64, 64]))).expect("written");
    assert_eq!(load(&path, tiny()), "tensor `blocks.1.att.time_state` is missing");
    Weights::scratch(tiny(), 8).save_pth(&path).expect("written");
    let expected =
        format!("found {} tensors, expected one for each of 2 layers", tiny().tensors().len());
    assert_eq!(load(&path, tiny()), expected);
}
