//! Which model a run starts from, and whether the weights are what the file says.

use std::path::{Path, PathBuf};

use super::{Faults, Plan, Purpose, sources};
use crate::arch::{HEAD_SIZE, Preset, Shape, Version};
use crate::config::{Config, Model, Tokenizer};
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::hub::{HubFile, is_on_hub};
use crate::peft::Peft;
use crate::words::grouped;

/// Rows of an embedding that may be left over when it is of the World tokenizer.
const SPARE_IDS: i64 = 1024;

/// The model that a run starts from, and its tokenizer.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// Where the weights come from.
    pub source: ModelSource,
    /// Where the vocabulary comes from.
    pub tokenizer: TokenizerPlan,
}

/// Where a vocabulary comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenizerPlan {
    /// The characters of the documents.
    Characters,
    /// The World vocabulary, which is built in.
    World,
    /// A vocabulary file.
    File(PathBuf),
}

impl TokenizerPlan {
    /// The word that stands for [`TokenizerPlan::World`] in files.
    pub const WORLD: &str = Tokenizer::WORLD;

    /// The tokenizer of an experiment.
    pub(super) fn of(config: &Config) -> TokenizerPlan {
        // Weights know the ids of their own tokenizer and no others.
        let is_new = config.model.load_model.is_none();
        match &config.model.tokenizer {
            Tokenizer::Auto if is_new && sources::uses_characters(config) => {
                TokenizerPlan::Characters
            }
            Tokenizer::Auto | Tokenizer::World => TokenizerPlan::World,
            Tokenizer::File(path) => TokenizerPlan::File(path.clone()),
        }
    }

    /// The tokenizer as a subject of messages.
    fn in_words(&self) -> Text {
        match self {
            Self::Characters => msg!(CHARACTERS_OF_DATA),
            Self::World => msg!(THE_WORLD_TOKENIZER),
            Self::File(_) => msg!(THE_TOKENIZER),
        }
    }

    /// The tokenizer that a command line names: `world`, `auto` or a file.
    pub fn named(name: &Path) -> TokenizerPlan {
        match Tokenizer::from(name.to_path_buf()) {
            Tokenizer::Auto | Tokenizer::World => TokenizerPlan::World,
            Tokenizer::File(path) => TokenizerPlan::File(path),
        }
    }
}

/// Where the weights of a model come from.
#[derive(Clone, Debug)]
pub enum ModelSource {
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
        /// Rows of the embedding; the number of ids of the tokenizer where the key is not set.
        vocab_size: Option<u32>,
        /// Whether a channel mix replaces the first time mix.
        pre_ffn: bool,
        /// Width of the matrices by which the head copies earlier tokens; 0: it does not.
        head_qk: u32,
    },
}

/// Weights on the hub: the file on this machine, once it was fetched.
fn on_hub(faults: &mut Faults<'_>, path: &Path, purpose: Purpose) -> Option<ModelSource> {
    let file = match HubFile::parse(path) {
        Ok(file) => file,
        Err(fault) => {
            faults.add("model.load_model", *fault);
            return None;
        }
    };
    if let Some(fetched) = file.fetched() {
        return Some(ModelSource::Load(fetched));
    }
    let help = msg!(PLAN_FETCHES_NOTHING);
    let message = msg!(NOT_ON_MACHINE_YET, file = file.to_string());
    let fault = Diagnostic::warning(message);
    match (purpose, as_written(&faults.loaded.config.model)) {
        (Purpose::Data, _) => {}
        (Purpose::Plan, Some(sizes)) => {
            let note = msg!(SHAPE_FROM_PRESET);
            faults.add("model.load_model", fault.note(note).help(help));
            return Some(sizes);
        }
        (Purpose::Plan, None) => {
            let message = msg!(SHAPE_UNKNOWN, file = file.to_string());
            let fault =
                Diagnostic::error(message).help(msg!(PRESET_SAYS_SHAPE)).help(msg!(RUN_FETCHES));
            faults.add("model.load_model", fault);
            return None;
        }
        _ => faults.add("model.load_model", fault.help(help)),
    }
    Some(ModelSource::Load(path.to_path_buf()))
}

/// A model of the shape that the file says; `None` where it does not.
fn as_written(model: &Model) -> Option<ModelSource> {
    let of_preset = model.preset;
    let version = model.version.or(of_preset.map(|sizes| sizes.version));
    Some(ModelSource::Scratch {
        version: version.unwrap_or(Version::NEWEST),
        n_layer: model.n_layer.or(of_preset.map(|sizes| sizes.n_layer))?,
        n_embd: model.n_embd.or(of_preset.map(|sizes| sizes.n_embd))?,
        vocab_size: model.vocab_size.or(model.preset.map(|_| Preset::VOCAB_SIZE)),
        pre_ffn: model.pre_ffn.is_some_and(|pre_ffn| pre_ffn > 0),
        head_qk: model.head_qk.unwrap_or(0),
    })
}

/// Decides where the model comes from; `None` when a fault was added.
pub(super) fn resolve(faults: &mut Faults<'_>, purpose: Purpose) -> Option<ModelSource> {
    let model = &faults.loaded.config.model;
    if let Tokenizer::File(path) = &model.tokenizer
        && !path.exists()
    {
        let message = msg!(VOCABULARY_DOES_NOT_EXIST, path);
        faults.add_missing("model.tokenizer", path, message);
    }
    if let Some(preset) = model.preset {
        check_preset(faults, preset);
    }
    if let Some(path) = &model.load_model {
        if is_on_hub(path) {
            return on_hub(faults, path, purpose);
        }
        if purpose != Purpose::Data && !path.exists() {
            let message = msg!(WEIGHTS_DO_NOT_EXIST, path);
            faults.add_missing("model.load_model", path, message);
        }
        return Some(ModelSource::Load(path.clone()));
    }
    if !faults.tunes_weights() {
        let who = match faults.loaded.config.peft {
            Peft::State(_) => msg!(STATE_TUNING),
            _ => msg!(AN_ADAPTER),
        };
        let message = msg!(METHOD_NEEDS_MODEL, who);
        let fault =
            Diagnostic::error(message).help(msg!(WRITE_LOAD_MODEL)).help(msg!(OR_TRAIN_NEW_MODEL));
        faults.add("peft.type", fault);
        return None;
    }
    let written = as_written(model);
    let Some(ModelSource::Scratch { version, n_layer, n_embd, pre_ffn, .. }) = written else {
        let fault = Diagnostic::error(msg!(NEW_MODEL_NEEDS_SIZE))
            .note(msg!(TRAINS_FROM_SCRATCH))
            .help(msg!(CHOOSE_SIZE))
            .help(msg!(OR_START_FROM_CHECKPOINT));
        let place = if faults.loaded.place("model").is_some() { "model" } else { "peft.type" };
        faults.add(place, fault);
        return None;
    };
    if i64::from(n_embd) % HEAD_SIZE != 0 {
        let message = msg!(N_EMBD_NOT_MULTIPLE, n_embd, head_size = HEAD_SIZE);
        let below = n_embd - n_embd % HEAD_SIZE as u32;
        let above = below.saturating_add(HEAD_SIZE as u32);
        let nearest = Text::list(Join::Or, [below, above].into_iter().filter(|n| *n > 0));
        let fault = Diagnostic::error(message).label(msg!(NEAREST_ARE, nearest));
        faults.add("model.n_embd", fault);
    }
    if !version.has_options() {
        for key in options_in_use(model) {
            faults.add(key, without_option(version, key));
        }
    }
    if pre_ffn && n_layer == 1 {
        let message = msg!(PRE_FFN_ALONE);
        faults.add("model.pre_ffn", Diagnostic::error(message));
    }
    written
}

/// Compares what is written beside a preset with what the preset says.
fn check_preset(faults: &mut Faults<'_>, preset: Preset) {
    let model = &faults.loaded.config.model;
    let version = model.version.map(|version| version.code().to_string());
    for (key, written, of_preset) in [
        ("model.version", version, preset.version.code().to_string()),
        ("model.n_layer", model.n_layer.map(|n| n.to_string()), preset.n_layer.to_string()),
        ("model.n_embd", model.n_embd.map(|n| n.to_string()), preset.n_embd.to_string()),
    ] {
        if let Some(written) = written.filter(|written| *written != of_preset) {
            let message = msg!(CONTRADICTS_PRESET, key, written, of_preset);
            let fault = Diagnostic::error(message).help(msg!(DELETE_ONE_LINE));
            faults.add(key, fault);
        }
    }
}

/// The options in use that not every version has.
fn options_in_use(model: &Model) -> impl Iterator<Item = &'static str> {
    [("model.pre_ffn", model.pre_ffn), ("model.head_qk", model.head_qk)]
        .into_iter()
        .filter(|(_, value)| value.is_some_and(|value| value > 0))
        .map(|(key, _)| key)
}

/// The refusal of an option that models of this version do not have.
fn without_option(version: Version, key: &str) -> Diagnostic {
    let why = match key {
        "model.pre_ffn" => msg!(PRE_FFN_IN_RWKV7),
        _ => msg!(TINY_ATT_IN_RWKV7),
    };
    Diagnostic::error(msg!(KEY_NOT_FOR_VERSION, key, version = version.to_string()))
        .note(why)
        .help(msg!(DELETE_OR_ZERO))
}

impl Plan {
    /// Compares loaded weights with what the experiment file says about them, and with what the kernels
    /// can compute.
    ///
    /// # Errors
    /// The first contradiction, naming both sides.
    pub fn check_shape(&self, shape: &Shape) -> Result<(), Box<Diagnostic>> {
        let model = &self.experiment.config().model;
        let at = |key: &str, fault: Diagnostic| Box::new(self.experiment.at(key, fault));
        if !shape.version().has_options()
            && let Some(key) = options_in_use(model).next()
        {
            return Err(at(key, without_option(shape.version(), key)));
        }
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let code = |version: Version| version.code().to_string();
        let of_preset = model.preset;
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
            ("model.version", "version", model.version.map(code), &version),
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
            let message = match key {
                "model.preset" => msg!(WEIGHTS_CONTRADICT_PRESET, name, found, stated),
                _ => msg!(WEIGHTS_CONTRADICT_FILE, name, found, stated),
            };
            let fault = Diagnostic::error(message)
                .label(msg!(WEIGHTS_HAVE, found))
                .note(msg!(
                    FOUND_SHAPE,
                    version = shape.version().to_string(),
                    n_layer = shape.n_layer,
                    n_embd = shape.n_embd,
                    head_size = shape.head_size,
                    vocab = shape.vocab_size
                ))
                .help(msg!(DELETE_SHAPE_LINE));
            return Err(at(key, fault));
        }
        if !self.train.op.computes_heads_of(shape.head_size) {
            let message = msg!(HEAD_SIZE_NOT_FOR_KERNELS, channels = shape.head_size);
            let fault = Diagnostic::error(message).help(msg!(CHUNK_COMPUTES_ANY_HEAD));
            return Err(at("model.load_model", fault));
        }
        Ok(())
    }

    /// Whether the documents are token ids, no text is generated, and no tokenizer is named: weights of any vocabulary train.
    pub fn needs_no_tokenizer(&self) -> bool {
        let config = self.experiment.config();
        config.model.tokenizer == Tokenizer::Auto
            && matches!(self.model.source, ModelSource::Load(_))
            && !sources::has_text(&config.data)
            && config.sample.prompts.is_empty()
            && config.sample.probe.is_empty()
    }

    /// Compares the ids that a model knows with those of the tokenizer, of which there are `ids`.
    ///
    /// # Errors
    /// The tokenizer has ids that the model does not know, or was not named although the weights are not of the World
    /// tokenizer.
    pub fn check_vocabulary(&self, shape: &Shape, ids: usize) -> Result<(), Box<Diagnostic>> {
        let config = self.experiment.config();
        if self.needs_no_tokenizer() {
            return Ok(());
        }
        let is_world = (ids as i64..ids as i64 + SPARE_IDS).contains(&shape.vocab_size);
        if config.model.tokenizer == Tokenizer::Auto
            && matches!(self.model.source, ModelSource::Load(_))
            && sources::has_text(&config.data)
            && !is_world
        {
            let message = msg!(WEIGHTS_NOT_OF_WORLD, ids = shape.vocab_size, found = ids);
            let fault = Diagnostic::error(message)
                .note(msg!(IDS_OF_OTHER_TOKENIZER))
                .help(msg!(NAME_TOKENIZER_OF_WEIGHTS))
                .help(msg!(OR_NEW_MODEL_OF_DATA));
            return Err(Box::new(self.experiment.at("model.load_model", fault)));
        }
        if shape.vocab_size >= ids as i64 {
            return Ok(());
        }
        let tokenizer = &self.model.tokenizer;
        let (key, help) = match (&self.model.source, tokenizer) {
            (ModelSource::Scratch { .. }, _) => ("model.vocab_size", msg!(DELETE_VOCAB_LINE)),
            (_, TokenizerPlan::File(_)) => ("model.tokenizer", msg!(NAME_VOCABULARY)),
            (_, TokenizerPlan::Characters | TokenizerPlan::World) => {
                let is_option = self.experiment.is_set_over_file("model.tokenizer");
                let key = if is_option { "model.tokenizer" } else { "model.load_model" };
                (key, msg!(SET_TOKENIZER))
            }
        };
        let name = tokenizer.in_words();
        let message = msg!(
            NAMED_TOKENIZER_SIZE,
            ids = grouped(shape.vocab_size.unsigned_abs()),
            name,
            found = grouped(ids as u64)
        );
        Err(Box::new(self.experiment.at(key, Diagnostic::error(message).help(help))))
    }
}

impl Plan {
    /// The warning that the base model, with `rows` token ids, predicts no better than chance before training; none about a
    /// new model.
    pub fn chance_before_training(&self, rows: i64, val_loss: f64) -> Option<Diagnostic> {
        let ModelSource::Load(model) = &self.model.source else { return None };
        let chance = (rows as f64).ln();
        if val_loss < chance {
            return None;
        }
        let loss = |loss: f64| format!("{loss:.2}");
        let message =
            msg!(BASE_IS_NO_BETTER_THAN_CHANCE, val_loss = loss(val_loss), chance = loss(chance));
        let tokenizer = match &self.model.tokenizer {
            TokenizerPlan::File(path) => path.display().to_string(),
            _ => TokenizerPlan::WORLD.to_string(),
        };
        let warning = Diagnostic::warning(message)
            .note(msg!(CHANCE_IS_LN_VOCABULARY, rows = grouped(rows.unsigned_abs())))
            .note(msg!(TOKENIZER_OR_LANGUAGE_IS_OTHER))
            .help(msg!(GENERATE_SHOWS_BASE, model = model.display(), tokenizer));
        let is_written = self.experiment.place("model.tokenizer").is_some();
        let key = if is_written { "model.tokenizer" } else { "model.load_model" };
        Some(self.experiment.at(key, warning)).filter(|one| !one.is_allowed())
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
        faults.into_iter().map(|fault| (fault.code, fault.message.to_string())).collect()
    }

    /// What weights of this shape contradict in `[model]`.
    fn contradicted(model: &str, shape: &Shape) -> Option<(&'static str, String)> {
        let plan = planned(&format!("load_model = \"model.pth\"\n{model}")).expect("a sound plan");
        plan.check_shape(shape).err().map(|fault| (fault.code, fault.message.to_string()))
    }

    #[test]
    fn a_new_model_takes_its_sizes_from_the_file() {
        let scratch = |model: &str| match planned(model).expect("a sound plan").model.source {
            ModelSource::Scratch { version, n_layer, n_embd, vocab_size, pre_ffn, head_qk } => {
                (version, n_layer, n_embd, vocab_size, pre_ffn, head_qk)
            }
            ModelSource::Load(_) => unreachable!("there is no load_model"),
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
                ("ST2114", "`model.pre_ffn` does not apply to an RWKV-7 (x070) model".to_string()),
                ("ST2114", "`model.head_qk` does not apply to an RWKV-7 (x070) model".to_string()),
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
            says("`version = x060`, but the experiment says x052")
        );
        assert_eq!(
            contradicted("preset = \"rwkv6-0.4b\"", &shape),
            says("`n_layer = 12`, but the preset says 24")
        );
        assert_eq!(
            contradicted("pre_ffn = 1", &shape),
            says("`pre_ffn = 0`, but the experiment says 1")
        );
        let options = Shape { pre_ffn: true, head_qk: 32, ..shape };
        assert_eq!(contradicted("", &options), None);
        assert_eq!(
            contradicted("head_qk = 16", &options),
            says("`head_qk = 32`, but the experiment says 16")
        );
        let (code, _) = contradicted("pre_ffn = 1", &Shape::for_scratch(Version::V7, 2, 64, 9))
            .expect("a contradiction");
        assert_eq!(code, "ST2114");
    }
}
