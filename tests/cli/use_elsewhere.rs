//! `export` and `mount`: what other programs read.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use statetune_core::tensorfile::{Dtype, TensorFile};
use statetune_engine::exports::Passport;
use statetune_engine::model::{Shape, TimeState, Version, Weights};

use crate::case::{Case, STATE, checkpoint};

fn tuned() -> (Case, PathBuf) {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    (case, run)
}

fn open(case: &Case, path: impl AsRef<Path>) -> TensorFile {
    TensorFile::open(case.path(path)).expect("a sound file")
}

#[test]
fn a_run_is_mounted() {
    let (case, run) = tuned();
    let mount = |target: &str| {
        let arguments = ["mount", "latest", "--for", target, "--format", "json"];
        let output = case.statetune(&arguments);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
        serde_json::from_str::<Value>(&output.stdout).expect("JSON")
    };
    for (target, extension) in [("rwkv-runner", "pth"), ("ai00", "st"), ("rwkv-pip", "pth")] {
        let object = mount(target);
        assert!(object["difference"].as_f64().expect("a number") < 1e-4, "{object}");
        let name = run.file_name().expect("a name").to_string_lossy().into_owned();
        let file = run.join(format!("export/{target}/{name}.{extension}"));
        let found = open(&case, &file);
        assert_eq!(found.names().len(), 2);
        let first = found.tensors().next().expect("a tensor");
        assert_eq!(first.dtype(), if extension == "st" { Dtype::F16 } else { Dtype::F32 });
        let passport = Passport::of(&case.path(&file)).expect("a sound file").expect("a passport");
        assert_eq!(passport.base.map(|base| base.file).as_deref(), Some("base.pth"));
        let entry = object["entry"].as_str().expect("a text");
        assert!(entry.contains("DATE-tiny-ID"), "{entry}");
    }
    let ai00 = case.statetune(&["mount", "latest", "--for", "ai00", "--out", "server"]);
    assert!(ai00.is_done().stdout.contains("\n[[state]]\nid = \""), "{}", ai00.stdout);
    assert_eq!(case.list("server").len(), 1);
}

/// The state of another base is refused, although it would load.
#[test]
fn other_weights_are_refused() {
    let (case, run) = tuned();
    let shape = |version| Shape::for_scratch(version, 2, 64, 4096);
    let new = Weights::scratch(shape(Version::V7), 2);
    new.save_pth(&case.path("other.pth")).expect("written");
    case.write("v6.pth", checkpoint(shape(Version::V6)));
    case.write("deep.pth", checkpoint(Shape::for_scratch(Version::V7, 3, 64, 4096)));
    let refuses = |model: &str, code: i32, message: &str| {
        let arguments = ["mount", "latest", "--for", "ai00", "--out", "out", "--model", model];
        let output = case.statetune(&arguments);
        let fingerprints = regex::Regex::new("fingerprint [0-9a-f]{4} [0-9a-f]{4}").expect("valid");
        let stderr = fingerprints.replace_all(&output.stderr, "fingerprint #### ####");
        assert_eq!(stderr.trim_end(), message);
        assert_eq!((output.code, &*output.stdout), (Some(code), ""));
        assert!(!case.path("out").exists());
    };
    refuses(
        "other.pth",
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
    refuses(
        "v6.pth",
        28,
        "\
error[ST8004]: `runs/DATE-tiny-ID/export/rwkv-1.pth` is for another version of RWKV
  |
  = note: trained on  RWKV-7 (x070) 2 x 64
  = note: found       RWKV-6 (x060) 2 x 64 in v6.pth",
    );
    refuses(
        "deep.pth",
        21,
        "\
error[ST4003]: runs/DATE-tiny-ID/export/rwkv-1.pth: found 2 tensors, expected one for each of 3 layers",
    );

    // A state that was turned round is still a state; its own base takes it, for what it is worth.
    let pth = case.path(run.join("export/rwkv-1.pth"));
    let bytes = fs::read(&pth).expect("a product");
    fs::write(&pth, &bytes[..bytes.len() - 100]).expect("written");
    let output = case.statetune(&["mount", "latest", "--for", "rwkv-pip", "--out", "out"]);
    assert_eq!(output.code, Some(21), "{output:?}");
    assert!(!case.path("out").exists());
}

#[test]
fn an_unwritable_folder() {
    let (case, _) = tuned();
    case.write("file", "");
    let output = case.statetune(&["mount", "latest", "--for", "ai00", "--out", "file/out"]);
    let expected = "\
error[ST4014]: cannot write the weights file `file/out`
  |
  = note: Not a directory (os error 20)
";
    assert_eq!((output.code, &*output.stderr), (Some(29), expected));
}

#[test]
fn a_state_in_other_forms() {
    let (case, run) = tuned();
    let read = |path: &str| TimeState::read(&case.path(path)).expect("a state");
    case.statetune(&["export", "latest", "--to", "st", "--out", "a.st"]).succeeds("a.st", "");
    case.statetune(&["export", "a.st", "--to", "pth", "--dtype", "fp32"]).succeeds("a.pth", "");
    let pth = read(run.join("export/rwkv-1.pth").to_str().expect("UTF-8"));
    for (x, y) in pth.wkv.iter().zip(read("a.pth").wkv) {
        assert!((x - y).abs().max().double_value(&[]) < 1e-3);
    }
    assert_eq!(open(&case, "a.pth").tensors().next().expect("a tensor").dtype(), Dtype::F32);
    let passport = |name: &str| Passport::of(&case.path(name)).expect("sound").expect("a passport");
    assert_eq!(passport("a.pth"), passport("a.st"));

    let refuses = |arguments: &[&str], message: &str| {
        let output = case.statetune(&[&["export", "a.st", "--to"], arguments].concat());
        assert_eq!((output.code, output.stderr.trim_end()), (Some(2), message));
    };
    refuses(
        &["safetensors"],
        "\
error[ST0208]: a state file in safetensors format must be a `.st`, because its tensor order depends on the extension
  |
  = help: pass `--to st`",
    );
    refuses(
        &["st"],
        "\
error[ST0206]: `a.st` would overwrite itself
  |
  = help: pass another file: `--out FILE`",
    );
    refuses(
        &["st", "--dtype", "bf16", "--out", "b.st"],
        "\
error[ST0207]: a `.st` is always fp16: web-rwkv reads nothing else
  |
  = help: remove `--dtype`",
    );
    case.write("text.pth", "no model");
    let output = case.statetune(&["export", "text.pth", "--to", "st"]);
    let expected = "error[ST4011]: text.pth: found a file of another kind, expected tensors by name, in a .pth or .safetensors file\n";
    assert_eq!((output.code, &*output.stderr), (Some(21), expected));
    assert!(!case.path("text.st").exists());
}

/// Names, order of axes and order of tensors, there and back, for every version.
#[test]
fn a_model_in_other_forms() {
    let expected = [
        (
            Version::V5,
            "blocks.0.att.time_first",
            &[1, 64][..],
            "blocks.1.ffn.time_mix_k",
            &[1, 1, 64][..],
        ),
        (
            Version::V6,
            "blocks.0.att.time_mix_w2",
            &[5, 64, 32],
            "blocks.1.att.time_decay_w1",
            &[64, 64],
        ),
        (Version::V7, "blocks.0.att.w1", &[32, 64], "blocks.1.att.v2", &[64, 32]),
    ];
    for (version, name, size, other, other_size) in expected {
        let case = Case::new();
        case.write("model.pth", checkpoint(Shape::for_scratch(version, 2, 64, 4096)));
        case.statetune(&["export", "model.pth", "--to", "st"]).succeeds("model.st", "");
        let st = open(&case, "model.st");
        assert_eq!(st.metadata()["format"], "pt");
        assert!(st.tensors().all(|tensor| tensor.dtype() == Dtype::F16));
        for (name, size) in [(name, size), (other, other_size)] {
            let found = st.get(name).unwrap_or_else(|| panic!("{version} has no {name}"));
            assert_eq!(found.shape(), size, "{version} {name}");
        }
        let back = ["export", "model.st", "--to", "pth", "--dtype", "bf16", "--out", "back.pth"];
        case.statetune(&back).succeeds("back.pth", "");
        // Small weights of bfloat16 lose digits in float16; names, shapes and order are exact.
        let (model, back) = (open(&case, "model.pth"), open(&case, "back.pth"));
        assert!(model.names().eq(back.names()), "{version}");
        let (model, back) = (case.path("model.pth"), case.path("back.pth"));
        let [model, back] = [model, back].map(|path| Weights::load(&path).expect("a model"));
        for ((name, x), (_, y)) in model.iter().zip(back.iter()) {
            let far = (x - y).abs().max().double_value(&[]);
            assert!(far < 1e-4, "{version} {name}: {far}");
        }
        let plain = ["export", "model.pth", "--to", "safetensors", "--dtype", "fp32"];
        case.statetune(&plain).succeeds("model.safetensors", "");
        let plain = Weights::load(&case.path("model.safetensors")).expect("a model");
        let same = plain.iter().all(|(name, x)| x.equal(&model.get(name, x.kind())));
        assert!(same, "{version}");
        let like =
            ["export", "model.safetensors", "--to", "pth", "--out", "b.pth", "--like", "model.pth"];
        case.statetune(&like).succeeds("b.pth", "");
        assert!(open(&case, "b.pth").names().eq(open(&case, "model.pth").names()), "{version}");
    }
}
