//! How long it is trained, at which rates, on what, and where results go.

use super::{Fate, Import, Kind, experiment_name};

/// Micro-steps of a mini-epoch in RWKV-LM, times the sequences of a micro-step.
const LM_EPOCH_SAMPLES: i64 = 40320;

impl Import {
    pub(super) fn steps(&mut self) {
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
    }

    pub(super) fn schedule(&mut self, is_rwkv_lm: bool) {
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

    pub(super) fn machine(&mut self) {
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

    pub(super) fn output(&mut self) {
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
}
