//! Shell scripts that start `train.py` of RWKV-PEFT or RWKV-LM.

use std::collections::HashMap;

use serde_json::Value as Json;
use toml_edit::Value;

use super::shell::{Word, commands};
use super::{Draft, Fate, ImportError, Imported, Row, experiment_name, finish};

/// How a value is written.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Number,
    Text,
}

/// Flags that mean the same here.
const SAME: &[(&str, &str, Kind)] = &[
    ("dataload", "data.dataload", Kind::Text),
    ("loss_mask", "data.loss_mask", Kind::Text),
    ("n_layer", "model.n_layer", Kind::Integer),
    ("n_embd", "model.n_embd", Kind::Integer),
    ("ctx_len", "train.ctx_len", Kind::Integer),
    ("micro_bsz", "train.micro_bsz", Kind::Integer),
    ("accumulate_grad_batches", "train.accumulate_grad_batches", Kind::Integer),
    ("epoch_count", "train.epoch_count", Kind::Integer),
    ("precision", "train.precision", Kind::Text),
    ("accelerator", "hardware.accelerator", Kind::Text),
    ("beta1", "optimizer.beta1", Kind::Number),
    ("beta2", "optimizer.beta2", Kind::Number),
    ("adam_eps", "optimizer.adam_eps", Kind::Number),
    ("weight_decay", "optimizer.weight_decay", Kind::Number),
    ("grad_clip", "optimizer.gradient_clip_val", Kind::Number),
    ("gradient_clip_val", "optimizer.gradient_clip_val", Kind::Number),
    ("lr_init", "schedule.lr_init", Kind::Number),
    ("lr_final", "schedule.lr_final", Kind::Number),
];

/// What the original assumes where its script is silent and this program would assume something else.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("ctx_len", "train.ctx_len", "1024"),
    ("micro_bsz", "train.micro_bsz", "12"),
    ("epoch_steps", "train.epoch_steps", "1000"),
    ("epoch_count", "train.epoch_count", "500"),
    ("precision", "train.precision", "\"fp16\""),
    ("lr_init", "schedule.lr_init", "6e-4"),
    ("lr_final", "schedule.lr_final", "1e-5"),
];

/// Flags that the original reads and never uses, or that change how it computes and not what.
const DEAD: &[&str] = &[
    "dim_att",
    "dim_ffn",
    "dropout",
    "ds_bucket_mb",
    "fla",
    "fused_kernel",
    "head_size_a",
    "head_size_divisor",
    "load_partial",
    "my_att_shift",
    "my_exit",
    "my_ffn_shift",
    "my_pile_edecay",
    "my_pile_version",
    "my_pos_emb",
    "my_qa_mask",
    "my_random_steps",
    "my_sample_len",
    "tiny_att_dim",
    "tiny_att_layer",
    "tiny_att_downscale",
    "enable_progress_bar",
    "avg_loss",
    "my_img_bit",
    "my_img_clip",
    "my_img_encoder",
    "my_img_l1_scale",
    "my_img_noise_scale",
    "my_img_size",
    "my_img_version",
    "compile",
];

/// Flags of RWKV-LM alone, whose schedule is another one.
const OF_RWKV_LM: &[&str] = &["train_stage", "my_pile_stage", "my_exit_tokens", "magic_prime"];

/// Micro-steps of a mini-epoch in RWKV-LM, times the sequences of a micro-step.
const LM_EPOCH_SAMPLES: i64 = 40320;

/// A flag of the training command.
struct Flag {
    line: usize,
    name: String,
    values: Vec<Word>,
}

impl Flag {
    fn text(&self) -> &str {
        self.values.first().map_or("", |word| word.text.as_str())
    }

    fn written(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|word| word.text.as_str()).collect();
        format!("--{} {}", self.name, values.join(" ")).trim_end().to_string()
    }
}

/// Reads a shell script; `name` is what the experiment is called where the script has no `--proj_dir`.
pub(super) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let commands = commands(text, &HashMap::new());
    let is_training = |words: &[Word]| words.iter().any(|word| is_program(word, "train.py"));
    let Some(at) = commands.iter().position(|words| is_training(words)) else {
        let merges = |word: &Word| word.text.contains("merge") && word.text.ends_with(".py");
        let is_merge = commands.iter().flatten().any(merges);
        return Err(if is_merge { ImportError::Merges } else { ImportError::NoTraining });
    };
    let mut import = Import {
        flags: flags(&commands[at]),
        draft: Draft::default(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    import.draft.set("name", experiment_name(name), "");
    let prepared = commands.iter().find_map(|words| make_data(words));
    import.cut_off(&commands[at + 1..]);
    import.further_trainings(&commands[at + 1..]);
    import.read(prepared.as_ref());
    let Import { draft, rows, notes, .. } = import;
    Ok(finish(&draft, rows, notes, "a shell script"))
}

fn is_program(word: &Word, name: &str) -> bool {
    word.text.rsplit('/').next() == Some(name)
}

fn flags(words: &[Word]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    let program = words.iter().position(|word| word.text.ends_with(".py")).map_or(0, |at| at + 1);
    for word in &words[program..] {
        let negative =
            word.text.trim_start_matches('-').starts_with(|one: char| one.is_ascii_digit());
        match word.text.strip_prefix("--") {
            Some(name) if !negative => {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (name, None),
                };
                let value = value.map(|value| Word { text: value.to_string(), ..word.clone() });
                let values = value.into_iter().collect();
                flags.push(Flag { line: word.line, name: name.to_string(), values });
            }
            _ => {
                if let Some(flag) = flags.last_mut() {
                    flag.values.push(word.clone());
                }
            }
        }
    }
    flags
}

/// `make_data.py FILE COPIES CTX_LEN`.
struct MakeData {
    line: usize,
    written: String,
    file: String,
    copies: Option<i64>,
}

fn make_data(words: &[Word]) -> Option<MakeData> {
    let at = words.iter().position(|word| is_program(word, "make_data.py"))?;
    let file = words.get(at + 1)?;
    let copies = words.get(at + 2).and_then(|word| word.text.parse().ok());
    let written: Vec<_> = words[at..].iter().map(|word| word.text.as_str()).collect();
    Some(MakeData { line: file.line, written: written.join(" "), file: file.text.clone(), copies })
}

struct Import {
    /// Flags that are not accounted for yet.
    flags: Vec<Flag>,
    draft: Draft,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Import {
    /// Takes a flag out of those that are left. Of a repeated one the last counts, as in the original.
    fn take(&mut self, name: &str) -> Option<Flag> {
        let at = self.flags.iter().rposition(|flag| flag.name == name)?;
        let flag = self.flags.remove(at);
        while let Some(earlier) = self.flags.iter().position(|flag| flag.name == name) {
            let earlier = self.flags.remove(earlier);
            self.row(&earlier, Fate::NoEffect, "", "a later one overrides it");
        }
        Some(flag)
    }

    fn row(&mut self, flag: &Flag, fate: Fate, becomes: &str, why: &str) {
        self.rows.push(Row {
            line: flag.line,
            original: flag.written(),
            fate,
            becomes: becomes.to_string(),
            why: why.to_string(),
        });
    }

    /// Sets `key` for a flag and accounts for it; `why` is empty where it means the same.
    fn set(&mut self, flag: &Flag, key: &'static str, value: impl Into<Value>, why: &str) {
        let value = value.into();
        let becomes = format!("{key} = {}", value.to_string().trim());
        let fate = if why.is_empty() { Fate::Mapped } else { Fate::Changed };
        self.draft.set(key, value, why);
        self.row(flag, fate, &becomes, why);
    }

    /// The value of a flag as it is written in TOML; accounts for one that is not of its kind.
    fn value(&mut self, flag: &Flag, kind: Kind) -> Option<Value> {
        let text = flag.text();
        let is_open = flag.values.iter().any(|word| word.is_open);
        let value = match kind {
            _ if is_open => None,
            Kind::Integer => text.parse::<i64>().ok().map(Value::from),
            // Numbers stay as they are written: `1e-8` and not 0.00000001.
            Kind::Number => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(|number| {
                    let written = text
                        .parse::<Value>()
                        .ok()
                        .filter(|value| value.is_float() || value.is_integer());
                    written.or_else(|| Some(Value::from(number)))
                })
            }
            Kind::Text => Some(Value::from(text)),
        };
        if value.is_none() {
            let why = match kind {
                _ if is_open => "the script does not say what its variable holds",
                Kind::Integer => "it is not a whole number",
                _ => "it is not a number",
            };
            self.row(flag, Fate::Unsupported, "", why);
        }
        value
    }

    fn read(&mut self, prepared: Option<&MakeData>) {
        let is_rwkv_lm = self.flags.iter().any(|flag| OF_RWKV_LM.contains(&flag.name.as_str()));
        for &(name, key, value) in DEFAULTS {
            let is_given = self.flags.iter().any(|flag| flag.name == name);
            if let (false, Ok(value)) = (is_given, value.parse::<Value>()) {
                self.draft.set(key, value, "what the original assumes");
            }
        }
        self.data(prepared);
        self.model();
        self.method();
        for &(name, key, kind) in SAME {
            if let Some(flag) = self.take(name)
                && let Some(value) = self.value(&flag, kind)
            {
                self.set(&flag, key, value, "");
            }
        }
        self.quant();
        self.steps();
        self.schedule(is_rwkv_lm);
        self.machine();
        self.output();
        for flag in std::mem::take(&mut self.flags) {
            let is_dead = DEAD.contains(&flag.name.as_str());
            let (fate, why) = match is_dead {
                true => {
                    (Fate::NoEffect, "it is read and never used, or changes only how it computes")
                }
                false => (Fate::Unsupported, "there is nothing like it here"),
            };
            self.row(&flag, fate, "", why);
        }
    }

    fn data(&mut self, prepared: Option<&MakeData>) {
        let file = self.take("data_file");
        let data_type = self.take("data_type");
        if let Some(MakeData { line, written, file: text, copies }) = prepared {
            self.draft.set("data.data_type", "jsonl", "");
            self.draft.set("data.data_file", text.as_str(), "tokenised by the run itself");
            if let Some(copies) = copies {
                self.draft.set("data.repeat", *copies, "");
            }
            let copies = copies.map_or(String::new(), |copies| format!(", data.repeat = {copies}"));
            self.rows.push(Row {
                line: *line,
                original: written.clone(),
                fate: Fate::Mapped,
                becomes: format!("data.data_file = \"{text}\"{copies}"),
                why: "the run tokenises the file itself".into(),
            });
            for flag in [file, data_type].into_iter().flatten() {
                self.row(&flag, Fate::Changed, "", "the file of `make_data.py` is read instead");
            }
        } else {
            if let Some(flag) = file {
                self.set(&flag, "data.data_file", flag.text(), "");
            }
            match data_type {
                Some(flag) if flag.text() == "sft" => {
                    self.set(
                        &flag,
                        "data.data_type",
                        "jsonl",
                        "questions and answers are read from JSONL",
                    );
                }
                Some(flag) => self.set(&flag, "data.data_type", flag.text(), ""),
                None => {}
            }
        }
        if let Some(flag) = self.take("sft_field") {
            let fields: toml_edit::Array =
                flag.values.iter().map(|word| word.text.as_str()).collect();
            self.set(&flag, "data.sft_field", fields, "");
        }
        if let Some(flag) = self.take("sft_split") {
            self.row(
                &flag,
                Fate::Unsupported,
                "",
                "a file is read whole; `data.limit` takes its beginning",
            );
        }
        if let Some(flag) = self.take("mask_id") {
            match serde_json::from_str::<Json>(flag.text()) {
                Ok(Json::Object(ids)) => {
                    let text = |name: &str| match ids.get(name)? {
                        Json::String(text) => Some(text.clone()),
                        other => Some(other.to_string()),
                    };
                    let mut table = toml_edit::InlineTable::new();
                    for name in ["mask0", "mask1"] {
                        table.extend(text(name).map(|text| (name, Value::from(text))));
                    }
                    self.set(
                        &flag,
                        "data.mask_id",
                        table,
                        "texts here, token ids there: write the texts",
                    );
                }
                _ => self.row(&flag, Fate::Unsupported, "", "it is not JSON"),
            }
        }
        if let Some(flag) = self.take("magic_prime") {
            self.set(&flag, "data.walk", "magic_prime", "the prime follows from the data");
        }
    }

    fn model(&mut self) {
        let is_from_scratch = match self.take("load_model") {
            Some(flag) if !matches!(flag.text(), "" | "0") => {
                self.set(&flag, "model.load_model", flag.text(), "");
                false
            }
            Some(flag) => {
                self.row(&flag, Fate::Mapped, "no model.load_model", "a new model");
                true
            }
            None => true,
        };
        for name in ["my_testing", "version"] {
            match self.take(name) {
                Some(flag) if ["x052", "x060", "x070"].contains(&flag.text()) => {
                    self.set(&flag, "model.version", flag.text(), "");
                }
                Some(flag) => {
                    self.row(&flag, Fate::Unsupported, "", "known are x052, x060 and x070")
                }
                None => {}
            }
        }
        if let Some(flag) = self.take("vocab_size") {
            match flag.text().parse::<i64>() {
                Ok(size) if size > 0 && is_from_scratch => {
                    self.set(&flag, "model.vocab_size", size, "")
                }
                Ok(_) => self.row(&flag, Fate::Mapped, "", "the weights know it"),
                Err(_) => self.row(&flag, Fate::Unsupported, "", "it is not a whole number"),
            }
        }
        for (name, key) in [("pre_ffn", "model.pre_ffn"), ("head_qk", "model.head_qk")] {
            if let Some(flag) = self.take(name) {
                match flag.text().parse::<i64>() {
                    Ok(0) => self.row(&flag, Fate::Mapped, "", "0 is what is assumed"),
                    Ok(value) => self.set(&flag, key, value, ""),
                    Err(_) => self.row(&flag, Fate::Unsupported, "", "it is not a whole number"),
                }
            }
        }
    }

    fn method(&mut self) {
        let peft = self.take("peft");
        let train_type = self.take("train_type");
        let tunes_state = train_type.as_ref().is_some_and(|flag| flag.text() == "state");
        let method = peft.as_ref().map_or("none", Flag::text).to_lowercase();
        match (method.as_str(), &peft) {
            ("none", _) if tunes_state => self.draft.set("peft.type", "state", ""),
            ("none", _) => self.draft.set("peft.type", "full", ""),
            ("lora" | "pissa" | "disha" | "miss" | "bone", Some(_)) => {
                self.draft.set("peft.type", method.as_str(), "");
            }
            (_, Some(flag)) => {
                self.draft.set(
                    "peft.type",
                    "lora",
                    "the original asks for a method that is not here",
                );
                self.row(
                    flag,
                    Fate::Unsupported,
                    "",
                    "methods are state, lora, pissa, disha and full",
                );
            }
            (_, None) => {}
        }
        let is_adapter = !matches!(method.as_str(), "none");
        if let Some(flag) = &peft
            && matches!(method.as_str(), "none" | "lora" | "pissa" | "disha" | "miss" | "bone")
        {
            let chosen = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
            let becomes = format!("peft.type = \"{chosen}\"");
            self.row(flag, Fate::Mapped, &becomes, "");
        }
        match &train_type {
            Some(flag) if tunes_state && is_adapter => {
                self.set(flag, "peft.state", true, "the original froze either the state or the adapter");
            }
            Some(flag) if tunes_state => self.row(flag, Fate::Mapped, "peft.type = \"state\"", ""),
            Some(flag) if flag.text() == "infctx" => {
                let why = "a sample of ctx_len tokens is trained as a whole; `grad_cp = true` saves memory";
                self.row(flag, Fate::Unsupported, "", why);
            }
            Some(flag) => self.row(flag, Fate::Mapped, "", ""),
            None if is_adapter && self.is_called_state() => self.notes.push(
                "the names speak of a state, but the script tunes an adapter: there is no `--train_type state`; \
                 for a state write `type = \"state\"`, without the keys of the adapter, and `lr_init = 1.0`"
                    .into(),
            ),
            None => {}
        }
        if let Some(flag) = self.take("chunk_ctx") {
            self.row(&flag, Fate::Unsupported, "", "a sample is not cut into chunks");
        }
        for name in ["lora_config", "pissa_config", "disha_config", "bone_config", "miss_config"] {
            if let Some(flag) = self.take(name) {
                let is_used = name.starts_with(method.as_str());
                self.adapter(&flag, is_used);
            }
        }
        self.train_parts();
    }

    /// Whether `--proj_dir` speaks of a state.
    fn is_called_state(&self) -> bool {
        let mut named = self.flags.iter().filter(|flag| flag.name == "proj_dir");
        named.any(|flag| flag.text().to_lowercase().contains("state"))
    }

    /// `--lora_config '{"lora_r":64, ...}'` and its kin.
    fn adapter(&mut self, flag: &Flag, is_used: bool) {
        if !is_used {
            self.row(flag, Fate::NoEffect, "", "another method is trained");
            return;
        }
        let Ok(Json::Object(config)) = serde_json::from_str(flag.text()) else {
            self.row(flag, Fate::Unsupported, "", "it is not JSON");
            return;
        };
        for (name, value) in config {
            let written = match &value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            let part = Flag {
                line: flag.line,
                name: format!("{}.{name}", flag.name),
                values: vec![Word { line: flag.line, text: written.clone(), is_open: false }],
            };
            let (key, kind) = match name.as_str() {
                "r" | "lora_r" | "pissa_r" | "bone_r" | "disha_r" => ("peft.rank", Kind::Integer),
                "alpha" | "lora_alpha" => ("peft.alpha", Kind::Number),
                "dropout" | "lora_dropout" => ("peft.dropout", Kind::Number),
                "svd_niter" => ("peft.svd_niter", Kind::Integer),
                "mode" | "bone_mode" | "disha_mode" if matches!(&*written, "bone" | "bat") => {
                    ("peft.mode", Kind::Text)
                }
                _ if written.is_empty() => {
                    self.row(&part, Fate::Mapped, "", "nothing is loaded");
                    continue;
                }
                _ if name.ends_with("load") || name.ends_with("init") => {
                    let why = "`statetune run --from RUN` begins with what a run has learned";
                    self.row(&part, Fate::Unsupported, "", why);
                    continue;
                }
                _ => {
                    self.row(&part, Fate::Unsupported, "", "there is nothing like it here");
                    continue;
                }
            };
            if let Some(value) = self.value(&part, kind) {
                self.set(&part, key, value, "");
            }
        }
    }

    /// `--train_parts '["time","ln"]'`, or the words alone.
    fn train_parts(&mut self) {
        let Some(flag) = self.take("train_parts") else { return };
        let words: Vec<String> = serde_json::from_str(flag.text())
            .unwrap_or_else(|_| flag.values.iter().map(|word| word.text.clone()).collect());
        let known = ["emb", "head", "ln", "time", "low_rank", "att", "ffn"];
        let method = self.draft.get("peft.type").and_then(Value::as_str).unwrap_or_default();
        if method == "state" {
            self.row(&flag, Fate::NoEffect, "", "a state alone is trained");
        } else if words.iter().all(|word| known.contains(&word.as_str())) {
            let parts: toml_edit::Array = words.iter().map(String::as_str).collect();
            self.set(&flag, "peft.train_parts", parts, "");
        } else {
            let why = format!("groups are {}", known.join(", "));
            self.row(&flag, Fate::Unsupported, "", &why);
        }
    }

    fn quant(&mut self) {
        let Some(flag) = self.take("quant") else { return };
        match flag.text() {
            "4bit" => self.set(&flag, "quant.type", "fp4", "`4bit` meant fp4"),
            known @ ("none" | "int8" | "nf4" | "fp4" | "fp8") => {
                let is_full = self.draft.get("peft.type").and_then(Value::as_str) == Some("full");
                match known {
                    "none" => self.row(&flag, Fate::Mapped, "", "nothing is quantised"),
                    _ if is_full => {
                        self.row(&flag, Fate::NoEffect, "", "weights that learn are not quantised");
                    }
                    _ => {
                        self.set(&flag, "quant.type", known, "releases since 2025 read it nowhere")
                    }
                }
            }
            _ => self.row(&flag, Fate::Unsupported, "", "known are none, int8, nf4, fp4 and fp8"),
        }
    }

    fn steps(&mut self) {
        let accumulated = self.integer("train.accumulate_grad_batches").unwrap_or(1).max(1);
        if let Some(flag) = self.take("epoch_steps")
            && let Some(value) = self.value(&flag, Kind::Integer)
        {
            let micro_steps = value.as_integer().unwrap_or(1);
            let why = match accumulated {
                1 => "a saving interval here; there it also cut the data to so many batches",
                _ => {
                    "optimizer steps here, micro-steps there; there it also cut the data to so many batches"
                }
            };
            self.set(&flag, "train.epoch_steps", (micro_steps / accumulated).max(1), why);
        }
        if let Some(flag) = self.take("epoch_save") {
            match flag.text().parse::<i64>() {
                Ok(every) if every > 0 => self.set(&flag, "checkpoint.epoch_save", every, ""),
                _ => self.row(&flag, Fate::Changed, "", "the end is always saved"),
            }
        }
        if let Some(flag) = self.take("epoch_begin") {
            match flag.text() {
                "0" => self.row(&flag, Fate::Mapped, "", "0 is what is assumed"),
                _ => {
                    let why = "other trainers keep no optimizer state to go on with; the run begins anew from the weights";
                    self.row(&flag, Fate::Unsupported, "", why);
                }
            }
        }
        for name in ["train_stage", "my_pile_stage"] {
            let Some(flag) = self.take(name) else { continue };
            let micro_bsz = self.integer("train.micro_bsz").unwrap_or(12).max(1);
            let steps = (LM_EPOCH_SAMPLES / micro_bsz / accumulated).max(1);
            self.set(
                &flag,
                "train.epoch_steps",
                steps,
                "a mini-epoch of RWKV-LM is 40320 sequences",
            );
        }
        if let Some(flag) = self.take("my_exit_tokens") {
            let sequence = self.integer("train.ctx_len").unwrap_or(1024).max(1) * LM_EPOCH_SAMPLES;
            match flag.text().parse::<i64>() {
                Ok(tokens) if tokens > 0 => {
                    let epochs = (tokens + sequence - 1) / sequence;
                    self.set(
                        &flag,
                        "train.epoch_count",
                        epochs,
                        "mini-epochs that hold so many tokens",
                    );
                }
                _ => self.row(&flag, Fate::Unsupported, "", "the end is given by epoch_count"),
            }
        }
        if let Some(flag) = self.take("random_seed") {
            match flag.text().parse::<i64>() {
                Ok(seed) if seed >= 0 => self.set(&flag, "train.random_seed", seed, ""),
                _ => self.row(
                    &flag,
                    Fate::Changed,
                    "",
                    "a run always has a seed, 42 where none is given",
                ),
            }
        }
        if let Some(flag) = self.take("grad_cp") {
            self.set(&flag, "train.grad_cp", flag.text() == "1", "");
        }
    }

    /// The whole number that a setting of the draft holds.
    fn integer(&self, key: &str) -> Option<i64> {
        self.draft.get(key).and_then(Value::as_integer)
    }

    fn schedule(&mut self, is_rwkv_lm: bool) {
        let ignores_warmup = match self.take("lr_schedule") {
            Some(flag) => match flag.text() {
                "cos" | "cosine" | "cos_decay" => {
                    self.set(&flag, "schedule.lr_schedule", "cos", "");
                    true
                }
                "wsd" => {
                    self.draft.set(
                        "schedule.lr_final",
                        0.0,
                        "`wsd` fell to 0, whatever lr_final said",
                    );
                    let why = "the original's `wsd` warms up and then follows a cosine";
                    self.set(&flag, "schedule.lr_schedule", "cos", why);
                    false
                }
                _ => {
                    self.row(&flag, Fate::Unsupported, "", "the original knows cos and wsd");
                    false
                }
            },
            None if is_rwkv_lm => {
                self.draft.set("schedule.lr_schedule", "exp", "the curve of RWKV-LM");
                false
            }
            None => {
                self.notes.push(
                    "without `--lr_schedule` the generation of the tutorial falls exponentially and later ones by a \
                     cosine; written is `cos`, the other is `exp`"
                        .into(),
                );
                self.draft.set("schedule.lr_schedule", "cos", "");
                false
            }
        };
        if let Some(flag) = self.take("warmup_steps")
            && let Some(value) = self.value(&flag, Kind::Integer)
        {
            let why = match value.as_integer() {
                Some(..0) => "no warm-up",
                _ if ignores_warmup => "the original's cosine never warmed up",
                _ => "",
            };
            self.set(&flag, "schedule.warmup_steps", value.as_integer().unwrap_or(0).max(0), why);
        } else {
            self.draft.set("schedule.warmup_steps", 0, "");
        }
        for name in ["weight_decay_final", "layerwise_lr", "lr_period", "optim", "optimizer"] {
            let Some(flag) = self.take(name) else { continue };
            match (name, flag.text()) {
                ("layerwise_lr", "1") => {
                    self.row(&flag, Fate::Mapped, "", "the decay of the state learns twice as fast")
                }
                ("optim" | "optimizer", "adam" | "none" | "adamw") => {
                    self.set(&flag, "optimizer.type", "adam", "");
                }
                _ => self.row(&flag, Fate::Unsupported, "", "there is nothing like it here"),
            }
        }
    }

    fn machine(&mut self) {
        if let Some(flag) = self.take("devices") {
            match flag.text() {
                "1" | "auto" => self.set(&flag, "hardware.devices", 1, ""),
                _ => self.row(&flag, Fate::Unsupported, "", "a run uses one device"),
            }
        }
        if let Some(flag) = self.take("num_nodes") {
            let fate = if flag.text() == "1" { Fate::Mapped } else { Fate::Unsupported };
            self.row(&flag, fate, "", "a run uses one machine");
        }
        if let Some(flag) = self.take("strategy") {
            self.row(&flag, Fate::Changed, "", "one device needs no strategy");
        }
        if let Some(flag) = self.take("op") {
            self.set(&flag, "train.op", "auto", "the fastest kernel of the device");
        }
    }

    fn output(&mut self) {
        if let Some(flag) = self.take("proj_dir") {
            let folder = flag.text().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            self.set(
                &flag,
                "name",
                experiment_name(folder),
                "runs lie in `runs/`, one folder each",
            );
        }
        if let Some(flag) = self.take("wandb") {
            match flag.text() {
                "" | "None" => self.row(&flag, Fate::Mapped, "", "nothing is sent anywhere"),
                _ => {
                    let sinks: toml_edit::Array = ["tensorboard"].into_iter().collect();
                    self.set(
                        &flag,
                        "log.sinks",
                        sinks,
                        "event files on this machine; `wandb sync` sends them",
                    );
                }
            }
        }
        for name in ["run_name", "logger"] {
            if let Some(flag) = self.take(name) {
                self.row(&flag, Fate::Changed, "", "a run is named by its folder");
            }
        }
    }

    /// Flags that stand behind the end of the training command, because a comment or a space behind a
    /// backslash ended it: the original never saw them.
    fn cut_off(&mut self, following: &[Vec<Word>]) {
        let mut first = None;
        for words in following {
            if !words.first().is_some_and(|word| word.text.starts_with("--")) {
                break;
            }
            first = first.or(words.first().map(|word| word.line));
            for flag in flags(words) {
                self.row(&flag, Fate::NoEffect, "", "the command ended before it");
            }
        }
        if let Some(line) = first {
            self.notes.push(format!(
                "the training command ends before line {line}, at a comment or at a space behind a backslash: \
                 what follows never reached the original"
            ));
        }
    }

    fn further_trainings(&mut self, following: &[Vec<Word>]) {
        let others = following
            .iter()
            .filter_map(|words| words.iter().find(|word| is_program(word, "train.py")));
        if let Some(line) = others.map(|word| word.line).next() {
            self.notes.push(format!(
                "the training of line {line} and later ones are left out: one file, one run"
            ));
        }
    }
}
