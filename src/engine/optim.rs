//! How gradients change the trainable parameters: parameter groups, the learning-rate curve, clipping, and Adam with
//! decoupled weight decay, in float32. Several devices may hold a slice of the moments each ([`Slices`]).

use std::cell::{Cell, RefCell};

pub use statetune_core::arch::group;
pub use statetune_core::plan::{AdamOptions, LrCurve};
use tch::{Device, Kind, Tensor};

mod slices;

pub use slices::{Bucket, Held, Slices};

use crate::kernels::KernelError;
use crate::kernels::flat::{AdamRule, Copies, Pieces, copies, digest, set_gradient};

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

/// What a device keeps of the optimizer, where several share it: all values, but slices of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The number of the device, from 0.
    pub rank: usize,
    /// Devices.
    pub count: usize,
    /// Whether gradients are sliced too: those of a pass exist for the time of the pass only.
    pub gradients: bool,
}

/// Adam over a list of parameters in one piece: those of one rule are neighbours, in their order.
#[derive(Debug)]
pub struct Adam {
    options: AdamOptions,
    parameters: Vec<Parameter>,
    /// The index of each parameter's first number in the piece.
    places: Vec<i64>,
    values: Tensor,
    /// Of all parameters; absent between passes where they are sliced.
    gradients: RefCell<Option<Tensor>>,
    /// Running means of the gradients of what this device holds, and of their squares.
    m: Tensor,
    v: Tensor,
    share: Option<(Share, Slices)>,
    rules: Vec<Rule>,
    steps: i32,
    /// Of the current values, once it was asked for.
    summary: Cell<Option<Summary>>,
}

/// The parameters of one rule.
#[derive(Clone, Copy, Debug)]
struct Rule {
    lr_scale: f64,
    decays: bool,
    /// The index of the first number in the piece.
    first: i64,
    /// Numbers.
    len: i64,
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
        Adam::shared(parameters, options, None)
    }

    /// [`Adam::new`] on a device that keeps its share only, if any.
    ///
    /// # Panics
    /// As [`Adam::new`].
    pub fn shared(parameters: Vec<Parameter>, options: AdamOptions, share: Option<Share>) -> Adam {
        let _guard = tch::no_grad_guard();
        let device = parameters.first().map_or(Device::Cpu, |p| p.tensor.device());
        let mut rules: Vec<Rule> = Vec::new();
        for p in &parameters {
            let rule = Rule { lr_scale: p.lr_scale, decays: p.decays, first: 0, len: 0 };
            if !rules.iter().any(|known| known.applies_to(p)) {
                rules.push(rule);
            }
        }
        let mut places = vec![0; parameters.len()];
        let mut n = 0;
        for rule in &mut rules {
            rule.first = n;
            for (p, place) in parameters.iter().zip(&mut places) {
                if rule.applies_to(p) {
                    *place = n;
                    n += p.tensor.numel().next_multiple_of(ALIGNMENT) as i64;
                }
            }
            rule.len = n - rule.first;
        }
        let zeros = |n: i64| Tensor::zeros([n], (Kind::Float, device));
        let values = zeros(n);
        for (p, &place) in parameters.iter().zip(&places) {
            let mut moved = view(&values, p, place);
            moved.copy_(&p.tensor);
            p.tensor.shallow_clone().set_data(&moved);
        }
        // After the values, whose former memory is free again.
        let share = share.map(|share| (share, Slices::new(n, share.count)));
        let held = share.map_or(n, |(_, slices)| slices.slice_len());
        let (m, v) = (zeros(held), zeros(held));
        let (gradients, summary) = (RefCell::default(), Cell::new(None));
        let adam = Adam {
            options,
            parameters,
            places,
            values,
            gradients,
            m,
            v,
            share,
            rules,
            steps: 0,
            summary,
        };
        if !share.is_some_and(|(share, _)| share.gradients) {
            adam.zero_gradients();
        }
        adam
    }

    /// The trainable parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The running means of the parameter `i`: views, in its shape.
    ///
    /// # Panics
    /// Where they are sliced.
    pub fn moments(&self, i: usize) -> Moments {
        assert!(self.share.is_none(), "this device has all moments");
        let of = |all| view(all, &self.parameters[i], self.places[i]);
        Moments { m: of(&self.m), v: of(&self.v) }
    }

    /// How the numbers are divided among the devices; absent where this device has all.
    pub fn slices(&self) -> Option<Slices> {
        self.share.map(|(_, slices)| slices)
    }

    /// The running means of what this device holds, of the gradients and of their squares: one axis.
    pub fn held_moments(&self) -> [&Tensor; 2] {
        [&self.m, &self.v]
    }

    /// Bytes of the running means and of the gradients that this device holds now.
    pub fn held_bytes(&self) -> u64 {
        let gradients = self.gradients.borrow();
        let tensors = [&self.m, &self.v].into_iter().chain(gradients.as_ref());
        tensors.map(|x| 4 * x.numel() as u64).sum()
    }

    /// What this device holds of the numbers from `first` on.
    fn held(&self, first: i64, len: i64) -> Vec<Held> {
        match self.share {
            None => vec![Held { first, len, at: first }],
            Some((share, slices)) => {
                slices.held(share.rank).filter_map(|held| held.within(first, len)).collect()
            }
        }
    }

    /// The index of the first number of the parameter `i` in the piece, and its numbers.
    pub fn range(&self, i: usize) -> (i64, i64) {
        (self.places[i], self.parameters[i].tensor.numel() as i64)
    }

    /// Steps done.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// Takes over `steps` steps of another optimizer over the same parameters.
    pub fn set_steps(&mut self, steps: i32) {
        self.steps = steps;
    }

    /// Copies into the running means of the parameter `i` what this device holds of `moments`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn set_moments(&mut self, i: usize, moments: &Moments) {
        let _guard = tch::no_grad_guard();
        let (place, len) = self.range(i);
        for (ours, theirs) in [(&self.m, &moments.m), (&self.v, &moments.v)] {
            assert_eq!(theirs.numel() as i64, len);
            let theirs = theirs.reshape([-1]);
            for Held { first, len, at } in self.held(place, len) {
                ours.narrow(0, at, len).copy_(&theirs.narrow(0, first - place, len));
            }
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
            let found = digest(&self.values).expect("memory for a few numbers");
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
        let mut gradients = self.gradients.borrow_mut();
        if let Some(gradients) = &*gradients {
            let _ = gradients.shallow_clone().zero_();
            return;
        }
        let all = self.values.zeros_like();
        for (p, &place) in self.parameters.iter().zip(&self.places) {
            set_gradient(&p.tensor, &view(&all, p, place)).expect("a gradient alike");
        }
        *gradients = Some(all);
    }

    /// Clears the gradients before a pass on one of several devices. Where they are sliced, a CPU has room for none: backward passes make
    /// them, and they leave as they come. On a GPU all exist until the pass ends.
    pub fn begin_pass(&self) {
        match self.share {
            Some((Share { gradients: true, .. }, _)) if self.values.device() == Device::Cpu => {
                self.free_gradients();
            }
            _ => self.zero_gradients(),
        }
    }

    /// Frees sliced gradients.
    pub fn free_gradients(&self) {
        if self.share.is_some_and(|(share, _)| share.gradients) {
            for p in &self.parameters {
                set_gradient(&p.tensor, &Tensor::new()).expect("no gradient");
            }
            self.gradients.take();
        }
    }

    /// The gradients that backward passes accumulated since [`Adam::zero_gradients`], in the order of the parameters;
    /// zeros for a parameter without a gradient.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|parameter| parameter.tensor.grad()).collect()
    }

    /// On a GPU copies of the parameters in `kind` for one pass, see [`flat::copies`](crate::kernels::flat::copies).
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn copies(&self, kind: Kind) -> Result<Option<Copies>, KernelError> {
        let leaves = self.parameters.iter().map(|parameter| &parameter.tensor);
        let gradients = self.gradients.borrow();
        gradients
            .as_ref()
            .map_or(Ok(None), |gradients| copies(&self.values, gradients, leaves, kind))
    }

    /// All gradients in one piece, with zeros between those of two parameters.
    ///
    /// # Panics
    /// Between passes where they are sliced.
    pub fn all_gradients(&self) -> Tensor {
        self.all_gradients_if_held().expect("a pass")
    }

    /// All gradients in one piece; `None` where none has room for them.
    pub fn all_gradients_if_held(&self) -> Option<Tensor> {
        self.gradients.borrow().as_ref().map(Tensor::shallow_clone)
    }

    /// Takes the gradient of the parameter `i`, one axis, from a backward pass that made it; `None` where all gradients are in one piece, and
    /// where there is none.
    pub fn take_gradient(&self, i: usize) -> Option<Tensor> {
        if self.gradients.borrow().is_some() {
            return None;
        }
        let leaf = &self.parameters[i].tensor;
        let gradient = Some(leaf.grad()).filter(Tensor::defined)?;
        set_gradient(leaf, &Tensor::new()).expect("no gradient");
        Some(gradient.reshape([-1]))
    }

    /// Copies between all gradients and `slice`, those that this device holds, towards the first or from there.
    pub fn copy_gradients(&self, slice: &Tensor, to_all: bool) {
        let _guard = tch::no_grad_guard();
        let all = self.all_gradients();
        for Held { first, len, at } in self.held(0, all.numel() as i64) {
            let (mut all, mut slice) = (all.narrow(0, first, len), slice.narrow(0, at, len));
            match to_all {
                true => all.copy_(&slice),
                false => slice.copy_(&all),
            }
        }
    }

    /// All values in one piece.
    pub fn all_values(&self) -> &Tensor {
        &self.values
    }

    /// One step with the accumulated gradients:
    /// `p -= lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p)`.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn step(&mut self, lr: f64) -> Result<(), KernelError> {
        let gradients = self.all_gradients();
        self.step_with(lr, &gradients)
    }

    /// [`Adam::step`] of what this device holds, of which `gradients` are the gradients: those of all parameters, or a slice.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn step_with(&mut self, lr: f64, gradients: &Tensor) -> Result<(), KernelError> {
        self.steps += 1;
        self.summary.set(None);
        let AdamOptions { beta1, beta2, eps, weight_decay } = self.options;
        for Rule { lr_scale, decays, first, len } in self.rules.clone() {
            let weight_decay = if decays { weight_decay } else { 0.0 };
            let lr = lr * lr_scale;
            let rule = AdamRule { beta1, beta2, eps, step: self.steps, lr, weight_decay };
            for Held { first, len, at } in self.held(first, len) {
                let mut pieces = Pieces {
                    values: self.values.narrow(0, first, len),
                    gradients: gradients.narrow(0, at, len),
                    m: self.m.narrow(0, at, len),
                    v: self.v.narrow(0, at, len),
                };
                pieces.step(&rule)?;
            }
        }
        Ok(())
    }
}

impl Rule {
    fn applies_to(&self, p: &Parameter) -> bool {
        (self.lr_scale, self.decays) == (p.lr_scale, p.decays)
    }
}

/// What belongs to a parameter whose first number has the index `place`.
fn view(all: &Tensor, p: &Parameter, place: i64) -> Tensor {
    all.narrow(0, place, p.tensor.numel() as i64).view_as(&p.tensor)
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

    /// Slices on each device, put together, are the moments and values of one device, and take their share of its memory.
    #[test]
    fn devices_with_slices_take_their_share_of_the_memory() {
        let parameters = || {
            let sizes = [70_000, 17, 30_001, 500];
            let values =
                sizes.map(|n| (0..n).map(|i| (i % 91) as f32 / 13.0).collect::<Vec<f32>>());
            let rules = [(1.0, true), (2.0, false), (1.0, false), (1.0, true)];
            let all = values.iter().zip(rules);
            all.map(|(x, (scale, decays))| parameter(x, scale, decays)).collect::<Vec<_>>()
        };
        let options = AdamOptions { weight_decay: 0.1, ..OPTIONS };
        let mut whole = Adam::new(parameters(), options);
        let gradients = (whole.all_values() * 0.7).sin();
        for _ in 0..3 {
            whole.step_with(0.1, &gradients).expect("a step");
        }
        for count in [2, 3, 7] {
            let slices = Slices::new(gradients.numel() as i64, count);
            for rank in 0..count {
                for has_all_gradients in [true, false] {
                    let share = Share { rank, count, gradients: !has_all_gradients };
                    let mut adam = Adam::shared(parameters(), options, Some(share));
                    let of_all = if has_all_gradients { whole.held_bytes() / 3 } else { 0 };
                    let of_slice = adam.held_bytes() - of_all + 4 * slices.slice_len() as u64;
                    let fair = whole.held_bytes() as f64 / count as f64;
                    assert!((of_slice as f64 / fair - 1.0).abs() < 0.05, "{of_slice} of {fair}");

                    let slice = Tensor::zeros([slices.slice_len()], (Kind::Float, Device::Cpu));
                    for held in slices.held(rank) {
                        let from = gradients.narrow(0, held.first, held.len);
                        slice.narrow(0, held.at, held.len).copy_(&from);
                    }
                    for _ in 0..3 {
                        adam.step_with(0.1, &slice).expect("a step");
                    }
                    for Held { first, len, at } in slices.held(rank) {
                        let same = |ours: &Tensor, theirs: &Tensor, at| {
                            assert_eq!(ours.narrow(0, at, len), theirs.narrow(0, first, len));
                        };
                        same(&adam.values, &whole.values, first);
                        same(&adam.m, &whole.m, at);
                        same(&adam.v, &whole.v, at);
                    }
                }
            }
        }
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
