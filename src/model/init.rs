//! Initial values of an x070 model that is trained from scratch, after the architecture's authors.

use tch::{Device, Kind, Tensor};

use super::Shape;

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The initial value of the tensor `name` of size `size`, float32. Random numbers come from libtorch's
/// generator.
pub fn init_x070(name: &str, size: &[i64], shape: &Shape) -> Tensor {
    let short =
        name.rsplit_once("att.").or(name.rsplit_once("ffn.")).map_or(name, |(_, short)| short);
    let layer = name
        .strip_prefix("blocks.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|n| n.parse::<i64>().ok());
    let layer = layer.unwrap_or(0) as f64;
    let n_layer = shape.n_layer as f64;
    // How deep the block lies: 0 in the first, 1 in the last; and 1 in the first falling to 1/L.
    let depth = if shape.n_layer > 1 { layer / (n_layer - 1.0) } else { 0.0 };
    let height = 1.0 - layer / n_layer;

    let channel = Tensor::arange(shape.n_embd, F32);
    let share = &channel / shape.n_embd as f64; // 0 .. 1 over channels, last excluded
    let slope = &channel / (shape.n_embd - 1).max(1) as f64; // 0 ..= 1
    let centred = &slope - 0.5;
    let half = (shape.head_size - 1) as f64 / 2.0;
    let within_head = (channel.remainder(shape.head_size as f64) - half) / half; // -1 ..= 1 in each head
    let zigzag = &within_head * within_head.abs();
    let mix = |power: f64| 1.0 - share.pow_tensor_scalar(power);

    let value = match (short, name.contains("ffn.")) {
        ("x_k", true) => mix(height.powi(4)),
        ("x_r" | "x_g", _) => mix(0.2 * height),
        ("x_w" | "x_a", _) => mix(0.9 * height),
        ("x_k" | "x_v", _) => mix(0.7 * height),
        ("w0", _) => slope.pow_tensor_scalar(1.0 + depth.powf(0.3)) * 6.0 - 5.5 + &zigzag * 2.5,
        ("a0", _) => &zigzag * 0.3 + &centred * 0.4 - 0.19,
        ("v0", _) => &centred * -0.4 + 0.73,
        ("k_k", _) => &centred * -0.1 + 0.71,
        ("k_a", _) => channel.full_like(1.02),
        ("r_k", _) => Tensor::full(size, -0.04, F32),
        ("w1" | "a1" | "v1" | "g1", _) => Tensor::zeros(size, F32),
        ("w2" | "a2" | "v2" | "g2", _) => orthogonal(size, 0.1 * tall(size)),
        ("output.weight", _) | ("value.weight", true) => Tensor::zeros(size, F32),
        ("key.weight", false) => orthogonal(size, 0.1),
        ("receptance.weight" | "value.weight", false) | ("key.weight", true) => {
            orthogonal(size, 1.0)
        }
        ("ln_x.weight", _) => Tensor::full(size, ((1.0 + layer) / n_layer).powf(0.7), F32),
        ("emb.weight", _) => Tensor::empty(size, F32).uniform_(-1e-4, 1e-4),
        ("head.weight", _) => orthogonal(size, 0.5 * tall(size)),
        _ if name.ends_with(".bias") => Tensor::zeros(size, F32),
        // The weights of the layer norms.
        _ => Tensor::ones(size, F32),
    };
    value.reshape(size)
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

    #[test]
    fn decay_of_the_first_layer() {
        let shape = Shape::for_scratch(12, 768, 65536);
        let w0 = init_x070("blocks.0.att.w0", &[1, 1, 768], &shape);
        for (n, expected) in [(0, -8.0), (1, -7.83597), (383, -0.00391), (767, 3.0)] {
            assert!((w0.double_value(&[0, 0, n]) - expected).abs() < 1e-4, "channel {n}");
        }
    }

    #[test]
    fn every_tensor_has_its_shape_and_is_finite() {
        let shape = Shape::for_scratch(2, 128, 300);
        for (name, size) in shape.tensors() {
            let value = init_x070(&name, &size, &shape);
            assert_eq!(value.size(), size, "{name}");
            assert!(value.isfinite().all().int64_value(&[]) == 1, "{name}");
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
