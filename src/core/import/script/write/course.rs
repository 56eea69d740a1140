//! How long it is trained, and at which rates.

use serde_json::{Value, json};

use super::super::super::Facts;
use super::{Script, plain};

/// What RWKV-PEFT adds to the loss, whatever its flags say.
const L2WRAP: f64 = 1e-4;
/// To what norm RWKV-PEFT clips, whatever its flags say.
const CLIP: f64 = 1.0;

impl Script {
    pub(super) fn steps(&mut self, facts: &Facts) {
        let count = |key: &str| self.look(key).and_then(Value::as_u64).unwrap_or(1).max(1);
        let (micro_bsz, accumulated) =
            (count("train.micro_bsz"), count("train.accumulate_grad_batches"));
        match self.take("train.epoch_steps") {
            Some(Value::Number(steps)) => {
                let steps = steps.as_u64().unwrap_or(1);
                self.flag("epoch_steps", &(steps * accumulated).to_string());
                let why = "micro-steps there, and the data is cut to so many batches";
                self.remark("train.epoch_steps", &json!(steps), why);
            }
            Some(word) => match facts.documents {
                Some(documents) => {
                    let steps = (documents / micro_bsz).max(1);
                    self.flag("epoch_steps", &steps.to_string());
                    let why = format!(
                        "a number there; so many micro-batches hold the {documents} documents of now"
                    );
                    self.remark("train.epoch_steps", &word, &why);
                }
                None => self.remark(
                    "train.epoch_steps",
                    &word,
                    "a number there: write how many micro-batches the documents make",
                ),
            },
            None => {}
        }
        let why = "every row adds 1e-4 of its largest logit squared there";
        self.lost("train.l2wrap", |value| value.as_f64() == Some(L2WRAP), why);
        if let Some(precision) =
            self.look("train.precision").filter(|word| **word != json!("bf16")).cloned()
        {
            self.remark("train.precision", &precision, "its CUDA kernels compute in bf16 alone");
        }
    }

    pub(super) fn schedule(&mut self) {
        let curve = self.take("schedule.lr_schedule").unwrap_or(json!("cos"));
        let lr_init = self.look("schedule.lr_init").cloned();
        self.flag("lr_schedule", "cos");
        match curve.as_str() {
            Some("cos") => {}
            Some("constant") => {
                self.lost(
                    "schedule.lr_final",
                    |value| Some(value) == lr_init.as_ref(),
                    "a constant rate ends where it begins",
                );
                self.flag("lr_final", &lr_init.as_ref().map_or(String::new(), plain));
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "a cosine between equal rates is constant",
                );
            }
            Some("exp") => {
                self.remark("schedule.lr_schedule", &curve, "the generation of the tutorial has this curve and no flag for it; the script takes the cosine of later ones");
            }
            Some("wsd") => {
                self.remark(
                    "schedule.lr_schedule",
                    &curve,
                    "its `wsd` is a warm-up and a cosine to 0; the script takes the cosine",
                );
            }
            _ => self.remark(
                "schedule.lr_schedule",
                &curve,
                "there is no such curve; the script takes the cosine",
            ),
        }
        if let Some(warmup) = self.take("schedule.warmup_steps") {
            self.flag("warmup_steps", &plain(&warmup));
            if warmup != json!(0) {
                self.remark(
                    "schedule.warmup_steps",
                    &warmup,
                    "releases of 2024 do not warm up with a cosine",
                );
            }
        }
    }

    pub(super) fn optimizer(&mut self) {
        self.take("optimizer.type");
        self.lost(
            "optimizer.gradient_clip_val",
            |value| value.as_f64() == Some(CLIP),
            "always 1.0 there",
        );
    }
}
