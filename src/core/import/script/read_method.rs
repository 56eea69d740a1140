//! Reads the flags of the method: what trains.

use super::command::Flag;
use super::flags::ADAPTERS;
use super::read::{Reader, UNKNOWN_VALUE};
use super::trainer::Trainer;
use crate::import::imported::{ImportError, Outcome};

/// Tokens of a chunk where the script names none.
const CHUNK_CTX: u32 = 512;
/// `train.chunk_ctx` is a multiple of this.
const CHUNK_STEP: u32 = 16;
const EXACT_CHUNKS: &str =
    "gradients are those of whole samples, which the original cuts off at every chunk";

impl Reader {
    /// Reads what trains; true for a new model.
    ///
    /// # Errors
    /// The method is not offered.
    pub(super) fn method(&mut self, version: Option<&str>) -> Result<bool, ImportError> {
        let is_switched = self.switched().is_some();
        let method = self.kind_of_method()?;
        let is_new = self.weights(&method);
        self.draft.set("peft.type", method.as_str(), "");
        match method.as_str() {
            "state" | "full" => self.unused_adapters(""),
            adapter => {
                self.unused_adapters(adapter);
                self.adapter(adapter);
                self.adapted_layers(version, is_switched);
            }
        }
        self.train_parts(&method, version);
        self.unused_chunks();
        Ok(is_new)
    }

    /// The name of the method.
    fn kind_of_method(&mut self) -> Result<String, ImportError> {
        let peft = self.take("peft");
        let train_type = self.take("train_type");
        let by_flag = self.take("state_tune");
        let kind = train_type.as_ref().map_or(String::new(), |flag| flag.text().to_lowercase());
        let named = peft.as_ref().map_or(String::new(), |flag| flag.text().to_lowercase());
        let tunes_state = matches!(kind.as_str(), "state" | "states" | "fullstate")
            || by_flag.is_some()
            || named == "state";
        let switched = self.switched();
        let method = match named.as_str() {
            _ if peft.as_ref().is_some_and(Flag::is_unknown) => self.guessed(),
            "" | "none" => switched.clone().unwrap_or("full".into()),
            "state" => "state".into(),
            known if ADAPTERS.contains(&known) => named.clone(),
            _ => return Err(ImportError::NotOffered { option: format!("--peft {named}") }),
        };
        let is_adapter = !matches!(method.as_str(), "full" | "state");
        let trained = if tunes_state { "state".to_string() } else { method };
        let becomes = format!("peft.type = \"{trained}\"");
        if let Some(flag) = &peft {
            match flag.is_unknown() {
                true => self.record(flag, Outcome::Unsupported, &becomes, UNKNOWN_VALUE),
                false if tunes_state && is_adapter => {
                    let why = "the original freezes the adapter and trains the states";
                    self.record(flag, Outcome::NoEffect, "", why);
                }
                false => self.record(flag, Outcome::Mapped, &becomes, ""),
            }
        }
        if let Some(flag) = by_flag {
            self.record(&flag, Outcome::Mapped, &becomes, "");
        }
        match &train_type {
            Some(flag) => self.train_type(flag, &kind, &becomes),
            None if is_adapter && !tunes_state && self.is_called_state() => self.notes.push(
                "the names mention a state, but without `--train_type state` the script trains an adapter; to train a \
                 state, set `type = \"state\"` and `lr_init = 1.0` and delete the keys of the adapter"
                    .into(),
            ),
            None => {}
        }
        self.record_switches(&trained, switched.as_deref());
        Ok(trained)
    }

    fn train_type(&mut self, flag: &Flag, kind: &str, becomes: &str) {
        match kind {
            _ if flag.is_unknown() => self.record(flag, Outcome::Unsupported, "", UNKNOWN_VALUE),
            "state" | "states" => self.record(flag, Outcome::Mapped, becomes, ""),
            "fullstate" => {
                let why = "the original also trains the token before the first";
                self.record(flag, Outcome::Changed, becomes, why);
            }
            "infctx" => self.chunks(flag),
            _ => self.record(flag, Outcome::Mapped, "", "trains what `--peft` says"),
        }
    }

    /// The method that a flag of its own turns on, in releases of 2024.
    fn switched(&self) -> Option<String> {
        let has = |name| self.look(name).is_some();
        match () {
            () if has("PISSA") || has("pissa") => Some("pissa".into()),
            () if has("lora") => Some("lora".into()),
            () if has("bone") => Some("bone".into()),
            () => None,
        }
    }

    /// The method whose settings the script has.
    fn guessed(&self) -> String {
        let has = |name: &&&str| self.look(&format!("{name}_config")).is_some();
        ADAPTERS.iter().find(has).map_or("full".into(), ToString::to_string)
    }

    fn record_switches(&mut self, trained: &str, switched: Option<&str>) {
        for name in ["PISSA", "pissa", "lora", "bone"] {
            let Some(flag) = self.take(name) else { continue };
            let is_used = switched == Some(trained);
            match is_used {
                true => {
                    self.record(&flag, Outcome::Mapped, &format!("peft.type = \"{trained}\""), "")
                }
                false => self.record(&flag, Outcome::NoEffect, "", "another method is in use"),
            }
        }
    }

    /// Whether `--proj_dir` mentions a state.
    fn is_called_state(&self) -> bool {
        self.look("proj_dir").is_some_and(|flag| flag.text().to_lowercase().contains("state"))
    }

    /// `--train_type infctx` with `--chunk_ctx`.
    fn chunks(&mut self, train_type: &Flag) {
        let chunk_ctx = self.take("chunk_ctx");
        let asked = chunk_ctx.as_ref().map_or(Some(CHUNK_CTX), |flag| flag.text().parse().ok());
        let Some(asked) = asked.filter(|tokens| (1..=u32::MAX).contains(tokens)) else {
            let why = "set `train.chunk_ctx` to the tokens of a chunk";
            for flag in chunk_ctx.iter().chain([train_type]) {
                self.record(flag, Outcome::Unsupported, "", why);
            }
            return;
        };
        let tokens = (asked / CHUNK_STEP * CHUNK_STEP).max(CHUNK_STEP);
        let becomes = self.draft.set("train.chunk_ctx", i64::from(tokens), EXACT_CHUNKS);
        self.record(train_type, Outcome::Changed, &becomes, EXACT_CHUNKS);
        if let Some(flag) = chunk_ctx {
            match tokens == asked {
                true => self.record(&flag, Outcome::Mapped, &becomes, ""),
                false => self.record(&flag, Outcome::Changed, &becomes, "a multiple of 16"),
            }
        }
    }

    /// A chunk length that the original does not read.
    fn unused_chunks(&mut self) {
        if let Some(flag) = self.take("chunk_ctx") {
            let why = "the original only reads it with `--train_type infctx`";
            self.record(&flag, Outcome::NoEffect, "", why);
        }
    }

    pub(super) fn quant(&mut self) {
        let Some(flag) = self.take("quant") else { return };
        let is_full = self.word("peft.type") == "full";
        match flag.text() {
            _ if flag.is_unknown() => self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE),
            "none" | "" => self.record(&flag, Outcome::Mapped, "", "not quantised"),
            _ if is_full => {
                self.record(&flag, Outcome::NoEffect, "", "trainable weights are not quantised");
            }
            _ if self.trainer == Trainer::Peft2026 => {
                self.record(&flag, Outcome::NoEffect, "", "releases since 2026 ignore the flag");
            }
            "4bit" => self.set(&flag, "quant.type", "fp4", "`4bit` of the original is fp4"),
            known @ ("nf4" | "fp4") => self.set(&flag, "quant.type", known, ""),
            "int8" => {
                let why = "the original has one table of 256 levels per matrix";
                self.set(&flag, "quant.type", "int8", why);
            }
            "fp8" => {
                self.set(
                    &flag,
                    "quant.type",
                    "fp8",
                    "the original rounds activations too, without scales",
                );
            }
            _ => {
                self.record(&flag, Outcome::Unsupported, "", "must be none, int8, nf4, fp4 or fp8")
            }
        }
    }
}
