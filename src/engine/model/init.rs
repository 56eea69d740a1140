//! Initial values of a model that is trained from scratch, after the architecture's authors.

use tch::{Device, Kind, Tensor};

use super::{Shape, Version};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The initial value of the tensor `name` of size `size`, float32. Random numbers come from libtorch's
/// generator.
pub(super) fn initial_value(name: &str, size: &[i64], shape: &Shape) -> Tensor {
    let place = Place::new(name, shape);
    let value = match (place.part, place.name) {
        ("", "emb.weight") => uniform(size, 1e-4),
        ("", "head.weight") => orthogonal(size, 0.5 * tall(size)),
        // Each half of a block starts as nothing, and so does what the head copies.
        ("att", "output.weight")
        | ("ffn" | "ffnPre", "value.weight" | "receptance.weight")
        | ("", "head_q.weight") => Tensor::zeros(size, F32),
        ("att", "key.weight" | "gate.weight") => orthogonal(size, 0.1),
        ("att", "ln_x.weight") => Tensor::full(size, place.ln_x_weight(), F32),
        (_, name) if name.ends_with(".weight") => match size {
            [_, _] => orthogonal(size, 1.0),
            _ => Tensor::ones(size, F32),
        },
        (_, name) if name.ends_with(".bias") => Tensor::zeros(size, F32),
        ("ffnPre", _) => rwkv5(&place),
        _ => match shape.version() {
            Version::V5 => rwkv5(&place),
            Version::V6 => rwkv6(size, &place),
            Version::V7 => rwkv7(size, &place),
        },
    };
    value.reshape(size)
}

/// What is neither a matrix nor part of a norm in RWKV-5, and in the `ffnPre` of RWKV-6.
fn rwkv5(place: &Place<'_>) -> Tensor {
    let mix = |power: f64| place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn" | "ffnPre", _) | ("att", "time_mix_k") => mix(h),
        ("att", "time_mix_v") => mix(h) + 0.3 * place.depth,
        ("att", "time_mix_r" | "time_mix_g") => mix(0.5 * h),
        ("att", "time_decay") => place.time_decay(),
        ("att", "time_faaaa") => place.time_faaaa(),
        _ => unknown(place),
    }
}

/// What is neither a matrix nor part of a norm in RWKV-6.
fn rwkv6(size: &[i64], place: &Place<'_>) -> Tensor {
    let maa = |power: f64| 1.0 - place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn", _) | ("att", "time_maa_x" | "time_maa_w" | "time_maa_k") => maa(h),
        ("att", "time_maa_v") => maa(h) - 0.3 * place.depth,
        ("att", "time_maa_r" | "time_maa_g") => maa(0.5 * h),
        ("att", "time_maa_w1" | "time_decay_w1") => Tensor::zeros(size, F32),
        ("att", "time_maa_w2" | "time_decay_w2") => uniform(size, 0.01),
        ("att", "time_decay") => place.time_decay(),
        ("att", "time_faaaa") => place.time_faaaa(),
        _ => unknown(place),
    }
}

/// What is neither a matrix nor part of a norm in RWKV-7.
fn rwkv7(size: &[i64], place: &Place<'_>) -> Tensor {
    let mix = |power: f64| 1.0 - place.share().pow_tensor_scalar(power);
    let h = place.height;
    match (place.part, place.name) {
        ("ffn", "x_k") => mix(h.powi(4)),
        ("att", "x_r" | "x_g") => mix(0.2 * h),
        ("att", "x_w" | "x_a") => mix(0.9 * h),
        ("att", "x_k" | "x_v") => mix(0.7 * h),
        ("att", "w0") => {
            let curve = place.slope().pow_tensor_scalar(1.0 + place.depth.powf(0.3));
            curve * 6.0 - 5.5 + place.zigzag() * 2.5
        }
        ("att", "a0") => place.zigzag() * 0.3 + place.centred() * 0.4 - 0.19,
        ("att", "v0") => place.centred() * -0.4 + 0.73,
        ("att", "k_k") => place.centred() * -0.1 + 0.71,
        ("att", "k_a") => Tensor::full(size, 1.02, F32),
        ("att", "r_k") => Tensor::full(size, -0.04, F32),
        ("att", "w1" | "a1" | "v1" | "g1") => Tensor::zeros(size, F32),
        ("att", "w2" | "a2" | "v2" | "g2") => orthogonal(size, 0.1 * tall(size)),
        _ => unknown(place),
    }
}

fn unknown(place: &Place<'_>) -> ! {
    unreachable!("`{}.{}` is a tensor of no version", place.part, place.name)
}

/// Where a tensor stands in its model: what the formulas are made of.
struct Place<'a> {
    shape: &'a Shape,
    /// `att`, `ffn`, `ffnPre`; empty outside of these.
    part: &'a str,
    /// The name within the part: `x_r`, `key.weight`.
    name: &'a str,
    layer: f64,
    /// 0 in the first block, 1 in the last.
    depth: f64,
    /// 1 in the first block, falling to `1 / n_layer`.
    height: f64,
}

impl<'a> Place<'a> {
    fn new(name: &'a str, shape: &'a Shape) -> Place<'a> {
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
    fn share(&self) -> Tensor {
        self.channels() / self.shape.n_embd as f64
    }

    /// `n / (A - 1)` for channel n of the time mix: from 0 to 1.
    fn slope(&self) -> Tensor {
        let a = self.shape.dim_att();
        Tensor::arange(a, F32) / (a - 1).max(1) as f64
    }

    /// From -0.5 to 0.5 over the channels of the time mix.
    fn centred(&self) -> Tensor {
        self.slope() - 0.5
    }

    /// From -1 to 1 in each head, flat in the middle.
    fn zigzag(&self) -> Tensor {
        let half = (self.shape.head_size - 1) as f64 / 2.0;
        let within_head = (self.channels().remainder(self.shape.head_size as f64) - half) / half;
        &within_head * within_head.abs()
    }

    /// Of RWKV-5 and RWKV-6: from -6 to -1, with more slow channels in higher blocks.
    fn time_decay(&self) -> Tensor {
        self.slope().pow_tensor_scalar(0.7 + 1.3 * self.depth) * 5.0 - 6.0
    }

    /// Of RWKV-5 and RWKV-6: falling to 0 over the channels, with a ripple of three.
    fn time_faaaa(&self) -> Tensor {
        let channels = Tensor::arange(self.shape.dim_att(), F32);
        let ripple = ((channels + 1.0).remainder(3.0) - 1.0) * 0.1;
        (1.0 - self.slope()) * self.depth + ripple
    }

    /// Of all versions: larger in higher blocks.
    fn ln_x_weight(&self) -> f64 {
        ((1.0 + self.layer) / self.shape.n_layer as f64).powf(0.7)
    }
}

/// Random numbers from `-bound` to `bound`.
fn uniform(size: &[i64], bound: f64) -> Tensor {
    Tensor::empty(size, F32).uniform_(-bound, bound)
}

/// What a matrix with more rows than columns is scaled by, so that its rows keep their length.
fn tall(size: &[i64]) -> f64 {
    if size[0] > size[1] { (size[0] as f64 / size[1] as f64).sqrt() } else { 1.0 }
}

/// A random matrix with orthonormal rows or columns, times `gain`.
fn orthogonal(size: &[i64], gain: f64) -> Tensor {
    let (rows, columns) = (size[0], size[1]);
    let random = Tensor::randn([rows.max(columns), rows.min(columns)], F32);
    let (q, r) = Tensor::linalg_qr(&random, "reduced");
    // The sign makes the distribution uniform over orthogonal matrices.
    let q = q * r.diagonal(0, 0, 1).sign();
    (if rows < columns { q.tr() } else { q }) * gain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares entries of a tensor of a model of 12 layers and 768 channels, 65536 tokens.
    fn check(version: Version, name: &str, expected: &[(i64, f64)]) {
        let shape = Shape::for_scratch(version, 12, 768, 65536);
        let tensors = shape.tensors();
        let (_, size) = tensors.iter().find(|(found, _)| found == name).expect("a tensor");
        let value = initial_value(name, size, &shape).view(-1);
        for &(n, expected) in expected {
            let found = value.double_value(&[n]);
            assert!((found - expected).abs() < 1e-5, "{version} {name}[{n}]: {found}");
        }
    }

    #[test]
    fn values_of_rwkv5() {
        let last = |part| format!("blocks.11.{part}");
        check(Version::V5, "blocks.0.att.time_decay", &[(0, -6.0), (384, -2.919_331), (767, -1.0)]);
        check(Version::V5, &last("att.time_decay"), &[(0, -6.0), (384, -4.746_738), (767, -1.0)]);
        check(Version::V5, "blocks.0.att.time_faaaa", &[(0, 0.0), (1, 0.1), (2, -0.1), (3, 0.0)]);
        check(Version::V5, &last("att.time_faaaa"), &[(0, 1.0), (1, 1.098_696), (767, -0.1)]);
        check(Version::V5, "blocks.0.att.time_mix_k", &[(0, 0.0), (384, 0.5)]);
        check(Version::V5, "blocks.0.att.time_mix_g", &[(0, 0.0), (192, 0.5)]);
        check(Version::V5, &last("att.time_mix_v"), &[(0, 0.3), (384, 1.243_874)]);
        check(Version::V5, "blocks.6.ffn.time_mix_r", &[(192, 0.5)]);
        check(Version::V5, &last("att.ln_x.weight"), &[(5, 1.0)]);
        check(Version::V5, "blocks.5.att.ln_x.weight", &[(5, 0.615_572)]);
    }

    #[test]
    fn values_of_rwkv6() {
        let last = |part| format!("blocks.11.{part}");
        check(Version::V6, "blocks.0.att.time_decay", &[(0, -6.0), (384, -2.919_331), (767, -1.0)]);
        check(Version::V6, &last("att.time_faaaa"), &[(0, 1.0), (1, 1.098_696), (767, -0.1)]);
        check(Version::V6, "blocks.0.att.time_maa_x", &[(0, 1.0), (384, 0.5)]);
        check(Version::V6, "blocks.0.att.time_maa_r", &[(0, 1.0), (192, 0.5)]);
        check(Version::V6, &last("att.time_maa_v"), &[(0, 0.7), (384, -0.243_874)]);
        check(Version::V6, "blocks.6.ffn.time_maa_k", &[(192, 0.5)]);
        check(Version::V6, "blocks.0.att.time_maa_w1", &[(7, 0.0)]);
    }

    #[test]
    fn values_of_rwkv7() {
        let w0 = [(0, -8.0), (1, -7.83597), (383, -0.00391), (767, 3.0)];
        check(Version::V7, "blocks.0.att.w0", &w0);
        check(Version::V7, "blocks.0.att.a0", &[(0, -0.69), (767, 0.31)]);
        check(Version::V7, "blocks.1.att.v0", &[(0, 0.93), (767, 0.53)]);
        check(Version::V7, "blocks.0.att.k_k", &[(0, 0.76), (767, 0.66)]);
        check(Version::V7, "blocks.0.att.r_k", &[(0, -0.04)]);
    }

    #[test]
    fn every_tensor_has_its_shape_and_is_finite() {
        for version in Version::ALL {
            let plain = Shape::for_scratch(version, 2, 128, 300);
            let optional = version != Version::V7;
            let options = Shape { pre_ffn: optional, head_qk: 4 * i64::from(optional), ..plain };
            for shape in [plain, options, Shape { n_layer: 1, ..plain }] {
                for (name, size) in shape.tensors() {
                    let value = initial_value(&name, &size, &shape);
                    assert_eq!(value.size(), size, "{name}");
                    assert!(value.isfinite().all().int64_value(&[]) == 1, "{name}");
                }
            }
        }
    }

    #[test]
    fn matrices_are_orthogonal() {
        let tall = orthogonal(&[96, 32], 2.0);
        let square = tall.tr().matmul(&tall);
        let error = (square - Tensor::eye(32, F32) * 4.0).abs().max().double_value(&[]);
        assert!(error < 1e-4, "{error}");
    }
}
