//! How gradients change the trainable parameters: parameter groups, the learning-rate curve, clipping, and Adam with
//! decoupled weight decay, in float32.

pub use statetune_core::arch::group;
pub use statetune_core::plan::{AdamOptions, LrCurve};
use tch::{Kind, Tensor};

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

/// Adam over a list of parameters.
#[derive(Debug)]
pub struct Adam {
    options: AdamOptions,
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    steps: i32,
}

impl Adam {
    /// An optimizer before its first step.
    pub fn new(parameters: Vec<Parameter>, options: AdamOptions) -> Adam {
        let moments = parameters
            .iter()
            .map(|p| Moments {
                m: p.tensor.zeros_like().detach(),
                v: p.tensor.zeros_like().detach(),
            })
            .collect();
        Adam { options, parameters, moments, steps: 0 }
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
    }

    /// Whether every entry of every parameter is finite.
    pub fn is_finite(&self) -> bool {
        // A sum costs one pass over the entries; only a sum that is not finite needs a closer look.
        let sums: Vec<Tensor> =
            self.parameters.iter().map(|p| p.tensor.detach().sum(None)).collect();
        if sums.is_empty()
            || Tensor::stack(&sums, 0).sum(Kind::Double).double_value(&[]).is_finite()
        {
            return true;
        }
        self.first_not_finite().is_none()
    }

    /// The first parameter with a NaN or infinite entry.
    pub fn first_not_finite(&self) -> Option<&Parameter> {
        self.parameters.iter().find(|p| !bool::try_from(p.tensor.isfinite().all()).unwrap_or(false))
    }

    /// Clears the gradients of the parameters.
    pub fn zero_gradients(&self) {
        for parameter in &self.parameters {
            parameter.tensor.shallow_clone().zero_grad();
        }
    }

    /// The gradients that backward passes accumulated since [`Adam::zero_gradients`], in the order of the parameters;
    /// zeros for a parameter without a gradient.
    pub fn gradients(&self) -> Vec<Tensor> {
        let gradient = |parameter: &Parameter| {
            let found = parameter.tensor.grad();
            if found.defined() { found } else { parameter.tensor.zeros_like().detach() }
        };
        self.parameters.iter().map(gradient).collect()
    }

    /// One step with the gradients (same order and shapes as the parameters):
    /// `p -= lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p)`.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64) {
        let _guard = tch::no_grad_guard();
        self.steps += 1;
        let o = self.options;
        let (bias1, bias2) = (1.0 - o.beta1.powi(self.steps), 1.0 - o.beta2.powi(self.steps));
        for ((parameter, moments), g) in
            self.parameters.iter_mut().zip(&mut self.moments).zip(gradients)
        {
            let Moments { m, v } = moments;
            let _ = m.g_mul_scalar_(o.beta1).g_add_(&(g * (1.0 - o.beta1)));
            let _ = v.g_mul_scalar_(o.beta2).g_add_(&(g.square() * (1.0 - o.beta2)));
            let lr = lr * parameter.lr_scale;
            if parameter.decays && o.weight_decay > 0.0 {
                let _ = parameter.tensor.g_mul_scalar_(1.0 - lr * o.weight_decay);
            }
            let denominator = (&*v / bias2).sqrt() + o.eps;
            let _ = parameter.tensor.g_sub_(&(&*m * (lr / bias1) / denominator));
        }
    }
}

/// Numbers that one thread sums. libtorch splits the sum of more than 32768 numbers by the number of threads.
const PIECE: i64 = 16_384;

/// The sum of all numbers in float64, in an order that does not depend on the number of threads: pieces first, then
/// their sums.
fn sum(numbers: &Tensor) -> Tensor {
    let mut numbers = numbers.reshape([-1]);
    while numbers.numel() as i64 > PIECE {
        let rest = numbers.numel() as i64 % PIECE;
        let whole = numbers.numel() as i64 - rest;
        let pieces = numbers.narrow(0, 0, whole).view([-1, PIECE]);
        let pieces = pieces.sum_dim_intlist(1, false, Kind::Double);
        let rest = numbers.narrow(0, whole, rest).sum(Kind::Double).view([1]);
        numbers = Tensor::cat(&[pieces, rest], 0);
    }
    numbers.sum(Kind::Double)
}

/// Scales all gradients by one factor when their common norm exceeds `max_norm` (0: never), and returns the norm
/// before clipping.
pub fn clip_gradients(gradients: &mut [Tensor], max_norm: f64) -> f64 {
    let squares: Vec<Tensor> = gradients.iter().map(|g| sum(&g.square())).collect();
    let norm = Tensor::stack(&squares, 0).sum(Kind::Double).sqrt().double_value(&[]);
    if max_norm > 0.0 && norm + CLIP_EPS > max_norm {
        for g in gradients {
            let _ = g.g_mul_scalar_(max_norm / (norm + CLIP_EPS));
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: AdamOptions =
        AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };

    fn parameter(value: f64, decays: bool) -> Parameter {
        let tensor = Tensor::from_slice(&[value]).to_kind(Kind::Float).set_requires_grad(true);
        Parameter { name: "p".to_string(), tensor, lr_scale: 1.0, decays }
    }

    #[test]
    fn three_steps_by_hand() {
        let mut adam = Adam::new(vec![parameter(0.0, false)], OPTIONS);
        for (g, lr, expected) in [
            (1e-4, 0.01, -0.0099990001),
            (1e-4, 0.109, -0.1189881012),
            (-2e-4, 0.208, -0.1032896740),
        ] {
            adam.step(&[Tensor::from_slice(&[g as f32])], lr);
            let found = adam.parameters()[0].tensor.double_value(&[0]);
            assert!((found - expected).abs() < 2e-8, "{found} instead of {expected}");
        }
    }

    #[test]
    fn the_norm_does_not_depend_on_the_number_of_threads() {
        tch::manual_seed(1);
        let g = Tensor::randn([300, 1000], (Kind::Float, tch::Device::Cpu));
        let threads = tch::get_num_threads();
        let norms = [1, 2, 3, 7].map(|n| {
            tch::set_num_threads(n);
            clip_gradients(&mut [g.copy()], 0.0).to_bits()
        });
        tch::set_num_threads(threads);
        assert_eq!(norms, [norms[0]; 4]);
        let norm = g.to_kind(Kind::Double).norm().double_value(&[]);
        assert!((f64::from_bits(norms[0]) / norm - 1.0).abs() < 1e-7);
    }

    #[test]
    fn decay_shrinks_what_decays() {
        let options = AdamOptions { weight_decay: 0.5, ..OPTIONS };
        let mut adam = Adam::new(vec![parameter(1.0, true), parameter(1.0, false)], options);
        let zero = || Tensor::from_slice(&[0f32]);
        adam.step(&[zero(), zero()], 0.1);
        assert!((adam.parameters()[0].tensor.double_value(&[0]) - 0.95).abs() < 1e-6);
        assert_eq!(adam.parameters()[1].tensor.double_value(&[0]), 1.0);
    }

    #[test]
    fn clipping_scales_all_together() {
        let gradients = || vec![Tensor::from_slice(&[3f32]), Tensor::from_slice(&[4f32])];
        let mut clipped = gradients();
        assert!((clip_gradients(&mut clipped, 1.0) - 5.0).abs() < 1e-9);
        assert!((clipped[0].double_value(&[0]) - 0.6).abs() < 1e-6);
        let mut free = gradients();
        clip_gradients(&mut free, 0.0);
        assert_eq!(free[1].double_value(&[0]), 4.0);
    }
}
