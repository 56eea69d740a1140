//! The sizes of an RWKV model and the tensors that follow from them.

use super::naming::{shift_state_names, time_state_name};
use super::{Arch, Version, rwkv5};

/// Channels of a head in released models, and in new ones. The fastest size of the native kernels.
pub const HEAD_SIZE: i64 = 64;

/// A tensor's name and its size along each axis.
pub(super) type Named = (String, Vec<i64>);

/// The sizes of a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Number of blocks, L.
    pub n_layer: i64,
    /// Channels of the residual stream, C.
    pub n_embd: i64,
    /// Rows of the embedding and of the head, V.
    pub vocab_size: i64,
    /// Heads of a time mix, H.
    pub n_head: i64,
    /// Channels of a head, N.
    pub head_size: i64,
    /// Hidden channels of the channel mix.
    pub dim_ffn: i64,
    /// Whether block 0 has a second channel mix, `ffnPre`, in place of its time mix. Only in versions
    /// with options.
    pub pre_ffn: bool,
    /// Width of the matrices `head_q` and `head_k` by which the head copies earlier tokens; 0: it does
    /// not. Only in versions with options.
    pub head_qk: i64,
    /// The version, with the sizes that only it has.
    pub arch: Arch,
}

impl Shape {
    /// The shape of a new model, without `pre_ffn` and `head_qk`. `n_embd` is a multiple of the head
    /// size, which is 64.
    pub fn for_scratch(version: Version, n_layer: i64, n_embd: i64, vocab_size: i64) -> Shape {
        let facts = version.facts();
        Shape {
            n_layer,
            n_embd,
            vocab_size,
            n_head: n_embd / HEAD_SIZE,
            head_size: HEAD_SIZE,
            dim_ffn: (facts.dim_ffn)(n_embd),
            pre_ffn: false,
            head_qk: 0,
            arch: (facts.new)(n_layer, n_embd),
        }
    }

    /// The version of the model.
    pub fn version(&self) -> Version {
        self.arch.version()
    }

    /// Channels of a time mix, `H * N`. Equals `n_embd` in every released model.
    pub fn dim_att(&self) -> i64 {
        self.n_head * self.head_size
    }

    /// Whether block `layer` has a time mix, and so a WKV state. All have but the first one of a model
    /// with `pre_ffn`.
    pub fn has_time_mix(&self, layer: i64) -> bool {
        layer > 0 || !self.pre_ffn
    }

    /// Every tensor of the model with its shape, in the order of released checkpoints.
    pub fn tensors(&self) -> Vec<(String, Vec<i64>)> {
        let (c, blocks) = (self.n_embd, self.arch.blocks());
        let mut all = vec![named("emb.weight", &[self.vocab_size, c])];
        for layer in 0..self.n_layer {
            let norms: &[&str] = if layer == 0 { &["ln1", "ln2", "ln0"] } else { &["ln1", "ln2"] };
            let mut block: Vec<Named> = norms.iter().flat_map(|norm| affine(norm, c)).collect();
            block.extend(match self.has_time_mix(layer) {
                true => below("att", blocks.time_mix(self, layer)),
                false => below("ffnPre", rwkv5::gated_ffn(self, "time_mix")),
            });
            block.extend(below("ffn", blocks.channel_mix(self)));
            all.extend(below(&format!("blocks.{layer}"), block));
        }
        all.extend(affine("ln_out", c));
        all.push(named("head.weight", &[self.vocab_size, c]));
        if self.head_qk > 0 {
            all.push(named("head_q.weight", &[self.head_qk, c]));
            all.push(named("head_k.weight", &[self.head_qk, c]));
        }
        all
    }

    /// The initial WKV states of all layers with their shapes: (H, N, N) indexed `[head, value, key]`. A checkpoint may
    /// hold them behind its weights.
    pub fn state_tensors(&self) -> Vec<(String, Vec<i64>)> {
        let size = [self.n_head, self.head_size, self.head_size];
        (0..self.n_layer).map(|layer| named(&time_state_name(layer), &size)).collect()
    }

    /// The initial shift states of all layers with their shapes: what a time mix and a channel mix take for the normed
    /// token before the first one, (C) each. A file may hold them behind the WKV states.
    pub fn shift_tensors(&self) -> Vec<(String, Vec<i64>)> {
        let of_layer = |layer| shift_state_names(layer).map(|name| named(&name, &[self.n_embd]));
        (0..self.n_layer).flat_map(of_layer).collect()
    }

    /// Whether the forward pass reads the tensor `name`. A checkpoint may hold tensors that no result depends on.
    pub fn reads(&self, name: &str) -> bool {
        self.arch.blocks().reads(name)
    }

    /// The tensors of the linear layers of all blocks, each (out, in): neither embedding nor head, and no
    /// low-rank matrices.
    pub fn linears(&self) -> Vec<(String, Vec<i64>)> {
        self.tensors().into_iter().filter(|(name, _)| is_linear(name)).collect()
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> i64 {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<i64>()).sum()
    }

    /// Numbers in the initial WKV states of all layers: `N * N` for each head of a time mix.
    pub fn state_parameters(&self) -> i64 {
        let layers = self.n_layer - i64::from(self.pre_ffn);
        layers * self.n_head * self.head_size * self.head_size
    }

    /// Numbers in the WKV state of a layer.
    pub fn state_numbers(&self) -> u64 {
        (self.n_head * self.head_size * self.head_size).unsigned_abs()
    }
}

/// Whether the tensor `name` of a model is the matrix of a linear layer of a block.
pub fn is_linear(name: &str) -> bool {
    let Some((part, layer)) = name.strip_suffix(".weight").and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    part.starts_with("blocks.") && !layer.starts_with("ln")
}

/// The block, counted from 0, to which the tensor `name` of a model belongs; `None` for embedding, head and last norm.
pub fn block_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// A tensor of a list.
pub(super) fn named(name: &str, size: &[i64]) -> Named {
    (name.to_string(), size.to_vec())
}

/// Weight and bias of a norm over `c` channels.
pub(super) fn affine(name: &str, c: i64) -> [Named; 2] {
    [named(&format!("{name}.weight"), &[c]), named(&format!("{name}.bias"), &[c])]
}

/// The tensors of a part, named as the whole names them.
fn below(part: &str, tensors: Vec<Named>) -> Vec<Named> {
    tensors.into_iter().map(|(name, size)| (format!("{part}.{name}"), size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Rwkv6;

    #[test]
    fn parameters_of_released_models() {
        // 0.4B as its authors count it: with the unused value-residual tensors of block 0.
        let mut shape = Shape::for_scratch(Version::V7, 24, 1024, 65536);
        let Arch::V7(widths) = &mut shape.arch else { unreachable!("it is RWKV-7") };
        widths.first_layer_v = true;
        assert_eq!(shape.parameters(), 450_834_432);
        assert_eq!(shape.state_parameters(), 1_572_864);
    }

    #[test]
    fn widths_of_released_models() {
        for (n_embd, mix, decay) in [(768, 32, 64), (2560, 32, 64), (4096, 64, 128)] {
            let shape = Shape::for_scratch(Version::V6, 32, n_embd, 65536);
            assert_eq!(shape.arch, Arch::V6(Rwkv6 { mix, decay }), "n_embd {n_embd}");
        }
        for (n_embd, dim_ffn) in [(768, 2688), (1024, 3584), (2048, 7168), (2560, 8960)] {
            let shape = Shape::for_scratch(Version::V5, 24, n_embd, 65536);
            assert_eq!(shape.dim_ffn, dim_ffn, "n_embd {n_embd}");
        }
    }

    #[test]
    fn a_channel_mix_stands_in_for_the_first_time_mix() {
        let plain = Shape::for_scratch(Version::V6, 2, 128, 100);
        let shape = Shape { pre_ffn: true, head_qk: 16, ..plain };
        let names: Vec<String> = shape.tensors().into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| !name.starts_with("blocks.0.att.")));
        for name in ["blocks.0.ffnPre.time_mix_k", "blocks.1.att.time_maa_x", "head_q.weight"] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
        assert_eq!(shape.state_parameters() * 2, plain.state_parameters());
    }
}
