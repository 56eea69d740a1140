//! Reads the flags of the machine, the steps, the learning rate and the output.

use toml_edit::Value;

use super::command::Flag;
use super::flags::Kind;
use super::read::{Reader, UNKNOWN_VALUE};
use super::trainer::Trainer;
use crate::import::imported::{
    DEFAULT, ONE_COPY, Outcome, SHARED_PASSES, SINKS, experiment_name, l2wrap,
};

/// Sequences of a mini-epoch in RWKV-LM.
const LM_EPOCH_SAMPLES: i64 = 40320;
/// Micro-steps of an epoch unless the script says it; of RWKV-PEFT since 2026, documents.
const EPOCH_STEPS: i64 = 1000;
/// Steps of the warmup of `--lr_schedule wsd` without `--warmup_steps`.
const WSD_WARMUP: i64 = 100;

/// What becomes of a strategy of Lightning or DeepSpeed.
fn strategy(name: &str) -> String {
    let offloads = name.ends_with("_offload");
    let stage = name.trim_end_matches("_offload");
    let why = match stage {
        "deepspeed_stage_1" => {
            "`hardware.strategy = \"zero1\"` slices the moments of the optimizer over several devices, `auto` where that saves much"
        }
        "deepspeed_stage_2" => {
            "`hardware.strategy = \"zero2\"` slices moments and gradients over several devices; `auto` slices moments where that saves much"
        }
        "deepspeed_stage_3" => {
            "every device keeps all weights; `[quant]` makes frozen ones smaller, `hardware.strategy = \"zero2\"` slices moments and gradients over several devices"
        }
        _ => return ONE_COPY.to_owned(),
    };
    let offload = if offloads {
        "; nothing is offloaded, `accelerator = \"cpu\"` trains on the CPU"
    } else {
        ""
    };
    format!("{why}{offload}")
}

impl Reader {
    /// Reads the devices. More than one become more passes per step, so that a step has the same samples.
    pub(super) fn machine(&mut self) {
        let flags = [self.take("devices"), self.take("num_nodes")];
        let count = |flag: &Option<Flag>| {
            let count = flag.as_ref().and_then(|flag| flag.text().parse::<i64>().ok());
            count.filter(|count| (2..=4096).contains(count)).unwrap_or(1)
        };
        self.world = flags.iter().map(count).product();
        let passes = self.passes();
        for (flag, what) in flags.iter().zip(["device", "machine"]) {
            let Some(flag) = flag else { continue };
            match flag.text() {
                _ if flag.is_unknown() => {
                    self.record(flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
                }
                "1" if what == "device" => self.set(flag, "hardware.devices", 1, ""),
                "1" => self.record(flag, Outcome::Mapped, "", DEFAULT),
                _ if count(&Some(flag.clone())) > 1 => {
                    let why =
                        format!("more passes per step keep the samples of a step; {SHARED_PASSES}");
                    self.record(flag, Outcome::Changed, &passes, &why);
                }
                _ => self.record(flag, Outcome::Changed, "", SHARED_PASSES),
            }
        }
        if let Some(flag) = self.take("strategy") {
            let why = strategy(flag.text());
            self.record(&flag, Outcome::Changed, "", &why);
        }
        if let Some(flag) = self.take("op") {
            self.set(&flag, "train.op", "auto", "the fastest for the device");
        }
    }

    /// The end of the rate with `--lr_schedule wsd`, which no flag changes.
    pub(super) fn end_of_wsd(&mut self) {
        let is_wsd = self.look("lr_schedule").is_some_and(|flag| flag.text() == "wsd");
        if !is_wsd {
            return;
        }
        let why = "`wsd` of the original ends at 0 and ignores lr_final";
        let becomes = self.draft.set("schedule.lr_final", 0.0, why);
        match self.take("lr_final") {
            Some(flag) => self.record(&flag, Outcome::NoEffect, "", why),
            None => self.assume("--lr_final", &becomes, why),
        }
    }

    /// Writes what the original assumes for flags that the script does not have, where it differs from the default here.
    pub(super) fn defaults(&mut self) {
        for (flag, key, value) in [
            ("ctx_len", "train.ctx_len", "1024"),
            ("micro_bsz", "train.micro_bsz", "12"),
            ("epoch_count", "train.epoch_count", "500"),
            ("precision", "train.precision", "\"fp16\""),
            ("lr_init", "schedule.lr_init", "6e-4"),
            ("lr_final", "schedule.lr_final", "1e-5"),
        ] {
            if flag != "epoch_count" || self.last_token().is_none() {
                self.fill(flag, key, value);
            }
        }
        if self.trainer != Trainer::Peft2026 {
            self.fill("epoch_save", "checkpoint.epoch_save", "5");
        }
        self.set_default("L2Wrap", "train.l2wrap", l2wrap(), "always on in the original");
    }

    /// Sets the passes of a step where the original has several devices, and returns the setting.
    fn passes(&mut self) -> String {
        if self.world == 1 {
            return String::new();
        }
        let key = "train.accumulate_grad_batches";
        let why = format!("{} devices of the original", self.world);
        let flag = self.take("accumulate_grad_batches");
        let passes = flag.as_ref().and_then(|flag| self.value(flag, Kind::COUNT));
        let all =
            passes.as_ref().and_then(Value::as_integer).unwrap_or(1).saturating_mul(self.world);
        let all = all.min(u32::MAX.into());
        if let Some(flag) = flag.filter(|_| passes.is_some()) {
            self.set(&flag, key, all, &format!("times the {why}"));
        }
        self.draft.set(key, all, &why)
    }

    /// The stage of RWKV-LM's pretraining; 0 for none.
    pub(super) fn stage(&self) -> i64 {
        let stage = |name| self.look(name).and_then(|flag| flag.text().parse().ok());
        stage("train_stage").or(stage("my_pile_stage")).unwrap_or(self.stage)
    }

    pub(super) fn steps(&mut self) {
        let stage = self.stage();
        self.stage = stage;
        let micro_bsz = self.integer("train.micro_bsz").unwrap_or(12).max(1);
        let passes = self.integer("train.accumulate_grad_batches").unwrap_or(1).max(1);
        let is_pretraining = self.trainer == Trainer::Lm && stage > 1;
        for name in ["train_stage", "my_pile_stage"] {
            let Some(flag) = self.take(name) else { continue };
            match is_pretraining {
                true => {
                    let steps = (LM_EPOCH_SAMPLES / micro_bsz / passes).max(1);
                    let why = "a mini-epoch of RWKV-LM is 40320 sequences";
                    self.set(&flag, "train.epoch_steps", steps, why);
                }
                false if flag.text() == "0" => {
                    self.record(&flag, Outcome::Mapped, "", "0 is the default");
                }
                false if stage == 0 => {
                    self.record(&flag, Outcome::Unsupported, "", "not a stage of RWKV-LM");
                }
                false => {
                    self.record(&flag, Outcome::NoEffect, "", "RWKV-PEFT has no stages");
                }
            }
        }
        self.epoch_steps(micro_bsz, passes, is_pretraining);
        self.exit_tokens(micro_bsz * passes);
        if let Some(flag) = self.take("epoch_begin") {
            match flag.text() {
                "0" => self.record(&flag, Outcome::Mapped, "", "0 is the default"),
                _ => {
                    let why = "other trainers save no optimizer state to resume from; the run starts from the weights";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
            }
        }
    }

    fn epoch_steps(&mut self, micro_bsz: i64, passes: i64, is_pretraining: bool) {
        let flag = self.take("epoch_steps");
        if is_pretraining {
            if let Some(flag) = flag {
                self.record(&flag, Outcome::NoEffect, "", "a mini-epoch is 40320 sequences");
            }
            return;
        }
        let value = flag.as_ref().and_then(|flag| self.value(flag, Kind::COUNT));
        let count = value.as_ref().and_then(Value::as_integer).unwrap_or(EPOCH_STEPS);
        // In RWKV-LM every device takes this number of micro-steps.
        let of_device =
            if self.trainer == Trainer::Lm { passes / self.world } else { passes }.max(1);
        let (steps, why) = match self.trainer {
            Trainer::Peft2026 => (
                rounded_up(rounded_up(count, micro_bsz), passes),
                "optimizer steps; the original counts documents and takes only the first of them",
            ),
            _ if of_device > 1 => (
                count / of_device,
                "optimizer steps; the original counts micro-steps and also cuts the data to this many batches",
            ),
            _ => (
                count,
                "an interval between checkpoints; the original also cuts the data to this many batches",
            ),
        };
        match flag.filter(|_| value.is_some()) {
            Some(flag) => self.set(&flag, "train.epoch_steps", steps.max(1), why),
            None => self.set_default("--epoch_steps", "train.epoch_steps", steps.max(1), why),
        }
    }

    /// The tokens after which RWKV-LM ends; `None` where the script does not say or another trainer ignores it.
    fn last_token(&self) -> Option<i64> {
        let flag = self.look("my_exit_tokens").filter(|_| self.trainer == Trainer::Lm)?;
        let tokens = flag.text().parse::<i64>().ok()?.saturating_abs();
        Some(tokens).filter(|tokens| *tokens > 0)
    }

    /// Without effect where the run ends after a number of tokens.
    pub(super) fn epoch_count(&mut self) {
        if self.last_token().is_some()
            && let Some(flag) = self.take("epoch_count")
        {
            self.record(&flag, Outcome::NoEffect, "", "the run ends after `--my_exit_tokens`");
        }
    }

    /// Mini-epochs that hold `--my_exit_tokens`.
    fn exit_tokens(&mut self, samples: i64) {
        let tokens = self.last_token();
        let Some(flag) = self.take("my_exit_tokens") else { return };
        let steps = self.integer("train.epoch_steps").unwrap_or(1);
        let ctx_len = self.integer("train.ctx_len").unwrap_or(1024);
        let of_epoch = match self.stage > 1 {
            true => ctx_len.saturating_mul(LM_EPOCH_SAMPLES),
            false => ctx_len.saturating_mul(steps).saturating_mul(samples),
        };
        match tokens {
            _ if flag.is_unknown() => self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE),
            Some(tokens) => {
                let epochs = rounded_up(tokens, of_epoch).min(u32::MAX.into());
                let why = match flag.text().starts_with('-') {
                    true => {
                        "mini-epochs that hold this number of tokens; there the rate is the mean of two curves"
                    }
                    false => "mini-epochs that hold this number of tokens",
                };
                self.set(&flag, "train.epoch_count", epochs, why);
                self.ends_by_tokens = true;
            }
            None if self.trainer != Trainer::Lm => {
                self.record(&flag, Outcome::NoEffect, "", "RWKV-PEFT ends after `--epoch_count`");
            }
            None if flag.text() == "0" => {
                self.record(&flag, Outcome::Mapped, "", "0 is the default");
            }
            None => self.record(&flag, Outcome::Unsupported, "", "not an integer"),
        }
    }

    pub(super) fn schedule(&mut self) {
        match self.trainer {
            Trainer::Lm | Trainer::Peft2024 => self.curve_of_lm(),
            Trainer::Peft2025 | Trainer::Peft2026 => self.curve_of_peft(),
        }
    }

    /// The curve of RWKV-LM and the first releases of RWKV-PEFT.
    fn curve_of_lm(&mut self) {
        let lr_final = self.number("schedule.lr_final").unwrap_or_default();
        let (curve, why) = match () {
            () if self.ends_by_tokens => (
                "cos",
                "a cosine over the tokens; there it starts after the warmup, here with the run",
            ),
            () if lr_final == 0.0 => ("linear", "a line, because lr_final is 0"),
            () => ("exp", "the original has no flag for its curve"),
        };
        self.set_default("learning rate", "schedule.lr_schedule", curve, why);
        self.warmup(match self.stage {
            2 => 10,
            3.. => 30,
            _ => 0,
        });
    }

    /// Sets the warmup; `otherwise` is what a negative number or no flag means.
    fn warmup(&mut self, otherwise: i64) {
        let flag = self.take("warmup_steps");
        let read = flag.as_ref().map(|flag| (flag.text().parse::<i64>().ok(), flag.is_unknown()));
        match (flag, read) {
            (Some(flag), Some((Some(steps @ 0..), false))) => {
                self.set(&flag, "schedule.warmup_steps", steps.min(u32::MAX.into()), "");
            }
            (Some(flag), Some((Some(_), false))) => {
                let why = if otherwise == 0 { "no warmup" } else { "the default of this stage" };
                self.set(&flag, "schedule.warmup_steps", otherwise, why);
            }
            (Some(flag), _) => {
                let why = if flag.is_unknown() { UNKNOWN_VALUE } else { "not an integer" };
                self.record(&flag, Outcome::Unsupported, "", why);
                self.set_default("--warmup_steps", "schedule.warmup_steps", otherwise, "");
            }
            (None, _) => {
                self.set_default("--warmup_steps", "schedule.warmup_steps", otherwise, "");
            }
        }
    }

    /// The curves of RWKV-PEFT since 2025.
    fn curve_of_peft(&mut self) {
        let flag = self.take("lr_schedule");
        let is_wsd = flag.as_ref().is_some_and(|flag| flag.text() == "wsd");
        match &flag {
            Some(flag) if is_wsd => {
                let why =
                    "`wsd` of the original is a warmup and a cosine to 0, whatever lr_final is";
                self.set(flag, "schedule.lr_schedule", "cos", why);
            }
            Some(flag) if matches!(flag.text(), "cos" | "cosine" | "cos_decay") => {
                self.set(flag, "schedule.lr_schedule", "cos", "");
            }
            Some(flag) => {
                let why = "the original only has cos and wsd";
                self.record(flag, Outcome::Unsupported, "", why);
                self.draft.set("schedule.lr_schedule", "cos", DEFAULT);
            }
            None => {
                let why = match self.trainer {
                    Trainer::Peft2026 => "",
                    _ => {
                        "releases until the beginning of 2025 have an exponential curve, which is `exp`"
                    }
                };
                self.set_default("--lr_schedule", "schedule.lr_schedule", "cos", why);
            }
        }
        match (self.trainer, is_wsd) {
            (Trainer::Peft2026, false) => self.warmup(0),
            (Trainer::Peft2026, true) => {
                self.no_choice(WSD_WARMUP, "`wsd` always has 100 steps of warmup")
            }
            (_, true) => self.wsd_warmup(),
            (_, false) => self.no_choice(0, "the cosine of this release has no warmup"),
        }
    }

    /// Sets the warmup to `steps`, whatever the script says.
    fn no_choice(&mut self, steps: i64, why: &str) {
        match self.take("warmup_steps") {
            Some(flag) if flag.text().parse::<i64>().is_ok_and(|given| given.max(0) != steps) => {
                self.draft.set("schedule.warmup_steps", steps, why);
                self.record(&flag, Outcome::NoEffect, "", why);
            }
            Some(flag) if flag.text() == steps.to_string() => {
                self.set(&flag, "schedule.warmup_steps", steps, "");
            }
            Some(flag) => self.set(&flag, "schedule.warmup_steps", steps, why),
            None => self.set_default("--warmup_steps", "schedule.warmup_steps", steps, ""),
        }
    }

    fn wsd_warmup(&mut self) {
        let given = self.look("warmup_steps").and_then(|flag| flag.text().parse::<i64>().ok());
        match given {
            Some(1..) => self.warmup(WSD_WARMUP),
            _ => self.no_choice(WSD_WARMUP, "`wsd` has 100 steps of warmup unless more are set"),
        }
    }

    pub(super) fn optimizer(&mut self) {
        let is_lm = self.trainer == Trainer::Lm;
        for name in ["grad_clip", "gradient_clip_val"] {
            let Some(flag) = self.take(name) else { continue };
            match (name, is_lm) {
                ("grad_clip", true) => {
                    if let Some(value) = self.value(&flag, Kind::Number) {
                        self.set(&flag, "optimizer.gradient_clip_val", value, "");
                    }
                }
                (_, true) => self.record(&flag, Outcome::NoEffect, "", "`--grad_clip` counts"),
                (_, false) => {
                    self.record(&flag, Outcome::NoEffect, "", "the original always clips to 1.0");
                }
            }
        }
        for name in ["weight_decay_final", "layerwise_lr", "optim", "optimizer"] {
            let Some(flag) = self.take(name) else { continue };
            let text = flag.text().to_lowercase();
            match (name, text.as_str()) {
                ("layerwise_lr", "1") => self.record(
                    &flag,
                    Outcome::Mapped,
                    "",
                    "the decay of the state always trains at twice the rate",
                ),
                ("layerwise_lr", _) => {
                    let why =
                        "the decay of the state always trains at twice the rate; there all at one";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
                ("optim" | "optimizer", "adam" | "none" | "adamw" | "") => {
                    self.set(&flag, "optimizer.type", "adam", "");
                }
                ("optim" | "optimizer", other) => {
                    let why = format!("`{other}` is not offered; Adam trains");
                    self.record(&flag, Outcome::Unsupported, "", &why);
                }
                _ if text.parse::<f64>().is_ok_and(|value| value <= 0.0) => {
                    self.record(&flag, Outcome::Mapped, "", "the weight decay is constant");
                }
                _ => {
                    let why = "the weight decay is constant; there it moves to this value";
                    self.record(&flag, Outcome::Unsupported, "", why);
                }
            }
        }
    }

    pub(super) fn output(&mut self) {
        match self.take("proj_dir") {
            Some(flag) if flag.is_unknown() => {
                self.record(&flag, Outcome::Unsupported, "", UNKNOWN_VALUE);
            }
            Some(flag) => {
                let folder = flag.text().trim_end_matches('/').rsplit('/').next();
                let name = experiment_name(folder.unwrap_or_default());
                self.set(&flag, "name", name, "each run has a directory in `runs/`");
            }
            None => {}
        }
        if let Some(flag) = self.take("wandb") {
            match flag.text() {
                "" | "None" => self.record(&flag, Outcome::Mapped, "", "a run uploads nothing"),
                _ => {
                    let sinks: toml_edit::Array = SINKS.into_iter().collect();
                    let why = "local event files; a run uploads nothing";
                    self.set(&flag, "log.sinks", sinks, why);
                }
            }
        }
        for name in ["run_name", "logger"] {
            if let Some(flag) = self.take(name) {
                self.record(&flag, Outcome::Changed, "", "a run has the name of its directory");
            }
        }
    }

    /// Weight decay in RWKV-PEFT, which also reaches states and the matrices of adapters.
    pub(super) fn weight_decay(&mut self) {
        let is_above_0 = |flag: &Flag| flag.text().parse::<f64>().is_ok_and(|decay| decay > 0.0);
        if self.trainer != Trainer::Lm
            && self.look("weight_decay").is_some_and(is_above_0)
            && let Some(flag) = self.take("weight_decay")
            && let Some(value) = self.value(&flag, Kind::Number)
        {
            let why = "there also of states, adapters and low-rank matrices";
            self.set(&flag, "optimizer.weight_decay", value, why);
        }
    }
}

/// `count / of`, rounded up; both are positive.
fn rounded_up(count: i64, of: i64) -> i64 {
    count / of + i64::from(count % of > 0)
}
