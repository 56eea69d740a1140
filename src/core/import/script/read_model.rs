//! Reads the flags of the model.

use super::flags::Kind;
use super::read::Reader;
use super::trainer::Trainer;
use crate::import::imported::Outcome;

/// The architecture versions, each with what names of weights call it.
const VERSIONS: [(&str, [&str; 4]); 3] = [
    ("x070", ["x070", "rwkv7", "rwkv-7", "v7"]),
    ("x060", ["x060", "rwkv6", "rwkv-6", "v6"]),
    ("x052", ["x052", "rwkv5", "rwkv-5", "v5"]),
];

impl Reader {
    /// The architecture version, if the script names one or the weights are called by one.
    pub(super) fn version(&mut self) -> Option<&'static str> {
        for name in ["my_testing", "version"] {
            let Some(flag) = self.take(name) else { continue };
            let text = flag.text().to_lowercase();
            let digit = |version: &str| version.chars().nth(2).unwrap_or_default();
            // The original looks for the digit.
            let found = VERSIONS.iter().find(|(version, _)| text.contains(digit(version)));
            match found {
                Some((version, _)) if !flag.is_unknown() => {
                    let why =
                        if text == *version { "" } else { "the original looks for the digit" };
                    self.set(&flag, "model.version", *version, why);
                    return Some(version);
                }
                _ if flag.is_unknown() => {
                    let why = "the value of a variable is unknown; weights have their version";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
                _ => self.record(&flag, Outcome::Unsupported, "", "must be x052, x060 or x070"),
            }
        }
        let weights = self.look("load_model")?.text().to_lowercase();
        let file = weights.rsplit(['/', '\\']).next().unwrap_or_default();
        let is_named = |names: &[&str]| names.iter().any(|name| file.contains(name));
        VERSIONS.iter().find(|(_, names)| is_named(names)).map(|(version, _)| *version)
    }

    /// Reads where the weights are; true for a new model.
    pub(super) fn weights(&mut self, method: &str) -> bool {
        let resumes = self.trainer == Trainer::Lm && self.stage() > 1;
        let newest = "the original starts from the newest `rwkv-*.pth` in `--proj_dir`";
        match self.take("load_model") {
            Some(flag) if flag.is_unknown() => {
                let becomes =
                    self.path_to_set("model.load_model", "known only when the script runs");
                let why = "the path is known only when the script runs: set it";
                self.record(&flag, Outcome::Unsupported, &becomes, why);
                false
            }
            Some(flag) if !matches!(flag.text(), "" | "0") => {
                let why = if resumes { newest } else { "" };
                self.set(&flag, "model.load_model", flag.text(), why);
                false
            }
            flag if method == "full" => {
                let (outcome, why) = match resumes {
                    true => (Outcome::Changed, format!("a new model; {newest}")),
                    false => (Outcome::Mapped, "a new model".to_string()),
                };
                match flag {
                    Some(flag) => self.record(&flag, outcome, "no model.load_model", &why),
                    None => self.assume("--load_model", "no model.load_model", &why),
                }
                true
            }
            flag => {
                let becomes = self.path_to_set("model.load_model", "missing in the script");
                let why = "the original trains beside random weights; set the weights";
                match flag {
                    Some(flag) => self.record(&flag, Outcome::Unsupported, &becomes, why),
                    None => self.assume("--load_model", &becomes, why),
                }
                false
            }
        }
    }

    /// Reads the sizes of the model.
    pub(super) fn model(&mut self, version: Option<&str>, is_new: bool) {
        self.assume_version(is_new);
        self.vocabulary(is_new);
        for (name, kind) in [("n_layer", Kind::COUNT), ("n_embd", Kind::COUNT)] {
            // An unreadable number becomes the default only in a new model; weights have their sizes.
            let key = if name == "n_layer" { "model.n_layer" } else { "model.n_embd" };
            if let Some(flag) = self.take(name)
                && let Some(value) = self.value(&flag, kind)
            {
                match is_new && name == "n_embd" && value.as_integer().is_some_and(|n| n % 64 != 0)
                {
                    true => {
                        self.record(&flag, Outcome::Unsupported, "", "must be a multiple of 64")
                    }
                    false => self.set(&flag, key, value, ""),
                }
            }
            if is_new {
                self.fill(name, key, if name == "n_layer" { "6" } else { "512" });
            }
        }
        self.widths(version, is_new);
        for (name, key) in [("pre_ffn", "model.pre_ffn"), ("head_qk", "model.head_qk")] {
            let Some(flag) = self.take(name) else { continue };
            match flag.text().parse::<u32>() {
                Ok(0) => self.record(&flag, Outcome::Mapped, "", "0 is the default"),
                Ok(_) if self.trainer.ignores_lm() || version == Some("x070") => {
                    self.record(&flag, Outcome::NoEffect, "", "the original ignores it");
                }
                Ok(1) if name == "pre_ffn" => self.set(&flag, key, 1, ""),
                Ok(value) if name == "head_qk" => self.set(&flag, key, i64::from(value), ""),
                _ => self.record(&flag, Outcome::Unsupported, "", "not a valid value"),
            }
        }
        if let Some(flag) = self.take("head_chunk")
            && let Some(value) = self.value(&flag, Kind::COUNT)
        {
            self.set(&flag, "train.head_chunk", value, "");
        }
    }

    fn assume_version(&mut self, is_new: bool) {
        if self.draft.get("model.version").is_some() {
            return;
        }
        let why = match self.trainer {
            Trainer::Lm => "older releases train RWKV-4, which statetune does not have",
            _ => "",
        };
        match is_new {
            true => self.set_default("--my_testing", "model.version", "x052", why),
            false if self.trainer == Trainer::Lm => {
                self.assume(
                    "--my_testing",
                    "",
                    &format!("the version of the weights counts; {why}"),
                );
            }
            false => {
                let why = "the version of the weights counts; the original assumes x052";
                self.assume("--my_testing", "", why);
            }
        }
    }

    fn vocabulary(&mut self, is_new: bool) {
        let is_text = matches!(self.word("data.data_type"), "utf-8" | "utf-16le" | "dummy");
        if is_text && !is_new {
            let why = "the weights know the ids of their own vocabulary; the original makes one of the characters";
            let becomes = self.draft.set("model.tokenizer", "world", why);
            self.assume("a vocabulary of characters", &becomes, why);
        }
        let Some(flag) = self.take("vocab_size") else { return };
        match flag.text().parse::<u32>() {
            _ if !is_new => self.record(&flag, Outcome::Mapped, "", "read from the weights"),
            Ok(0) => self.record(&flag, Outcome::Mapped, "", "the size follows from the tokenizer"),
            Ok(_) if is_text => {
                self.record(&flag, Outcome::NoEffect, "", "the characters of the text count");
            }
            Ok(size) => self.set(&flag, "model.vocab_size", i64::from(size), ""),
            Err(_) => self.record(&flag, Outcome::Unsupported, "", "not an integer of at least 0"),
        }
    }

    /// Reads the widths that follow from others here.
    fn widths(&mut self, version: Option<&str>, is_new: bool) {
        let n_embd = self.integer("model.n_embd").unwrap_or_default();
        for name in ["head_size", "head_size_a", "head_size_divisor", "dim_att", "dim_ffn"] {
            let Some(flag) = self.take(name) else { continue };
            let usual = match name {
                "head_size" | "head_size_a" => 64,
                "head_size_divisor" => 8,
                "dim_att" => n_embd,
                _ => n_embd * 7 / 2 / 32 * 32,
            };
            let is_usual = flag.text().parse::<i64>().is_ok_and(|size| size == usual || size == 0);
            let (outcome, why) = match name {
                "dim_ffn" if version == Some("x070") => {
                    (Outcome::NoEffect, "RWKV-7 always has 4 times n_embd".to_string())
                }
                "head_size_divisor" if version == Some("x070") || is_usual => {
                    (Outcome::Mapped, "8 in every model".to_string())
                }
                "head_size_divisor" => (Outcome::Unsupported, "always 8".to_string()),
                _ if !is_new => (Outcome::Mapped, "read from the weights".to_string()),
                _ if is_usual => (Outcome::Mapped, "what a new model has".to_string()),
                _ => (Outcome::Unsupported, format!("a new model has {usual}")),
            };
            self.record(&flag, outcome, "", &why);
        }
    }
}
