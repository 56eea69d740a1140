//! The constants of the optimizer.

/// The constants of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Decay of the running mean of the gradients.
    pub beta1: f64,
    /// Decay of the running mean of the squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Share of a weight that is taken off per step and unit of learning rate.
    pub weight_decay: f64,
}

impl AdamOptions {
    /// Running means that Adam keeps of each trainable number.
    pub const MOMENTS: u64 = 2;
}
