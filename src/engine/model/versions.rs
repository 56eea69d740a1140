//! The computation of each version: the registry of the engine; and new models.

use tch::{Kind, Tensor};

use super::init::{F32, Place, orthogonal, tall, uniform};
use super::layers::{ChannelMix, Norm, TimeMix};
use super::{Shape, Version, Weights, rwkv5, rwkv6, rwkv7};

/// The computation of a version. Prefixes are names in a checkpoint, such as `blocks.0.att`.
pub(super) struct Computation {
    /// The time mix of the weights under a prefix, in the block with this index, after its norm.
    pub(super) time_mix: fn(&Weights, &str, i64, &Norm, Kind) -> Box<dyn TimeMix>,
    /// The channel mix of the weights under a prefix, after its norm.
    pub(super) channel_mix: fn(&Weights, &str, &Norm, Kind) -> Box<dyn ChannelMix>,
    /// The initial value of a tensor of this size, which is neither a matrix of a linear layer nor part of a norm.
    pub(super) initial_value: fn(&Place<'_>, &[i64]) -> Tensor,
}

/// The computation of this version.
pub(super) fn computation(version: Version) -> Computation {
    match version {
        Version::V5 => rwkv5::RWKV5,
        Version::V6 => rwkv6::RWKV6,
        Version::V7 => rwkv7::RWKV7,
    }
}

impl Weights {
    /// A new model, float32, initialised from `seed` as the architecture's authors do.
    pub fn scratch(shape: Shape, seed: i64) -> Weights {
        tch::manual_seed(seed);
        Weights::from_fn(shape, |name, size| initial_value(name, size, &shape))
    }
}

/// The initial value of the tensor `name` of size `size`, float32. Random numbers come from libtorch's
/// generator.
fn initial_value(name: &str, size: &[i64], shape: &Shape) -> Tensor {
    let place = Place::new(name, shape);
    let value = match (place.part, place.name) {
        ("", "emb.weight") => uniform(size, 1e-4),
        ("", "head.weight") => orthogonal(size, 0.5 * tall(size)),
        // Output projections and `head_q` start at zero, so that each half of a block first adds nothing.
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
        ("ffnPre", _) => (rwkv5::RWKV5.initial_value)(&place, size),
        _ => (computation(shape.version()).initial_value)(&place, size),
    };
    value.reshape(size)
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
            let optional = version.has_options();
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
