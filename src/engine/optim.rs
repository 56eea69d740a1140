//! How gradients change the trainable parameters: parameter groups, the learning-rate curve, clipping, and Adam with
//! decoupled weight decay, in float32.

use std::cell::Cell;

pub use statetune_core::arch::group;
pub use statetune_core::plan::{AdamOptions, LrCurve};
use tch::{Device, Kind, Tensor};

use crate::kernels::KernelError;
use crate::kernels::flat::{AdamRule, Copies, Pieces, digest, set_gradient};

/// Added to a norm before a division by it.
const CLIP_EPS: f64 = 1e-6;

/// A trainable tensor.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in checkpoints.
    pub name: String,
    /// Float32, requires a gradient.
    pub tensor: Tensor,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Whether weight decay applies.
    pub decays: bool,
}

/// Running means of the gradients of one parameter.
#[derive(Debug)]
pub struct Moments {
    /// Of the gradient.
    pub m: Tensor,
    /// Of its square.
    pub v: Tensor,
}

/// The index of a parameter's first number in a piece is a multiple of this, so that each parameter is aligned as a
/// tensor of its own.
const ALIGNMENT: usize = 16;

/// Adam over a list of parameters in one piece: those of one rule are neighbours, in their order.
#[derive(Debug)]
pub struct Adam {
    options: AdamOptions,
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    /// All values, gradients and running means.
    all: Pieces,
    /// Views of `all`, one for each rule.
    groups: Vec<Group>,
    steps: i32,
    /// Of the current values, once it was asked for.
    summary: Cell<Option<Summary>>,
}

/// The parameters of one rule.
#[derive(Debug)]
struct Group {
    pieces: Pieces,
    lr_scale: f64,
    decays: bool,
}

/// What is known of all values together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Summary {
    digest: u64,
    not_finite: i64,
}

impl Adam {
    /// An optimizer before its first step. The parameters move into one piece; tensors that share them
    /// have the same values there.
    ///
    /// # Panics
    /// When memory runs out.
    pub fn new(parameters: Vec<Parameter>, options: AdamOptions) -> Adam {
        let _guard = tch::no_grad_guard();
        let device = parameters.first().map_or(Device::Cpu, |p| p.tensor.device());
        let mut rules: Vec<(f64, bool)> = Vec::new();
        for p in &parameters {
            if !rules.contains(&(p.lr_scale, p.decays)) {
                rules.push((p.lr_scale, p.decays));
            }
        }
        let mut places = vec![0; parameters.len()];
        let (mut ranges, mut n) = (Vec::new(), 0);
        for rule in &rules {
            let first = n;
            for (p, place) in parameters.iter().zip(&mut places) {
                if (p.lr_scale, p.decays) == *rule {
                    *place = n;
                    n += p.tensor.numel().next_multiple_of(ALIGNMENT) as i64;
                }
            }
            ranges.push((first, n - first));
        }
        let zeros = || Tensor::zeros([n], (Kind::Float, device));
        let view = |all: &Tensor, p: &Parameter, place: i64| {
            all.narrow(0, place, p.tensor.numel() as i64).view_as(&p.tensor)
        };
        let values = zeros();
        for (p, &place) in parameters.iter().zip(&places) {
            let mut moved = view(&values, p, place);
            moved.copy_(&p.tensor);
            p.tensor.shallow_clone().set_data(&moved);
        }
        // After the values, whose former memory is free again.
        let all = Pieces { values, gradients: zeros(), m: zeros(), v: zeros() };
        let moments = parameters.iter().zip(&places).map(|(p, &place)| {
            set_gradient(&p.tensor, &view(&all.gradients, p, place)).expect("a gradient alike");
            Moments { m: view(&all.m, p, place), v: view(&all.v, p, place) }
        });
        let moments = moments.collect();
        let group = |((lr_scale, decays), (first, len)): ((f64, bool), (i64, i64))| {
            let part = |x: &Tensor| x.narrow(0, first, len);
            let pieces = Pieces {
                values: part(&all.values),
                gradients: part(&all.gradients),
                m: part(&all.m),
                v: part(&all.v),
            };
            Group { pieces, lr_scale, decays }
        };
        let groups = rules.into_iter().zip(ranges).map(group).collect();
        Adam { options, parameters, moments, all, groups, steps: 0, summary: Cell::new(None) }
    }

    /// The trainable parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The running means, in the order of the parameters.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Steps done.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// Copies the state of another optimizer over the same parameters: `steps` steps done, and values and running
    /// means in the order of the parameters.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn restore(&mut self, steps: i32, values: &[Tensor], moments: &[Moments]) {
        self.set_values(values);
        assert_eq!(moments.len(), self.moments.len());
        self.steps = steps;
        for (ours, theirs) in self.moments.iter_mut().zip(moments) {
            ours.m.copy_(&theirs.m);
            ours.v.copy_(&theirs.v);
        }
    }

    /// Copies `values` into the parameters, in their order; the running means stay.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn set_values(&mut self, values: &[Tensor]) {
        let _guard = tch::no_grad_guard();
        assert_eq!(values.len(), self.parameters.len());
        for (parameter, value) in self.parameters.iter_mut().zip(values) {
            parameter.tensor.copy_(value);
        }
        self.summary.set(None);
    }

    /// Whether every entry of every parameter is finite. On a GPU the answer waits for the device, once a step with
    /// [`Adam::digest`].
    pub fn is_finite(&self) -> bool {
        self.summary().not_finite == 0
    }

    /// A digest of all values, the same on every device.
    pub fn digest(&self) -> u64 {
        self.summary().digest
    }

    fn summary(&self) -> Summary {
        let summary = self.summary.get().unwrap_or_else(|| {
            let found = digest(&self.all.values).expect("memory for a few numbers");
            let found = Vec::<i64>::try_from(found.to_device(Device::Cpu)).expect("two numbers");
            Summary { digest: found[0].cast_unsigned(), not_finite: found[1] }
        });
        self.summary.set(Some(summary));
        summary
    }

    /// The first parameter with a NaN or infinite entry.
    pub fn first_not_finite(&self) -> Option<&Parameter> {
        self.parameters.iter().find(|p| !bool::try_from(p.tensor.isfinite().all()).unwrap_or(false))
    }

    /// Clears the gradients of the parameters.
    pub fn zero_gradients(&self) {
        let _ = self.all.gradients.shallow_clone().zero_();
    }

    /// The gradients that backward passes accumulated since [`Adam::zero_gradients`], in the order of the parameters;
    /// zeros for a parameter without a gradient.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|parameter| parameter.tensor.grad()).collect()
    }

    /// On a GPU copies of the parameters in `kind` for one pass, see [`Pieces::copies`].
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn copies(&self, kind: Kind) -> Result<Option<Copies>, KernelError> {
        self.all.copies(self.parameters.iter().map(|parameter| &parameter.tensor), kind)
    }

    /// All gradients in one piece, with zeros between those of two parameters.
    pub fn all_gradients(&self) -> &Tensor {
        &self.all.gradients
    }

    /// One step with the accumulated gradients:
    /// `p -= lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p)`.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn step(&mut self, lr: f64) -> Result<(), KernelError> {
        self.steps += 1;
        self.summary.set(None);
        let AdamOptions { beta1, beta2, eps, weight_decay } = self.options;
        for Group { pieces, lr_scale, decays } in &mut self.groups {
            let weight_decay = if *decays { weight_decay } else { 0.0 };
            let lr = lr * *lr_scale;
            pieces.step(&AdamRule { beta1, beta2, eps, step: self.steps, lr, weight_decay })?;
        }
        Ok(())
    }
}

/// Scales all gradients, whose common norm is `norm`, by one factor when that exceeds `max_norm` (0: never).
pub fn clip_gradients(gradients: &Tensor, norm: f64, max_norm: f64) {
    if max_norm > 0.0 && norm + CLIP_EPS > max_norm {
        let _ = gradients.shallow_clone().g_mul_scalar_(max_norm / (norm + CLIP_EPS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: AdamOptions =
        AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };

    fn parameter(values: &[f32], lr_scale: f64, decays: bool) -> Parameter {
        let tensor = Tensor::from_slice(values).set_requires_grad(true);
        Parameter { name: "p".to_string(), tensor, lr_scale, decays }
    }

    fn step(adam: &mut Adam, gradients: &[f32], lr: f64) {
        for (parameter, g) in adam.parameters().iter().zip(gradients) {
            let _ = parameter.tensor.grad().fill_(f64::from(*g));
        }
        adam.step(lr).expect("a step");
    }

    #[test]
    fn three_steps_by_hand() {
        let mut adam = Adam::new(vec![parameter(&[0.0], 1.0, false)], OPTIONS);
        for (g, lr, expected) in [
            (1e-4, 0.01, -0.0099990001),
            (1e-4, 0.109, -0.1189881012),
            (-2e-4, 0.208, -0.1032896740),
        ] {
            step(&mut adam, &[g], lr);
            let found = adam.parameters()[0].tensor.double_value(&[0]);
            assert!((found - expected).abs() < 2e-8, "{found} instead of {expected}");
        }
    }

    #[test]
    fn decay_shrinks_what_decays() {
        let options = AdamOptions { weight_decay: 0.5, ..OPTIONS };
        let all = vec![parameter(&[1.0], 1.0, true), parameter(&[1.0], 1.0, false)];
        let mut adam = Adam::new(all, options);
        step(&mut adam, &[0.0, 0.0], 0.1);
        assert!((adam.parameters()[0].tensor.double_value(&[0]) - 0.95).abs() < 1e-6);
        assert_eq!(adam.parameters()[1].tensor.double_value(&[0]), 1.0);
    }

    #[test]
    fn parameters_of_several_rules_lie_in_one_piece_and_keep_values_and_sharers() {
        let values: [&[f32]; 4] = [&[1.0, 2.0, 3.0], &[4.0], &[5.0; 17], &[6.0, 7.0]];
        let rules = [(1.0, false), (2.0, false), (1.0, true), (1.0, false)];
        let parameters: Vec<Parameter> = values
            .iter()
            .zip(rules)
            .map(|(x, (scale, decays))| parameter(x, scale, decays))
            .collect();
        let sharer = parameters[2].tensor.shallow_clone();
        let mut adam = Adam::new(parameters, OPTIONS);
        for (parameter, expected) in adam.parameters().iter().zip(values) {
            let found = Vec::<f32>::try_from(parameter.tensor.detach()).expect("a vector");
            assert_eq!(found, expected);
            assert_eq!(parameter.tensor.data_ptr().addr() % 64, 0, "starts as a tensor of its own");
        }
        let before = adam.digest();
        // A backward pass reaches the gradients of all through those who share them.
        (&sharer * 3.0).sum(Kind::Float).backward();
        assert_eq!(adam.gradients()[2].double_value(&[16]), 3.0);
        assert_eq!(adam.all_gradients().sum(Kind::Double).double_value(&[]), 3.0 * 17.0);
        adam.step(0.1).expect("a step");
        assert!((sharer.double_value(&[0]) - 4.9).abs() < 1e-4);
        assert_eq!(adam.parameters()[0].tensor.double_value(&[1]), 2.0);
        assert_ne!(adam.digest(), before);
        assert!(adam.is_finite());
    }

    #[test]
    fn a_parameter_that_is_not_finite_is_found_by_name() {
        let mut adam = Adam::new(vec![parameter(&[0.0, 1.0], 1.0, false)], OPTIONS);
        assert!(adam.is_finite());
        adam.set_values(&[Tensor::from_slice(&[0.0, f32::NAN])]);
        assert!(!adam.is_finite());
        assert_eq!(adam.first_not_finite().map(|p| &*p.name), Some("p"));
    }

    #[test]
    fn clipping_scales_all_together() {
        let gradients = || Tensor::from_slice(&[3f32, 4.0]);
        let clipped = gradients();
        clip_gradients(&clipped, 5.0, 1.0);
        assert!((clipped.double_value(&[0]) - 0.6).abs() < 1e-6);
        let free = gradients();
        clip_gradients(&free, 5.0, 0.0);
        assert_eq!(free.double_value(&[1]), 4.0);
    }
}
