//! Which model a run starts from, and whether the weights are what the file says.

use std::path::PathBuf;

use super::{Faults, Plan, presets};
use crate::config::Tokenizer;
use crate::diagnostic::Diagnostic;
use crate::kernels::{HEAD_SIZE, Op};
use crate::model::Shape;

/// Where the model comes from.
#[derive(Clone, Debug)]
pub enum ModelPlan {
    /// A checkpoint, whose sizes count.
    Load(PathBuf),
    /// A new model.
    Scratch {
        /// Number of blocks.
        n_layer: u32,
        /// Channels of the residual stream.
        n_embd: u32,
        /// Rows of the embedding; the tokenizer's ids where nobody wrote it.
        vocab_size: Option<u32>,
    },
}

/// Decides where the model comes from; `None` when a fault was added.
pub(super) fn resolve(faults: &mut Faults<'_>) -> Option<ModelPlan> {
    let model = &faults.loaded.config.model;
    if let Tokenizer::File(path) = &model.tokenizer
        && !path.exists()
    {
        let message = format!("the vocabulary file `{}` does not exist", path.display());
        let fault = Diagnostic::error("ST3005", message)
            .help("relative paths start at the experiment file");
        faults.add("model.tokenizer", fault);
    }
    if let Some(preset) = model.preset {
        let (n_layer, n_embd) = presets::sizes(preset);
        for (key, written, of_preset) in
            [("model.n_layer", model.n_layer, n_layer), ("model.n_embd", model.n_embd, n_embd)]
        {
            if let Some(written) = written.filter(|&written| written != of_preset) {
                let message = format!("`{key}` is {written}, but the preset has {of_preset}");
                faults.add(
                    key,
                    Diagnostic::error("ST2110", message).help("delete one of the two lines"),
                );
            }
        }
    }
    if let Some(path) = &model.load_model {
        if !path.exists() {
            let message = format!("the weights file `{}` does not exist", path.display());
            let fault = Diagnostic::error("ST4001", message)
                .help("relative paths start at the experiment file");
            faults.add("model.load_model", fault);
        }
        return Some(ModelPlan::Load(path.clone()));
    }
    if !faults.tunes_weights() {
        let fault = Diagnostic::error(
            "ST2111",
            "state tuning needs a trained model, but there is no `model.load_model`",
        )
        .help("write the path of a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`")
        .help("or train a new model with `type = \"full\"`");
        faults.add("peft.type", fault);
        return None;
    }
    let of_preset = model.preset.map(presets::sizes);
    let n_layer = model.n_layer.or(of_preset.map(|sizes| sizes.0));
    let n_embd = model.n_embd.or(of_preset.map(|sizes| sizes.1));
    let (Some(n_layer), Some(n_embd)) = (n_layer, n_embd) else {
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
    let vocab_size = model.vocab_size.or(model.preset.map(|_| presets::VOCAB_SIZE));
    Some(ModelPlan::Scratch { n_layer, n_embd, vocab_size })
}

impl Plan {
    /// Compares the sizes of loaded weights with what the experiment file says about them, and with what
    /// the kernels can compute.
    ///
    /// # Errors
    /// The first contradiction, naming both sides.
    pub fn check_shape(&self, shape: &Shape) -> Result<(), Box<Diagnostic>> {
        let model = &self.config().model;
        let of_preset = model.preset.map(presets::sizes);
        let stated = [
            ("model.n_layer", "n_layer", model.n_layer, shape.n_layer),
            ("model.n_embd", "n_embd", model.n_embd, shape.n_embd),
            ("model.vocab_size", "vocab_size", model.vocab_size, shape.vocab_size),
            ("model.preset", "n_layer", of_preset.map(|sizes| sizes.0), shape.n_layer),
            ("model.preset", "n_embd", of_preset.map(|sizes| sizes.1), shape.n_embd),
        ];
        for (key, name, stated, found) in stated {
            let Some(stated) = stated.filter(|&stated| i64::from(stated) != found) else {
                continue;
            };
            let who = if key == "model.preset" { "preset" } else { "file" };
            let message =
                format!("the weights have `{name} = {found}`, but the {who} says {stated}");
            let fault = Diagnostic::error("ST4004", message)
                .label(format!("weights have {found}"))
                .note(format!(
                    "found RWKV-7 (x070), n_layer {}, n_embd {}, head_size {}, vocab {}",
                    shape.n_layer, shape.n_embd, shape.head_size, shape.vocab_size
                ))
                .help("delete the line, the shape always comes from the weights");
            return Err(Box::new(self.loaded.at(key, fault)));
        }
        if self.op == Op::Cpu && shape.head_size != HEAD_SIZE {
            let message = format!(
                "the model has heads of {} channels, the kernels need {HEAD_SIZE}",
                shape.head_size
            );
            let fault = Diagnostic::error("ST4006", message)
                .help("`op = \"reference\"` in `[train]` computes any head size, slowly");
            return Err(Box::new(self.loaded.at("model.load_model", fault)));
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
            (_, Tokenizer::World) => (
                "model.load_model",
                "set `model.tokenizer` to the vocabulary that the model was trained with",
            ),
        };
        let name = match tokenizer {
            Tokenizer::World => "the World tokenizer",
            Tokenizer::File(_) => "the tokenizer",
        };
        let message = format!("the model has {} token ids, but {name} has {ids}", shape.vocab_size);
        Err(Box::new(self.loaded.at(key, Diagnostic::error("ST4005", message).help(help))))
    }
}
