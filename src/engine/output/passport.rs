//! The passport of a product: what it is, what it was made of, and what it is good for.
//!
//! A state, an adapter or a tuned model fits one set of weights, and nothing in its numbers says which.
//! The passport does. It travels in the metadata of a `.st` and beside a `.pth` as `NAME.json`, never
//! inside the `.pth`: programs count its tensors.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Shape;
use statetune_core::diagnostic::{Text, msg};
use statetune_core::tensorfile::{TensorFile, WeightsError, write_atomically};

/// The key under which safetensors metadata holds a passport, as JSON.
const METADATA_KEY: &str = "statetune.passport";

/// What a product is and where it comes from. What nobody knows any more is absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Passport {
    /// Version of the program that made it.
    pub statetune: String,
    /// What it is.
    pub product: Product,
    /// The model that it is for, or that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Sizes>,
    /// The weights that it was tuned on; absent for a model that was trained from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// How it was tuned: the table `[peft]` with every option; or how it was made from other products.
    pub method: Value,
    /// How the weights were packed that it was tuned on: the table `[quant]`; absent when they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<Value>,
    /// sha256 of the vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// How a question was put in the documents that it learned from, `{}` standing for the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Tokens of the longest sample that it learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx_len: Option<u32>,
    /// Name of the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Mini-epochs that the run had done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// sha256 of the documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// sha256 of the settings that the numbers depend on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// The initial states of all layers.
    State,
    /// A change of some weights.
    Adapter,
    /// A whole model.
    Model,
}

/// The sizes of a model, in the words of the experiment file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sizes {
    /// Version of the architecture: `x052`, `x060` or `x070`.
    pub version: String,
    /// Number of blocks.
    pub n_layer: i64,
    /// Channels of the residual stream.
    pub n_embd: i64,
    /// Heads of a time mix.
    pub n_head: i64,
    /// Channels of a head.
    pub head_size: i64,
    /// Rows of the embedding.
    pub vocab_size: i64,
}

impl From<&Shape> for Sizes {
    fn from(shape: &Shape) -> Sizes {
        Sizes {
            version: shape.version().code().to_string(),
            n_layer: shape.n_layer,
            n_embd: shape.n_embd,
            n_head: shape.n_head,
            head_size: shape.head_size,
            vocab_size: shape.vocab_size,
        }
    }
}

/// A set of weights.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Base {
    /// Name of the file that held them, without its folder.
    pub file: String,
    /// As [`crate::model::fingerprint`] defines it.
    pub fingerprint: String,
}

/// A passport as it is written: with the name of its form in front.
#[derive(Deserialize, Serialize)]
#[serde(tag = "schema")]
enum Form<P> {
    #[serde(rename = "statetune.passport/1")]
    V1(P),
}

/// Why a passport cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum PassportError {
    /// The product that it belongs to.
    #[error(transparent)]
    Product(#[from] WeightsError),
    /// The side-car is there, but the operating system would not let us read it.
    Read {
        /// The side-car.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else, or damaged.
    Form {
        /// The side-car, or the product that holds it.
        path: PathBuf,
        /// What the parser says.
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
    /// The passport of something made by this program, of which nothing more is known yet.
    pub fn new(product: Product, model: Sizes, method: Value) -> Passport {
        Passport {
            statetune: env!("CARGO_PKG_VERSION").to_string(),
            product,
            model: Some(model),
            base: None,
            method,
            quant: None,
            tokenizer: None,
            template: None,
            ctx_len: None,
            run: None,
            epochs: None,
            data: None,
            config: None,
        }
    }

    /// The passport of something made of products with these passports, `None` where there is none: it
    /// says what all of them say.
    pub fn of_all(passports: &[Option<Passport>], product: Product, method: Value) -> Passport {
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
            product,
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

    /// The passport of a product: from the metadata of a `.st`, or else from the side-car of a `.pth`.
    /// `None` where there is none, as with the products of other programs.
    ///
    /// # Errors
    /// A product or side-car that cannot be read, or that holds something else.
    pub fn of(product: &Path) -> Result<Option<Passport>, PassportError> {
        let file = TensorFile::open(product)?;
        if let Some(text) = file.metadata().get(METADATA_KEY) {
            return parse(product, text.as_bytes()).map(Some);
        }
        let path = Passport::beside(product);
        match fs::read(&path) {
            Ok(text) => parse(&path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PassportError::Read { path, source }),
        }
    }

    /// Where the side-car of a product lies: `NAME.json` for `NAME.pth`.
    pub fn beside(product: &Path) -> PathBuf {
        product.with_extension("json")
    }

    /// Writes the side-car of `product`.
    ///
    /// # Errors
    /// When it cannot be written; nothing half-written is left behind.
    pub fn save_beside(&self, product: &Path) -> Result<(), WeightsError> {
        let path = Passport::beside(product);
        let text = serde_json::to_string_pretty(&Form::V1(self)).expect("plain data") + "\n";
        write_atomically(&path, |file| file.write_all(text.as_bytes()))
            .map_err(|source| WeightsError::Write { path, source })
    }

    /// The metadata of a safetensors product.
    pub fn metadata(&self) -> [(&'static str, String); 2] {
        let text = serde_json::to_string(&Form::V1(self)).expect("plain data");
        [("format", "pt".to_string()), (METADATA_KEY, text)]
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Passport, PassportError> {
    match serde_json::from_slice(text) {
        Ok(Form::V1(passport)) => Ok(passport),
        Err(source) => Err(PassportError::Form { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Version;
    use statetune_core::tensorfile::{write_pth, write_safetensors};

    fn passport() -> Passport {
        let model = Sizes::from(&Shape::for_scratch(Version::V6, 2, 128, 100));
        Passport {
            base: Some(Base { file: "base.pth".to_string(), fingerprint: "7c1904aa".to_string() }),
            template: Some("User: {}\n\nAssistant:".to_string()),
            ctx_len: Some(512),
            ..Passport::new(Product::State, model, json!({ "type": "state" }))
        }
    }

    #[test]
    fn both_forms_give_it_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pth = folder.path().join("run.final.pth");
        write_pth(&pth, []).expect("written");
        assert_eq!(Passport::of(&pth).expect("a sound file"), None);
        passport().save_beside(&pth).expect("written");
        let text = fs::read_to_string(folder.path().join("run.final.json")).expect("a side-car");
        assert!(text.starts_with("{\n  \"schema\": \"statetune.passport/1\",\n"), "{text}");
        assert_eq!(Passport::of(&pth).expect("a sound file"), Some(passport()));

        let st = folder.path().join("state.st");
        let metadata = passport().metadata();
        let metadata = metadata.each_ref().map(|(key, value)| (*key, value.as_str()));
        write_safetensors(&st, [], &metadata).expect("written");
        assert_eq!(Passport::of(&st).expect("a sound file"), Some(passport()));
    }

    #[test]
    fn something_else_is_no_passport() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pth = folder.path().join("a.pth");
        write_pth(&pth, []).expect("written");
        for text in ["{", "{}", r#"{"schema":"statetune.passport/2"}"#, "[1]"] {
            fs::write(Passport::beside(&pth), text).expect("written");
            let error = Passport::of(&pth).expect_err("to be refused");
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
