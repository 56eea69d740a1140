//! The learning rate as a pure function of the optimizer step.

use std::borrow::Cow;
use std::f64::consts::PI;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Curve of the learning rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LrSchedule {
    /// Half a cosine wave.
    #[default]
    Cos,
    /// Exponential: each step multiplies the rate by the same factor.
    Exp,
    /// A straight line.
    Linear,
    /// Warmup-stable-decay: `lr_init` until the last steps of the run, then a straight line to `lr_final`.
    Wsd,
    /// `lr_init` in all steps.
    Constant,
}

/// `schedule.lr_init`: a learning rate, or the word `auto`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LrInit {
    /// This rate, above 0.
    Rate(f64),
    /// The rate that a range test finds when the run starts.
    Auto,
}

impl LrInit {
    const AUTO: &str = "auto";

    /// The rate; `None` before it is found.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Rate(rate) => Some(rate),
            Self::Auto => None,
        }
    }
}

impl Serialize for LrInit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Rate(rate) => serializer.serialize_f64(*rate),
            Self::Auto => serializer.serialize_str(Self::AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for LrInit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = LrInit;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(formatter, "a number above 0 or {:?}", LrInit::AUTO)
            }

            fn visit_f64<E: de::Error>(self, rate: f64) -> Result<LrInit, E> {
                match rate > 0.0 {
                    true => Ok(LrInit::Rate(rate)),
                    false => Err(E::invalid_value(de::Unexpected::Float(rate), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, rate: u64) -> Result<LrInit, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_i64<E: de::Error>(self, rate: i64) -> Result<LrInit, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<LrInit, E> {
                match word {
                    LrInit::AUTO => Ok(LrInit::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for LrInit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LrInit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number", "exclusiveMinimum": 0.0 },
                {
                    "type": "string",
                    "enum": [Self::AUTO],
                    "x-taplo": { "docs": { "enumValues": ["The rate that a range test finds."] } },
                },
            ]
        })
    }
}

/// Share of the rate at the first step of a warmup.
const WARMUP_START: f64 = 0.01;

/// A learning-rate curve over a run of `total_steps`.
#[derive(Clone, Copy, Debug)]
pub struct LrCurve {
    /// Form of the curve.
    pub schedule: LrSchedule,
    /// Rate after the warmup.
    pub lr_init: f64,
    /// Rate at the end of the run; not used by a constant curve.
    pub lr_final: f64,
    /// Share of all steps that end the run with a falling rate, 0 ..= 1; used by a warmup-stable-decay curve
    /// alone.
    pub decay_share: f64,
    /// Steps in which the rate rises from a hundredth of the curve to the curve.
    pub warmup_steps: u64,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
}

impl LrCurve {
    /// The rate of the optimizer step `step`, which counts from 0.
    pub fn at(&self, step: u64) -> f64 {
        let (from, to) = (self.lr_init, self.lr_final);
        let progress = self.progress(step);
        let curve = match self.schedule {
            LrSchedule::Constant => from,
            LrSchedule::Linear => from + (to - from) * progress,
            LrSchedule::Wsd => from + (to - from) * self.decay_progress(step),
            LrSchedule::Exp => from * (to / from).powf(progress),
            LrSchedule::Cos => {
                let progress = (step as f64 / self.total_steps as f64).min(1.0);
                to + 0.5 * (from - to) * (1.0 + (PI * progress).cos())
            }
        };
        if step >= self.warmup_steps {
            return curve;
        }
        curve * (WARMUP_START + (1.0 - WARMUP_START) * step as f64 / self.warmup_steps as f64)
    }

    /// Share of the falling steps at the end that are done with this one, 0 ..= 1. At least one step falls
    /// (arXiv:2404.06395, section 4).
    fn decay_progress(&self, step: u64) -> f64 {
        let falling = (self.total_steps as f64 * self.decay_share).ceil().max(1.0);
        let done = step as f64 + 1.0 - (self.total_steps as f64 - falling);
        (done / falling).clamp(0.0, 1.0)
    }

    /// Share of the steps after the warmup that are done with this one, 0 ..= 1.
    fn progress(&self, step: u64) -> f64 {
        let done = step as f64 - self.warmup_steps as f64 + 1.0;
        let all = self.total_steps as f64 - self.warmup_steps as f64;
        if all <= 0.0 { 1.0 } else { (done / all).clamp(0.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LrSchedule; 5] = [
        LrSchedule::Cos,
        LrSchedule::Exp,
        LrSchedule::Linear,
        LrSchedule::Wsd,
        LrSchedule::Constant,
    ];

    fn curve(schedule: LrSchedule, warmup_steps: u64, total_steps: u64) -> LrCurve {
        let (lr_init, lr_final, decay_share) = (1.0, 0.01, 0.1);
        LrCurve { schedule, lr_init, lr_final, decay_share, warmup_steps, total_steps }
    }

    #[test]
    fn exponential_with_warmup() {
        let curve = curve(LrSchedule::Exp, 10, 5000);
        for (step, lr) in [
            (0, 0.01),
            (1, 0.109),
            (5, 0.505),
            (9, 0.901),
            (10, 0.999078),
            (11, 0.998156),
            (2500, 0.10037),
            (4999, 0.01),
        ] {
            assert!((curve.at(step) - lr).abs() < 5e-6, "step {step}: {}", curve.at(step));
        }
    }

    #[test]
    fn cosine() {
        let curve = curve(LrSchedule::Cos, 0, 8000);
        for (step, lr) in [(0, 1.0), (10, 0.999996), (4000, 0.505), (8000, 0.01), (9000, 0.01)] {
            assert!((curve.at(step) - lr).abs() < 1e-6, "step {step}: {}", curve.at(step));
        }
    }

    #[test]
    fn linear_and_constant() {
        let line = curve(LrSchedule::Linear, 0, 100);
        assert!((line.at(49) - 0.505).abs() < 1e-12);
        assert!((line.at(99) - 0.01).abs() < 1e-12);
        let constant = curve(LrSchedule::Constant, 10, 100);
        assert_eq!((constant.at(0), constant.at(10), constant.at(99)), (0.01, 1.0, 1.0));
    }

    #[test]
    fn warmup_stable_decay() {
        let curve = curve(LrSchedule::Wsd, 10, 100);
        for (step, lr) in [(0, 0.01), (5, 0.505), (10, 1.0), (89, 1.0), (90, 0.901), (99, 0.01)] {
            assert!((curve.at(step) - lr).abs() < 1e-12, "step {step}: {}", curve.at(step));
        }
        // A share that is less than a step falls in the last one.
        let short = LrCurve { decay_share: 1e-6, ..curve };
        assert_eq!(short.at(98), 1.0);
        assert!((short.at(99) - 0.01).abs() < 1e-12);
        let all = LrCurve { decay_share: 1.0, warmup_steps: 0, ..curve };
        assert!((all.at(49) - 0.505).abs() < 1e-12, "a straight line");
    }

    #[test]
    fn a_warmup_precedes_every_curve() {
        for schedule in ALL {
            let (plain, warm) = (curve(schedule, 0, 100), curve(schedule, 10, 100));
            let factor = |step: u64| 0.01 + 0.99 * step as f64 / 10.0;
            // The curves that start behind the warmup stand at their first rate until then.
            let under = |step: u64| match schedule {
                LrSchedule::Linear | LrSchedule::Exp => 1.0,
                _ => plain.at(step),
            };
            for step in 0..10 {
                assert!((warm.at(step) - under(step) * factor(step)).abs() < 1e-12, "{schedule:?}");
            }
        }
    }

    #[test]
    fn a_run_shorter_than_its_warmup_has_finite_rates() {
        for schedule in ALL {
            let curve = curve(schedule, 10, 5);
            assert!((0..10).all(|step| curve.at(step).is_finite()));
        }
    }
}
