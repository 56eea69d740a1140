//! Which weights learn faster than others, and which ones decay.
//!
//! The released models were trained with these rules. Only large matrices decay: pulling the small
//! ones, the vectors or a state towards zero would change what they mean.

use crate::arch::Version;

/// `(lr_scale, decays)` of the parameter `name` of this shape: the factor on its learning rate, and
/// whether weight decay applies where the optimizer has one.
///
/// The decay of the WKV state learns at twice the rate: `w0` in x070; `time_decay` in x052 and x060, without
/// its low-rank matrices. Weights of linear layers (also embedding and head) decay, unless they
/// belong to a token shift, a decay or a bonus.
pub fn group(version: Version, name: &str, shape: &[i64]) -> (f64, bool) {
    let is_matrix = shape.iter().filter(|&&size| size > 1).count() >= 2;
    let decays = name.ends_with(".weight") && is_matrix;
    match version {
        Version::V7 => (if name.ends_with("att.w0") { 2.0 } else { 1.0 }, decays),
        Version::V5 | Version::V6 => {
            let low_rank = ["_w1", "_w2"].iter().any(|end| name.ends_with(end));
            (if name.contains("time_decay") && !low_rank { 2.0 } else { 1.0 }, decays)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_every_kind_of_parameter() {
        let plain = (1.0, false);
        let decaying = (1.0, true);
        let fast = (2.0, false);
        let both: &[(&str, &[i64], (f64, bool))] = &[
            ("emb.weight", &[32, 128], decaying),
            ("head.weight", &[32, 128], decaying),
            ("ln_out.weight", &[128], plain),
            ("blocks.0.ln0.bias", &[128], plain),
            ("blocks.1.att.ln_x.weight", &[128], plain),
            ("blocks.1.att.key.weight", &[128, 128], decaying),
            ("blocks.1.ffn.value.weight", &[128, 448], decaying),
            ("blocks.1.att.time_state", &[2, 64, 64], plain),
        ];
        let old: &[(&str, &[i64], (f64, bool))] = &[
            ("blocks.1.att.time_mix_k", &[1, 1, 128], plain),
            ("blocks.1.ffn.time_mix_r", &[1, 1, 128], plain),
            ("blocks.1.att.time_decay", &[2, 64], fast),
            ("blocks.1.att.time_faaaa", &[2, 64], plain),
            ("blocks.1.att.gate.weight", &[128, 128], decaying),
            ("blocks.0.ffnPre.receptance.weight", &[128, 128], decaying),
            ("head_q.weight", &[64, 128], decaying),
        ];
        let v6: &[(&str, &[i64], (f64, bool))] = &[
            ("blocks.1.att.time_maa_x", &[1, 1, 128], plain),
            ("blocks.1.att.time_maa_w1", &[128, 160], plain),
            ("blocks.1.att.time_maa_w2", &[5, 32, 128], plain),
            ("blocks.1.att.time_decay", &[1, 1, 128], fast),
            ("blocks.1.att.time_decay_w1", &[128, 64], plain),
            ("blocks.1.att.time_decay_w2", &[64, 128], plain),
        ];
        let v7: &[(&str, &[i64], (f64, bool))] = &[
            ("blocks.1.att.x_r", &[1, 1, 128], plain),
            ("blocks.1.att.w0", &[1, 1, 128], fast),
            ("blocks.1.att.w1", &[128, 32], plain),
            ("blocks.1.att.w2", &[32, 128], plain),
            ("blocks.1.att.a0", &[1, 1, 128], plain),
            ("blocks.1.att.v2", &[32, 128], plain),
            ("blocks.1.att.g1", &[128, 32], plain),
            ("blocks.1.att.k_k", &[1, 1, 128], plain),
            ("blocks.1.att.r_k", &[2, 64], plain),
            ("blocks.1.ffn.x_k", &[1, 1, 128], plain),
        ];
        for (version, tables) in [
            (Version::V5, [both, old].as_slice()),
            (Version::V6, &[both, old, v6]),
            (Version::V7, &[both, v7]),
        ] {
            for (name, shape, expected) in tables.iter().copied().flatten() {
                assert_eq!(group(version, name, shape), *expected, "{version:?} {name}");
            }
        }
    }
}
