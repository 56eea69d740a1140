//! Groups of parameters: what is trained together, what is trained faster, and what decays.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Version;

/// A group of parameters; each parameter of a model belongs to exactly one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TrainPart {
    /// The token embedding.
    Emb,
    /// The head; with `head_qk` also its copying matrices.
    Head,
    /// Weights and biases of all normalisation layers.
    Ln,
    /// The vectors of token shift and state decay: `time_*` in RWKV-5 and RWKV-6; `x_*`, `w0`, `a0`, `v0`, `k_k`,
    /// `k_a` and `r_k` in RWKV-7.
    Time,
    /// The low-rank matrices that make these vectors depend on the token: `time_*_w1` and `time_*_w2` in RWKV-6;
    /// `w1`, `w2`, `a1`, `a2`, `v1`, `v2`, `g1` and `g2` in RWKV-7. RWKV-5 has none.
    LowRank,
    /// The linear layers of all time mixes.
    Att,
    /// The linear layers of all channel mixes.
    Ffn,
}

/// The name in the experiment file.
impl fmt::Display for TrainPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// `(lr_scale, decays)` of the parameter `name` of this shape: the factor on its learning rate, and
/// whether weight decay applies where the optimizer has one.
///
/// The released models were trained with these rules. The decay of the WKV state is trained at twice the rate. Weights
/// of linear layers (also embedding and head) decay: pulling the small matrices, the vectors or a state towards zero
/// would change what they mean.
pub fn group(version: Version, name: &str, shape: &[i64]) -> (f64, bool) {
    let is_matrix = shape.iter().filter(|&&size| size > 1).count() >= 2;
    let lr_scale = if last_of(name) == version.facts().double_rate { 2.0 } else { 1.0 };
    (lr_scale, name.ends_with(".weight") && is_matrix)
}

/// The group of the tensor `name`, as `train_parts` names it.
pub fn part(version: Version, name: &str) -> TrainPart {
    let (path, last) = name.rsplit_once('.').unwrap_or(("", name));
    match (path, last) {
        ("emb", _) => TrainPart::Emb,
        ("head" | "head_q" | "head_k", _) => TrainPart::Head,
        _ if last_of(path).starts_with("ln") => TrainPart::Ln,
        (_, "weight") if path.contains(".att.") => TrainPart::Att,
        (_, "weight") => TrainPart::Ffn,
        _ if version.facts().low_rank.contains(&last) => TrainPart::LowRank,
        _ => TrainPart::Time,
    }
}

/// The last part of a dotted name.
fn last_of(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::arch::Shape;

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

    /// The names of each group, blocks but the last left out, in the order of the checkpoint.
    fn groups(shape: &Shape) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, _) in shape.tensors() {
            let group = part(shape.version(), &name).to_string();
            match name.strip_prefix("blocks.1.") {
                Some(name) => groups.entry(group).or_default().push(name.to_string()),
                None if name.starts_with("blocks.") => {}
                None => groups.entry(group).or_default().push(name),
            }
        }
        groups
    }

    #[test]
    fn every_parameter_has_its_group() {
        let ln = "ln1.weight ln1.bias ln2.weight ln2.bias att.ln_x.weight att.ln_x.bias \
                  ln_out.weight ln_out.bias";
        let old_att = "att.receptance.weight att.key.weight att.value.weight att.output.weight \
                       att.gate.weight";
        let old_ffn = "ffn.key.weight ffn.receptance.weight ffn.value.weight";
        let common = [("emb", "emb.weight"), ("ln", ln)];
        let v5: &[_] = &[
            ("att", old_att),
            ("ffn", old_ffn),
            ("head", "head.weight head_q.weight head_k.weight"),
            (
                "time",
                "att.time_mix_k att.time_mix_v att.time_mix_r att.time_mix_g att.time_decay \
                 att.time_faaaa ffn.time_mix_k ffn.time_mix_r",
            ),
        ];
        let v6: &[_] = &[
            ("att", old_att),
            ("ffn", old_ffn),
            ("head", "head.weight head_q.weight head_k.weight"),
            ("low_rank", "att.time_maa_w1 att.time_maa_w2 att.time_decay_w1 att.time_decay_w2"),
            (
                "time",
                "att.time_maa_x att.time_maa_w att.time_maa_k att.time_maa_v att.time_maa_r \
                 att.time_maa_g att.time_decay att.time_faaaa ffn.time_maa_k ffn.time_maa_r",
            ),
        ];
        let v7: &[_] = &[
            ("att", "att.receptance.weight att.key.weight att.value.weight att.output.weight"),
            ("ffn", "ffn.key.weight ffn.value.weight"),
            ("head", "head.weight"),
            ("low_rank", "att.w1 att.w2 att.a1 att.a2 att.v1 att.v2 att.g1 att.g2"),
            (
                "time",
                "att.x_r att.x_w att.x_k att.x_v att.x_a att.x_g att.w0 att.a0 att.v0 att.k_k \
                 att.k_a att.r_k ffn.x_k",
            ),
        ];
        for (version, own) in [(Version::V5, v5), (Version::V6, v6), (Version::V7, v7)] {
            let head_qk = if version.has_options() { 4 } else { 0 };
            let shape = Shape { head_qk, ..Shape::for_scratch(version, 2, 64, 10) };
            let found = groups(&shape);
            assert_eq!(found.len(), common.len() + own.len(), "{version}");
            for (group, names) in common.iter().chain(own) {
                let mut found = found[*group].clone();
                let mut names: Vec<&str> = names.split_whitespace().collect();
                found.sort_unstable();
                names.sort_unstable();
                assert_eq!(found, names, "{version} {group}");
            }
        }
    }

    #[test]
    fn a_channel_mix_in_place_of_a_time_mix_is_one() {
        assert_eq!(part(Version::V6, "blocks.0.ffnPre.key.weight"), TrainPart::Ffn);
        assert_eq!(part(Version::V6, "blocks.0.ffnPre.time_mix_k"), TrainPart::Time);
    }
}
