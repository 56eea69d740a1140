//! The passport of an exported file: what the file is, what it was made from, and what it fits.
//!
//! A state or an adapter fits one set of weights, and its tensors do not say which. The passport does: in the metadata
//! of a `.st` or `.safetensors`, and as `NAME.json` beside a `.pth`, never inside, since programs count the tensors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use statetune_core::bounded::read_at_most;
use statetune_core::diagnostic::{Text, msg};
use statetune_core::tensorfile::{TensorFile, WeightsError};

use super::files::write_text;
use crate::model::{Shape, fingerprint, fingerprint_without_states};

/// The key under which safetensors metadata holds a passport, as JSON.
pub(super) const METADATA_KEY: &str = "statetune.passport";

/// The largest passport, in MiB.
const MOST_MIB: u64 = 16;

/// What an exported file is and where it comes from. Unknown fields are absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Passport {
    /// Version of statetune that wrote the file.
    pub statetune: String,
    /// What the file holds.
    #[serde(rename = "product")]
    pub kind: ExportKind,
    /// The model that the file fits, or holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSizes>,
    /// The weights that were tuned; absent for a model trained from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseWeights>,
    /// The table `[peft]` with every option, or how the file was made from other files.
    pub method: Value,
    /// The table `[quant]`; absent when the base weights were not quantized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<Value>,
    /// sha256 of the vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The prompt in the training documents, with `{}` for the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Context length in training, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx_len: Option<u32>,
    /// Name of the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Mini-epochs done when the file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// sha256 of the training documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// sha256 of the settings that affect results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// What an exported file holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportKind {
    /// The initial states of all layers.
    State,
    /// Low-rank updates of weights, or trained weights alone.
    Adapter,
    /// A whole model.
    Model,
}

/// The sizes of a model, in the words of the experiment file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ModelSizes {
    /// Version of the architecture: `x052`, `x060` or `x070`.
    pub version: String,
    /// Number of blocks.
    pub n_layer: i64,
    /// Channels of the residual stream, C.
    pub n_embd: i64,
    /// Heads of a time mix.
    pub n_head: i64,
    /// Channels of a head.
    pub head_size: i64,
    /// Rows of the embedding.
    pub vocab_size: i64,
}

impl From<&Shape> for ModelSizes {
    fn from(shape: &Shape) -> ModelSizes {
        ModelSizes {
            version: shape.version().code().to_string(),
            n_layer: shape.n_layer,
            n_embd: shape.n_embd,
            n_head: shape.n_head,
            head_size: shape.head_size,
            vocab_size: shape.vocab_size,
        }
    }
}

/// The checkpoint that was tuned.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BaseWeights {
    /// File name without the folder.
    pub file: String,
    /// See [`crate::model::fingerprint`].
    pub fingerprint: String,
}

impl BaseWeights {
    /// The record of the weights at `path`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(path: &Path) -> Result<BaseWeights, WeightsError> {
        Ok(BaseWeights::new(path, fingerprint(path)?))
    }

    /// The record of the weights at `path` without the initial states that the file may hold.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn without_states(path: &Path) -> Result<BaseWeights, WeightsError> {
        Ok(BaseWeights::new(path, fingerprint_without_states(path)?))
    }

    /// The record of the weights at `path` with this fingerprint.
    pub fn new(path: &Path, fingerprint: String) -> BaseWeights {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        BaseWeights { file, fingerprint }
    }
}

/// A passport as written: with the schema name first.
#[derive(Deserialize, Serialize)]
#[serde(tag = "schema")]
enum Versioned<P> {
    #[serde(rename = "statetune.passport/1")]
    V1(P),
}

/// A passport could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum PassportError {
    /// The exported file.
    #[error(transparent)]
    Product(#[from] WeightsError),
    /// The passport file exists but could not be read.
    Read {
        /// The passport file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Not a passport, or damaged.
    Form {
        /// The passport file, or the exported file that contains the passport.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl PassportError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Product(error) => error.text(),
            Self::Read { path, .. } => msg!(CANNOT_READ_PASSPORT, path),
            Self::Form { path, .. } => msg!(NOT_A_PASSPORT, path),
        }
    }
}

impl PassportError {
    /// The code of the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Product(error) => error.code(),
            Self::Read { .. } | Self::Form { .. } => "ST8001",
        }
    }
}

impl Passport {
    /// A passport with these fields and nothing else.
    pub fn new(kind: ExportKind, model: ModelSizes, method: Value) -> Passport {
        Passport { model: Some(model), ..Passport::of_all(&[], kind, method) }
    }

    /// The passport of a file made from files with these passports, `None` for a file without: holds the fields on
    /// which all of them agree.
    pub fn of_all(passports: &[Option<Passport>], kind: ExportKind, method: Value) -> Passport {
        fn common<T: Clone + PartialEq>(
            passports: &[Option<Passport>],
            field: impl Fn(&Passport) -> &Option<T>,
        ) -> Option<T> {
            let mut values =
                passports.iter().map(|one| one.as_ref().and_then(|one| field(one).as_ref()));
            let first = values.next()??;
            values.all(|value| value == Some(first)).then(|| first.clone())
        }
        Passport {
            statetune: env!("CARGO_PKG_VERSION").to_string(),
            kind,
            method,
            model: common(passports, |one| &one.model),
            base: common(passports, |one| &one.base),
            quant: common(passports, |one| &one.quant),
            tokenizer: common(passports, |one| &one.tokenizer),
            template: common(passports, |one| &one.template),
            ctx_len: common(passports, |one| &one.ctx_len),
            run: common(passports, |one| &one.run),
            epochs: common(passports, |one| &one.epochs),
            data: common(passports, |one| &one.data),
            config: common(passports, |one| &one.config),
        }
    }

    /// The passport of an exported file: from its metadata, or from the passport file beside a `.pth`. `None` for a
    /// file without one, such as a file from another program.
    ///
    /// # Errors
    /// An exported file or passport file that cannot be read or parsed.
    pub fn of(exported: &Path) -> Result<Option<Passport>, PassportError> {
        let file = TensorFile::open(exported)?;
        if let Some(text) = file.metadata().get(METADATA_KEY) {
            return parse(exported, text.as_bytes()).map(Some);
        }
        match Passport::read(&Passport::beside(exported)) {
            Err(PassportError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// The passport in a passport file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a passport.
    pub fn read(path: &Path) -> Result<Passport, PassportError> {
        let text = read_at_most(MOST_MIB, path)
            .map_err(|source| PassportError::Read { path: path.to_path_buf(), source })?;
        parse(path, &text)
    }

    /// The path of the passport file: `NAME.json` for `NAME.pth`.
    pub fn beside(exported: &Path) -> PathBuf {
        exported.with_extension("json")
    }

    /// Writes the passport file of `exported`. A device or a pipe has none beside it.
    ///
    /// # Errors
    /// A file that cannot be written; no partial file is left behind.
    pub fn save_beside(&self, exported: &Path) -> Result<(), WeightsError> {
        if fs::metadata(exported).is_ok_and(|found| !found.is_file()) {
            return Ok(());
        }
        let path = Passport::beside(exported);
        let text = serde_json::to_string_pretty(&Versioned::V1(self)).expect("plain data") + "\n";
        write_text(&path, &text)
    }

    /// The metadata of a safetensors file.
    pub fn metadata(&self) -> [(&'static str, String); 2] {
        let text = serde_json::to_string(&Versioned::V1(self)).expect("plain data");
        [("format", "pt".to_string()), (METADATA_KEY, text)]
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Passport, PassportError> {
    match serde_json::from_slice(text) {
        Ok(Versioned::V1(passport)) => Ok(passport),
        Err(source) => Err(PassportError::Form { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use statetune_core::tensorfile::{write_pth, write_safetensors};

    use super::*;
    use crate::model::Version;

    fn passport() -> Passport {
        let model = ModelSizes::from(&Shape::for_scratch(Version::V6, 2, 128, 100));
        Passport {
            base: Some(BaseWeights {
                file: "base.pth".to_string(),
                fingerprint: "7c1904aa".to_string(),
            }),
            template: Some("User: {}\n\nAssistant:".to_string()),
            ctx_len: Some(512),
            ..Passport::new(ExportKind::State, model, json!({ "type": "state" }))
        }
    }

    #[test]
    fn round_trip_in_both_formats() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pth = folder.path().join("run.final.pth");
        write_pth(&pth, []).expect("written");
        assert_eq!(Passport::of(&pth).expect("a sound file"), None);
        passport().save_beside(&pth).expect("written");
        let text =
            fs::read_to_string(folder.path().join("run.final.json")).expect("a passport file");
        assert!(text.starts_with("{\n  \"schema\": \"statetune.passport/1\",\n"), "{text}");
        assert_eq!(Passport::of(&pth).expect("a sound file"), Some(passport()));

        let st = folder.path().join("state.st");
        let metadata = passport().metadata();
        let metadata = metadata.each_ref().map(|(key, value)| (*key, value.as_str()));
        write_safetensors(&st, [], &metadata).expect("written");
        assert_eq!(Passport::of(&st).expect("a sound file"), Some(passport()));
    }

    #[test]
    fn invalid_passports_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pth = folder.path().join("a.pth");
        write_pth(&pth, []).expect("written");
        for text in ["{", "{}", r#"{"schema":"statetune.passport/2"}"#, "[1]"] {
            fs::write(Passport::beside(&pth), text).expect("written");
            let error = Passport::of(&pth).expect_err("an error");
            assert_eq!(error.code(), "ST8001");
            let path = folder.path().join("a.json");
            let expected = format!(
                "`{}` is not a passport that this version of statetune can read",
                path.display()
            );
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
