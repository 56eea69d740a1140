//! Which model a run starts from, and whether the weights are what the file says.

use std::path::{Path, PathBuf};

use super::{Faults, Plan, Purpose, presets};
use crate::arch::{HEAD_SIZE, Shape, Version};
use crate::config::{Model, ModelVersion, Peft, Tokenizer};
use crate::diagnostic::Diagnostic;
use crate::hub::{HubFile, is_on_hub};

/// Where the model comes from.
#[derive(Clone, Debug)]
pub enum ModelPlan {
    /// A checkpoint, whose sizes count.
    Load(PathBuf),
    /// A new model.
    Scratch {
        /// Version of the architecture.
        version: Version,
        /// Number of blocks.
        n_layer: u32,
        /// Channels of the residual stream.
        n_embd: u32,
        /// Rows of the embedding; the tokenizer's ids where nobody wrote it.
        vocab_size: Option<u32>,
        /// Whether a channel mix stands in the place of the first time mix.
        pre_ffn: bool,
        /// Width of the matrices by which the head copies earlier tokens; 0: it does not.
        head_qk: u32,
    },
}

/// Weights on the hub: the file on this machine, once it was fetched.
fn on_hub(faults: &mut Faults<'_>, path: &Path, purpose: Purpose) -> Option<ModelPlan> {
    let file = match HubFile::parse(path) {
        Ok(file) => file,
        Err(fault) => {
            faults.add("model.load_model", *fault);
            return None;
        }
    };
    if let Some(fetched) = file.fetched() {
        return Some(ModelPlan::Load(fetched));
    }
    let help = "`check`, `plan` and `watch` fetch nothing; a command that computes with it does";
    let message = format!("`{file}` is not on this machine yet");
    let fault = Diagnostic::warning("ST4021", message);
    match (purpose, as_written(&faults.loaded.config.model)) {
        (Purpose::Data, _) => {}
        (Purpose::Plan, Some(sizes)) => {
            let note = "its shape is taken from the preset, or from `n_layer` and `n_embd`";
            faults.add("model.load_model", fault.note(note).help(help));
            return Some(sizes);
        }
        (Purpose::Plan, None) => {
            let message = format!("`{file}` is not on this machine, and nothing says its shape");
            let fault = Diagnostic::error("ST4020", message)
                .help("a `preset` beside it says the shape: `preset = \"rwkv7-0.1b\"`")
                .help("`statetune run` fetches it");
            faults.add("model.load_model", fault);
            return None;
        }
        _ => faults.add("model.load_model", fault.help(help)),
    }
    Some(ModelPlan::Load(path.to_path_buf()))
}

/// A model of the shape that the file says; `None` where it does not.
fn as_written(model: &Model) -> Option<ModelPlan> {
    let of_preset = model.preset.map(presets::sizes);
    let version = model.version.map(version_of).or(of_preset.map(|sizes| sizes.version));
    Some(ModelPlan::Scratch {
        version: version.unwrap_or(Version::V7),
        n_layer: model.n_layer.or(of_preset.map(|sizes| sizes.n_layer))?,
        n_embd: model.n_embd.or(of_preset.map(|sizes| sizes.n_embd))?,
        vocab_size: model.vocab_size.or(model.preset.map(|_| presets::VOCAB_SIZE)),
        pre_ffn: model.pre_ffn.is_some_and(|pre_ffn| pre_ffn > 0),
        head_qk: model.head_qk.unwrap_or(0),
    })
}

/// Decides where the model comes from; `None` when a fault was added.
pub(super) fn resolve(faults: &mut Faults<'_>, purpose: Purpose) -> Option<ModelPlan> {
    let model = &faults.loaded.config.model;
    if let Tokenizer::File(path) = &model.tokenizer
        && !path.exists()
    {
        let message = format!("the vocabulary file `{}` does not exist", path.display());
        let fault = Diagnostic::error("ST3005", message)
            .help("relative paths start at the experiment file");
        faults.add("model.tokenizer", fault);
    }
    let of_preset = model.preset.map(presets::sizes);
    if let Some(sizes) = of_preset {
        check_preset(faults, &sizes);
    }
    if let Some(path) = &model.load_model {
        if is_on_hub(path) {
            return on_hub(faults, path, purpose);
        }
        if purpose != Purpose::Data && !path.exists() {
            let message = format!("the weights file `{}` does not exist", path.display());
            let fault = Diagnostic::error("ST4001", message)
                .help("relative paths start at the experiment file");
            faults.add("model.load_model", fault);
        }
        return Some(ModelPlan::Load(path.clone()));
    }
    if !faults.tunes_weights() {
        let who = match faults.loaded.config.peft {
            Peft::State(_) => "state tuning",
            _ => "an adapter",
        };
        let message = format!("{who} needs a trained model, but there is no `model.load_model`");
        let fault = Diagnostic::error("ST2111", message)
            .help("write the path of a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`")
            .help("or train a new model with `type = \"full\"`");
        faults.add("peft.type", fault);
        return None;
    }
    let written = as_written(model);
    let Some(ModelPlan::Scratch { version, n_layer, n_embd, pre_ffn, .. }) = written else {
        let fault =
            Diagnostic::error("ST2112", "a new model needs `n_layer` and `n_embd`, or a `preset`")
                .note("there is no `load_model`, so the model is trained from scratch")
                .help("choose a size, for example `preset = \"rwkv7-0.1b\"`")
                .help("or start from a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`");
        let place = if faults.loaded.place("model").is_some() { "model" } else { "peft.type" };
        faults.add(place, fault);
        return None;
    };
    if i64::from(n_embd) % HEAD_SIZE != 0 {
        let message = format!("`n_embd = {n_embd}` is no multiple of the head size {HEAD_SIZE}");
        let below = n_embd - n_embd % HEAD_SIZE as u32;
        let above = below.saturating_add(HEAD_SIZE as u32);
        let nearest = if below > 0 { format!("{below} or {above}") } else { above.to_string() };
        let fault = Diagnostic::error("ST2113", message).label(format!("nearest: {nearest}"));
        faults.add("model.n_embd", fault);
    }
    if version == Version::V7 {
        for key in unknown_to_rwkv7(model) {
            faults.add(key, not_in_rwkv7(key));
        }
    }
    if pre_ffn && n_layer == 1 {
        let message = "`pre_ffn = 1` leaves a model of one layer without a time mix";
        faults.add("model.pre_ffn", Diagnostic::error("ST2115", message));
    }
    written
}

/// Compares what is written beside a preset with what the preset says.
fn check_preset(faults: &mut Faults<'_>, preset: &presets::Sizes) {
    let model = &faults.loaded.config.model;
    let version = model.version.map(|version| version_of(version).code().to_string());
    for (key, written, of_preset) in [
        ("model.version", version, preset.version.code().to_string()),
        ("model.n_layer", model.n_layer.map(|n| n.to_string()), preset.n_layer.to_string()),
        ("model.n_embd", model.n_embd.map(|n| n.to_string()), preset.n_embd.to_string()),
    ] {
        if let Some(written) = written.filter(|written| *written != of_preset) {
            let message = format!("`{key}` is {written}, but the preset has {of_preset}");
            let fault = Diagnostic::error("ST2110", message).help("delete one of the two lines");
            faults.add(key, fault);
        }
    }
}

fn version_of(version: ModelVersion) -> Version {
    match version {
        ModelVersion::X052 => Version::V5,
        ModelVersion::X060 => Version::V6,
        ModelVersion::X070 => Version::V7,
    }
}

/// The options in use that RWKV-7 does not have.
fn unknown_to_rwkv7(model: &Model) -> impl Iterator<Item = &'static str> {
    [("model.pre_ffn", model.pre_ffn), ("model.head_qk", model.head_qk)]
        .into_iter()
        .filter(|(_, value)| value.is_some_and(|value| value > 0))
        .map(|(key, _)| key)
}

fn not_in_rwkv7(key: &str) -> Diagnostic {
    let why = match key {
        "model.pre_ffn" => {
            "it takes the place of the first time mix, whose values all later layers of RWKV-7 need"
        }
        _ => "it was given up before RWKV-7, in which nobody has defined it",
    };
    Diagnostic::error("ST2114", format!("`{key}` has no meaning for an {} model", Version::V7))
        .note(why)
        .help("delete the line, or write 0")
}

impl Plan {
    /// Compares loaded weights with what the experiment file says about them, and with what the kernels
    /// can compute.
    ///
    /// # Errors
    /// The first contradiction, naming both sides.
    pub fn check_shape(&self, shape: &Shape) -> Result<(), Box<Diagnostic>> {
        let model = &self.config().model;
        let at = |key: &str, fault: Diagnostic| Box::new(self.loaded.at(key, fault));
        if shape.version() == Version::V7
            && let Some(key) = unknown_to_rwkv7(model).next()
        {
            return Err(at(key, not_in_rwkv7(key)));
        }
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let code = |version: Version| version.code().to_string();
        let of_preset = model.preset.map(presets::sizes);
        let version = shape.version().code().to_string();
        let [n_layer, n_embd, vocab_size, pre_ffn, head_qk] = [
            shape.n_layer,
            shape.n_embd,
            shape.vocab_size,
            i64::from(shape.pre_ffn),
            shape.head_qk,
        ]
        .map(|n| n.to_string());
        let stated = [
            ("model.version", "version", model.version.map(|v| code(version_of(v))), &version),
            ("model.n_layer", "n_layer", number(model.n_layer), &n_layer),
            ("model.n_embd", "n_embd", number(model.n_embd), &n_embd),
            ("model.vocab_size", "vocab_size", number(model.vocab_size), &vocab_size),
            ("model.pre_ffn", "pre_ffn", number(model.pre_ffn), &pre_ffn),
            ("model.head_qk", "head_qk", number(model.head_qk), &head_qk),
            ("model.preset", "version", of_preset.map(|sizes| code(sizes.version)), &version),
            ("model.preset", "n_layer", number(of_preset.map(|sizes| sizes.n_layer)), &n_layer),
            ("model.preset", "n_embd", number(of_preset.map(|sizes| sizes.n_embd)), &n_embd),
        ];
        for (key, name, stated, found) in stated {
            let Some(stated) = stated.filter(|stated| stated != found) else {
                continue;
            };
            let who = if key == "model.preset" { "preset" } else { "file" };
            let message =
                format!("the weights have `{name} = {found}`, but the {who} says {stated}");
            let fault = Diagnostic::error("ST4004", message)
                .label(format!("weights have {found}"))
                .note(format!(
                    "found {}, n_layer {}, n_embd {}, head_size {}, vocab {}",
                    shape.version(),
                    shape.n_layer,
                    shape.n_embd,
                    shape.head_size,
                    shape.vocab_size
                ))
                .help("delete the line, the shape always comes from the weights");
            return Err(at(key, fault));
        }
        if !self.op.computes_heads_of(shape.head_size) {
            let message = format!(
                "the model has heads of {} channels, the kernels need a multiple of 8 up to 256",
                shape.head_size
            );
            let fault = Diagnostic::error("ST4006", message)
                .help("`op = \"chunk\"` in `[train]` computes any head size");
            return Err(at("model.load_model", fault));
        }
        Ok(())
    }

    /// Compares the ids that a model knows with those of the tokenizer, of which there are `ids`.
    ///
    /// # Errors
    /// The tokenizer has ids that the model does not know.
    pub fn check_vocabulary(&self, shape: &Shape, ids: usize) -> Result<(), Box<Diagnostic>> {
        if shape.vocab_size >= ids as i64 {
            return Ok(());
        }
        let tokenizer = &self.config().model.tokenizer;
        let (key, help) = match (&self.model, tokenizer) {
            (ModelPlan::Scratch { .. }, _) => (
                "model.vocab_size",
                "delete the line: a new model takes its size from the tokenizer",
            ),
            (_, Tokenizer::File(_)) => {
                ("model.tokenizer", "name the vocabulary that the model was trained with")
            }
            (_, Tokenizer::Auto | Tokenizer::World) => (
                "model.load_model",
                "set `model.tokenizer` to the vocabulary that the model was trained with",
            ),
        };
        let name = match tokenizer {
            Tokenizer::Auto if self.characters => "the vocabulary of the data's characters",
            Tokenizer::Auto | Tokenizer::World => "the World tokenizer",
            Tokenizer::File(_) => "the tokenizer",
        };
        let message = format!("the model has {} token ids, but {name} has {ids}", shape.vocab_size);
        Err(Box::new(self.loaded.at(key, Diagnostic::error("ST4005", message).help(help))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};
    use crate::plan::Purpose;
    use crate::plan::tests::no_gpu;

    /// Plans full tuning of a model with these lines in its `[model]`.
    fn planned(model: &str) -> Result<Plan, Vec<Diagnostic>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        write("data.jsonl", "");
        write("model.pth", "");
        let text = format!(
            "format = 1\nname = \"test\"\n[data]\ndata_file = \"data.jsonl\"\n[model]\n{model}\n\
             [peft]\ntype = \"full\"\n[schedule]\nlr_init = 1e-3\nlr_final = 1e-4\n"
        );
        let file = write("experiment.toml", &text);
        let loaded = load(&file, &Overrides::default()).expect("a sound file");
        super::super::resolve(loaded, Purpose::Run, folder.path().to_path_buf(), no_gpu)
    }

    fn refused(model: &str) -> Vec<(&'static str, String)> {
        let faults = planned(model).expect_err("to be refused");
        faults.into_iter().map(|fault| (fault.code, fault.message)).collect()
    }

    /// What weights of this shape contradict in `[model]`.
    fn contradicted(model: &str, shape: &Shape) -> Option<(&'static str, String)> {
        let plan = planned(&format!("load_model = \"model.pth\"\n{model}")).expect("a sound plan");
        plan.check_shape(shape).err().map(|fault| (fault.code, fault.message))
    }

    #[test]
    fn a_new_model_takes_its_sizes_from_the_file() {
        let scratch = |model: &str| match planned(model).expect("a sound plan").model {
            ModelPlan::Scratch { version, n_layer, n_embd, vocab_size, pre_ffn, head_qk } => {
                (version, n_layer, n_embd, vocab_size, pre_ffn, head_qk)
            }
            ModelPlan::Load(_) => unreachable!("there is no load_model"),
        };
        assert_eq!(
            scratch("n_layer = 2\nn_embd = 64\npre_ffn = 0\nhead_qk = 0"),
            (Version::V7, 2, 64, None, false, 0)
        );
        assert_eq!(
            scratch("version = \"x060\"\nn_layer = 2\nn_embd = 64\npre_ffn = 1\nhead_qk = 32"),
            (Version::V6, 2, 64, None, true, 32)
        );
        assert_eq!(
            scratch("preset = \"rwkv5-1.5b\""),
            (Version::V5, 24, 2048, Some(65536), false, 0)
        );
    }

    #[test]
    fn what_does_not_fit_a_new_model_is_refused() {
        let sizes = "n_layer = 2\nn_embd = 64";
        assert_eq!(
            refused(&format!("{sizes}\npre_ffn = 1\nhead_qk = 8")),
            [
                ("ST2114", "`model.pre_ffn` has no meaning for an RWKV-7 (x070) model".to_string()),
                ("ST2114", "`model.head_qk` has no meaning for an RWKV-7 (x070) model".to_string()),
            ]
        );
        assert_eq!(
            refused("preset = \"rwkv6-1.6b\"\nversion = \"x052\"\nn_layer = 12"),
            [
                ("ST2110", "`model.version` is x052, but the preset has x060".to_string()),
                ("ST2110", "`model.n_layer` is 12, but the preset has 24".to_string()),
            ]
        );
        let [(code, _)] = &refused("version = \"x052\"\nn_layer = 1\nn_embd = 64\npre_ffn = 1")[..]
        else {
            panic!("one fault")
        };
        assert_eq!(*code, "ST2115");
    }

    #[test]
    fn weights_are_compared_with_the_file() {
        let shape = Shape::for_scratch(Version::V6, 12, 768, 65536);
        let says = |text: &str| Some(("ST4004", format!("the weights have {text}")));
        assert_eq!(contradicted("preset = \"rwkv6-0.1b\"\npre_ffn = 0\nhead_qk = 0", &shape), None);
        assert_eq!(
            contradicted("preset = \"rwkv7-0.1b\"", &shape),
            says("`version = x060`, but the preset says x070")
        );
        assert_eq!(
            contradicted("version = \"x052\"", &shape),
            says("`version = x060`, but the file says x052")
        );
        assert_eq!(
            contradicted("preset = \"rwkv6-0.4b\"", &shape),
            says("`n_layer = 12`, but the preset says 24")
        );
        assert_eq!(contradicted("pre_ffn = 1", &shape), says("`pre_ffn = 0`, but the file says 1"));
        let options = Shape { pre_ffn: true, head_qk: 32, ..shape };
        assert_eq!(contradicted("", &options), None);
        assert_eq!(
            contradicted("head_qk = 16", &options),
            says("`head_qk = 32`, but the file says 16")
        );
        let (code, _) = contradicted("pre_ffn = 1", &Shape::for_scratch(Version::V7, 2, 64, 9))
            .expect("a contradiction");
        assert_eq!(code, "ST2114");
    }
}
