//! Building blocks of initial values: the position of a tensor in its model, and random tensors.

use tch::{Device, Kind, Tensor};

use super::Shape;

pub(super) const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Panics: a version has no initial value for one of its tensors.
pub(super) fn unknown(place: &Place<'_>) -> ! {
    unreachable!("`{}.{}` has no initial value", place.part, place.name)
}

/// The position of a tensor in its model: the arguments of the formulas.
pub(super) struct Place<'a> {
    shape: &'a Shape,
    /// `att`, `ffn`, `ffnPre`; empty outside of these.
    pub(super) part: &'a str,
    /// The name within the part: `x_r`, `key.weight`.
    pub(super) name: &'a str,
    pub(super) layer: f64,
    /// 0 in the first block, 1 in the last.
    pub(super) depth: f64,
    /// 1 in the first block, falling to `1 / n_layer`.
    pub(super) height: f64,
}

impl<'a> Place<'a> {
    pub(super) fn new(name: &'a str, shape: &'a Shape) -> Place<'a> {
        let in_block = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        let (layer, name) = in_block.unwrap_or(("0", name));
        let in_part =
            name.split_once('.').filter(|(part, _)| ["att", "ffn", "ffnPre"].contains(part));
        let (part, name) = in_part.unwrap_or(("", name));
        let layer: f64 = layer.parse().expect("blocks are numbered");
        let n_layer = shape.n_layer as f64;
        let depth = if shape.n_layer > 1 { layer / (n_layer - 1.0) } else { 0.0 };
        Place { shape, part, name, layer, depth, height: 1.0 - layer / n_layer }
    }

    /// The number of each channel, from 0.
    fn channels(&self) -> Tensor {
        Tensor::arange(self.shape.n_embd, F32)
    }

    /// `n / C` for channel n: from 0 on, 1 excluded.
    pub(super) fn share(&self) -> Tensor {
        self.channels() / self.shape.n_embd as f64
    }

    /// `n / (A - 1)` for channel n of the time mix: from 0 to 1.
    pub(super) fn slope(&self) -> Tensor {
        let a = self.shape.dim_att();
        Tensor::arange(a, F32) / (a - 1).max(1) as f64
    }

    /// From -0.5 to 0.5 over the channels of the time mix.
    pub(super) fn centred(&self) -> Tensor {
        self.slope() - 0.5
    }

    /// From -1 to 1 in each head, flat in the middle.
    pub(super) fn zigzag(&self) -> Tensor {
        let half = (self.shape.head_size - 1) as f64 / 2.0;
        let within_head = (self.channels().remainder(self.shape.head_size as f64) - half) / half;
        &within_head * within_head.abs()
    }

    /// Of RWKV-5 and RWKV-6: from -6 to -1, with more slow channels in higher blocks.
    pub(super) fn time_decay(&self) -> Tensor {
        self.slope().pow_tensor_scalar(0.7 + 1.3 * self.depth) * 5.0 - 6.0
    }

    /// Of RWKV-5 and RWKV-6: falling to 0 over the channels, with a ripple of three.
    pub(super) fn time_faaaa(&self) -> Tensor {
        let channels = Tensor::arange(self.shape.dim_att(), F32);
        let ripple = ((channels + 1.0).remainder(3.0) - 1.0) * 0.1;
        (1.0 - self.slope()) * self.depth + ripple
    }

    /// Of all versions: larger in higher blocks.
    pub(super) fn ln_x_weight(&self) -> f64 {
        ((1.0 + self.layer) / self.shape.n_layer as f64).powf(0.7)
    }
}

/// Random numbers from `-bound` to `bound`.
pub(super) fn uniform(size: &[i64], bound: f64) -> Tensor {
    Tensor::empty(size, F32).uniform_(-bound, bound)
}

/// What a matrix with more rows than columns is scaled by, so that its rows keep their length.
pub(super) fn tall(size: &[i64]) -> f64 {
    if size[0] > size[1] { (size[0] as f64 / size[1] as f64).sqrt() } else { 1.0 }
}

/// A random matrix with orthonormal rows or columns, times `gain`.
pub(super) fn orthogonal(size: &[i64], gain: f64) -> Tensor {
    let (rows, columns) = (size[0], size[1]);
    let random = Tensor::randn([rows.max(columns), rows.min(columns)], F32);
    let (q, r) = Tensor::linalg_qr(&random, "reduced");
    // The sign makes the distribution uniform over orthogonal matrices.
    let q = q * r.diagonal(0, 0, 1).sign();
    (if rows < columns { q.tr() } else { q }) * gain
}
