//! Version and sizes of a checkpoint, from the names and shapes of its tensors.

use std::collections::{BTreeSet, HashMap};

use super::{Shape, Version};
use crate::diagnostic::{Join, Text, msg};

/// Names in a message before it says how many more there are.
const NAMES_SHOWN: usize = 5;
/// The tensors of a checkpoint: their shapes by name.
pub type Shapes<'a> = HashMap<&'a str, Vec<i64>>;

/// A checkpoint of which a version reads its widths.
pub(super) struct Checkpoint<'a> {
    shapes: &'a Shapes<'a>,
    /// The first time mix: `blocks.0.att`, or that of block 1 after a channel mix in place of a time mix.
    att: String,
}

impl Checkpoint<'_> {
    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// The shape of a tensor of the first time mix.
    pub(super) fn time_mix(&self, name: &str) -> Option<&[i64]> {
        self.shapes.get(format!("{}.{name}", self.att).as_str()).map(Vec::as_slice)
    }

    /// Rows and columns of a matrix.
    pub(super) fn matrix(&self, name: &str) -> Result<(i64, i64), Text> {
        match self.shapes.get(name).map(Vec::as_slice) {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok((rows, columns)),
            Some(other) => Err(msg!(TENSOR_NOT_FILLED, name, other = format_args!("{other:?}"))),
            None => Err(msg!(KEY_TENSOR_MISSING, name, expected = expected())),
        }
    }

    /// Columns of a matrix of the first time mix.
    pub(super) fn time_mix_columns(&self, name: &str) -> Result<i64, Text> {
        self.matrix(&format!("{}.{name}", self.att)).map(|(_, columns)| columns)
    }

    /// The version.
    fn version(&self) -> Result<Version, Text> {
        let names = || self.shapes.keys();
        let states = sorted(names().filter(|name| name.ends_with(".att.time_state")));
        if let [state, ..] = states[..] {
            return Err(if states.len() == self.shapes.len() {
                msg!(FOUND_STATE_ALONE, expected = expected())
            } else {
                msg!(FOUND_MERGED_MODEL, state)
            });
        }
        let is = |version: &Version| (version.facts().is)(self);
        let found = if let Some(version) = Version::ALL.into_iter().rev().find(is) {
            let marks = version.facts().variant_marks;
            let marked = |name: &&&str| marks.iter().any(|mark| name.contains(mark));
            match sorted(names().filter(marked))[..] {
                [] => return Ok(version),
                [name, ..] => msg!(RWKV_VARIANT, version = version.name(), name),
            }
        } else if self.time_mix("ln_x.weight").is_some() {
            msg!(RWKV_BEFORE_5_2)
        } else if self.time_mix("time_decay").is_some() {
            msg!(RWKV_BEFORE_5)
        } else {
            msg!(NOT_RWKV)
        };
        Err(msg!(FOUND_ARCHITECTURE, found, expected = expected()))
    }
}

/// What a message says was expected where no version is known.
fn expected() -> Text {
    msg!(EXPECTED_RWKV, versions = Text::list(Join::Or, Version::ALL.map(|one| one.to_string())))
}

/// Reads the sizes of a model off the tensors of its checkpoint.
///
/// # Errors
/// What the checkpoint is instead.
pub fn detect(shapes: &Shapes<'_>) -> Result<Shape, Text> {
    let pre_ffn = shapes.keys().any(|name| name.starts_with("blocks.0.ffnPre."));
    let checkpoint = Checkpoint { shapes, att: format!("blocks.{}.att", i64::from(pre_ffn)) };
    let facts = checkpoint.version()?.facts();

    let (vocab_size, n_embd) = checkpoint.matrix("emb.weight")?;
    let heads = format!("{}.{}", checkpoint.att, facts.heads);
    let (n_head, head_size) = checkpoint.matrix(&heads)?;
    if facts.is_square && n_head.checked_mul(head_size) != Some(n_embd) {
        return Err(msg!(HEADS_DO_NOT_FIT, heads, n_head, head_size, n_embd));
    }
    let n_layer = n_layer(shapes)?;
    // Without the options, their tensors are not part of the model.
    let copies = facts.has_options && checkpoint.has("head_q.weight");
    Ok(Shape {
        n_layer,
        n_embd,
        vocab_size,
        n_head,
        head_size,
        arch: (facts.read)(&checkpoint, n_layer)?,
        dim_ffn: checkpoint.matrix("blocks.0.ffn.key.weight")?.0,
        pre_ffn: facts.has_options && pre_ffn,
        head_qk: if copies { checkpoint.matrix("head_q.weight")?.0 } else { 0 },
    })
}

/// Number of blocks, when they are numbered without a gap.
fn n_layer(shapes: &Shapes<'_>) -> Result<i64, Text> {
    let number = |name: &&str| name.strip_prefix("blocks.")?.split('.').next()?.parse().ok();
    let layers: BTreeSet<u32> = shapes.keys().filter_map(number).collect();
    match layers.last() {
        Some(&last) if last as usize + 1 != layers.len() => {
            Err(msg!(BLOCK_NUMBERS, blocks = layers.len(), last))
        }
        _ => Ok(layers.len() as i64),
    }
}

/// Compares the tensors of a file with those that make a `whole`, such as `an RWKV-7 (x070) model`.
///
/// # Errors
/// The tensors that are missing, superfluous, or of the wrong shape, in words.
pub fn check(
    expected: &[(String, Vec<i64>)],
    whole: Text,
    shapes: &Shapes<'_>,
) -> Result<(), Text> {
    let names = || expected.iter().map(|(name, _)| name.as_str());
    let missing: Vec<&str> = names().filter(|name| !shapes.contains_key(name)).collect();
    if !missing.is_empty() {
        return Err(msg!(TENSORS_MISSING, count = missing.len(), names = some_of(&missing)));
    }
    let known: BTreeSet<&str> = names().collect();
    let surplus = sorted(shapes.keys().filter(|name| !known.contains(*name)));
    if !surplus.is_empty() {
        return Err(msg!(
            TENSORS_NOT_PART,
            count = surplus.len(),
            whole,
            names = some_of(&surplus)
        ));
    }
    match expected.iter().find(|(name, size)| shapes[name.as_str()] != *size) {
        None => Ok(()),
        Some((name, size)) => Err(msg!(
            TENSOR_SHAPE,
            name,
            shape = format_args!("{:?}", shapes[name.as_str()]),
            size = format_args!("{size:?}")
        )),
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.copied().collect();
    names.sort_unstable();
    names
}

fn some_of(names: &[&str]) -> Text {
    let shown = Text::quoted(Join::Comma, names.iter().take(NAMES_SHOWN));
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => msg!(AND_MORE, place = shown, more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Arch, Ranks, Rwkv6, Rwkv7};

    fn shapes(tensors: &[(String, Vec<i64>)]) -> Shapes<'_> {
        tensors.iter().map(|(name, size)| (name.as_str(), size.clone())).collect()
    }

    /// The shapes of a model of each version and with every option.
    fn models() -> Vec<Shape> {
        let plain = |version| Shape::for_scratch(version, 3, 128, 50);
        let mut models: Vec<Shape> = Version::ALL.map(plain).to_vec();
        for version in Version::ALL.into_iter().filter(|version| version.has_options()) {
            models.push(Shape { pre_ffn: true, head_qk: 8, ..plain(version) });
            // Heads of another size, and a time mix narrower than the residual stream.
            models.push(Shape { n_head: 4, head_size: 16, dim_ffn: 96, ..plain(version) });
        }
        let ranks = Ranks { w: 8, a: 16, v: 24, g: 40 };
        let arch = Arch::V7(Rwkv7 { ranks, first_layer_v: true });
        models.push(Shape { n_head: 16, head_size: 8, arch, ..plain(Version::V7) });
        models.push(Shape { n_layer: 1, arch, ..plain(Version::V7) });
        models.push(Shape {
            arch: Arch::V6(Rwkv6 { mix: 8, decay: 24 }),
            ..Shape::for_scratch(Version::V6, 1, 64, 9)
        });
        models
    }

    #[test]
    fn the_shape_is_told_by_the_tensors() {
        for shape in models() {
            let tensors = shape.tensors();
            let found = shapes(&tensors);
            assert_eq!(detect(&found), Ok(shape));
            assert_eq!(check(&tensors, Text::verbatim("a model"), &found), Ok(()));
        }
    }

    #[test]
    fn every_missing_or_additional_tensor_is_found() {
        for shape in models() {
            let tensors = shape.tensors();
            for (name, _) in &tensors {
                let mut found = shapes(&tensors);
                let size = found.remove(name.as_str()).expect("a tensor of the model");
                let refused = |found: &Shapes<'_>| {
                    let shape = detect(found)?;
                    check(&shape.tensors(), Text::verbatim("a model"), found)
                };
                assert!(refused(&found).is_err(), "{name}");
                found.insert("blocks.0.att.surplus", size);
                assert!(refused(&found).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_model_is_named() {
        let found = |names: &[&str]| {
            let sizes = names.iter().map(|name| (*name, vec![4, 4]));
            detect(&sizes.collect()).expect_err("to be refused")
        };
        let is = |text: &str| Text::verbatim(format!("found {text}, {}", expected()));
        assert_eq!(found(&["model.layers.0.weight"]), is("a file that is not an RWKV model"));
        assert_eq!(found(&["blocks.0.att.time_decay"]), is("an RWKV model older than 5"));
        assert_eq!(
            found(&["blocks.0.att.time_decay", "blocks.0.att.ln_x.weight"]),
            is("an RWKV model older than 5.2 (5.0 or 5.1)")
        );
        assert_eq!(found(&["blocks.0.att.time_state"]), is("a state without a model"));
        assert_eq!(
            found(&["blocks.0.att.r_k", "blocks.0.ffn.s_emb.weight", "blocks.0.ffn.s0"]),
            is("a variant of RWKV-7 with tensors such as `blocks.0.ffn.s0`")
        );
        assert_eq!(
            found(&["blocks.0.att.r_k", "blocks.0.att.time_state"]),
            "found a merged model with initial states such as `blocks.0.att.time_state` beside the \
             weights; expected only the weights"
        );
    }
}
