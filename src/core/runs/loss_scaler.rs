//! The loss scale of float16 training.

use serde::{Deserialize, Serialize};

use crate::tensorfile::Dtype;

/// Scale of the first step.
const START: f64 = 65536.0;
/// Steps without overflow after which the scale doubles.
const GROWTH_STEPS: u32 = 2000;
/// Smallest scale. Gradients that overflow even here are too large for float16 without any scale.
const SMALLEST: f64 = 1.0;

/// A factor on the loss that keeps small gradients above float16's smallest numbers.
///
/// Gradients come out multiplied by it and are divided before anything reads them. The factor is a
/// power of two, so both are exact. It halves when gradients overflow and doubles after
/// 2000 steps in which they did not.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct LossScaler {
    scale: f64,
    good_steps: u32,
}

impl LossScaler {
    /// The scaler that a model computing in `dtype` needs: only float16 does.
    pub fn for_dtype(dtype: Dtype) -> Option<LossScaler> {
        (dtype == Dtype::F16).then_some(LossScaler { scale: START, good_steps: 0 })
    }

    /// The scaler with this factor.
    #[must_use]
    pub fn at(self, scale: f64) -> LossScaler {
        LossScaler { scale, ..self }
    }

    /// The factor on the loss of the next step.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Notes that the gradients of a step were finite.
    pub fn grow(&mut self) {
        self.good_steps += 1;
        if self.good_steps == GROWTH_STEPS {
            self.scale *= 2.0;
            self.good_steps = 0;
        }
    }

    /// Notes that the gradients of a step overflowed; `false` when no smaller scale is left.
    #[must_use]
    pub fn shrink(&mut self) -> bool {
        self.scale /= 2.0;
        self.good_steps = 0;
        self.scale >= SMALLEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_float16_is_scaled() {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F64] {
            assert!(LossScaler::for_dtype(dtype).is_none());
        }
    }

    #[test]
    fn halves_at_overflow_and_doubles_after_enough_good_steps() {
        let mut scaler = LossScaler::for_dtype(Dtype::F16).expect("float16 is scaled");
        assert!(scaler.shrink());
        assert_eq!(scaler.scale(), START / 2.0);
        for _ in 1..GROWTH_STEPS {
            scaler.grow();
        }
        assert_eq!(scaler.scale(), START / 2.0);
        scaler.grow();
        assert_eq!(scaler.scale(), START);
        // An overflow starts the count anew.
        scaler.grow();
        assert!(scaler.shrink());
        for _ in 1..GROWTH_STEPS {
            scaler.grow();
        }
        assert_eq!(scaler.scale(), START / 2.0);
    }

    #[test]
    fn ends_below_one() {
        let mut scaler = LossScaler::for_dtype(Dtype::F16).expect("float16 is scaled");
        for _ in 0..16 {
            assert!(scaler.shrink());
        }
        assert_eq!(scaler.scale(), 1.0);
        assert!(!scaler.shrink());
    }
}
