//! Version and sizes of a checkpoint, from the names and shapes of its tensors.

use std::collections::{BTreeSet, HashMap};

use super::naming::{is_of_adapter, is_of_state};
use super::{Shape, Version};
use crate::diagnostic::{Join, Text, msg};

/// Names in a message before it says how many more there are.
const NAMES_SHOWN: usize = 5;
/// Parts of names in Hugging Face's naming of RWKV-4 to 6, and of fla's of RWKV-6. Their matrices are not mapped.
const OTHER_NAMINGS: [&str; 3] = ["rwkv.blocks.", ".attention.time_", ".attn.bonus"];
/// The tensors of a checkpoint: their shapes by name.
pub type Shapes<'a> = HashMap<&'a str, Vec<i64>>;

/// What a checkpoint is instead of a model.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotAModel {
    /// What it is, and what was expected.
    pub problem: Text,
    /// What it can be used for.
    pub kind: FileKind,
}

/// What a file with tensors can be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// Initial states for a model.
    State,
    /// An adapter for a model.
    Adapter,
    /// A model in a naming that is not read.
    OtherNaming,
    /// Nothing here.
    Other,
}

impl From<Text> for NotAModel {
    fn from(problem: Text) -> NotAModel {
        NotAModel { problem, kind: FileKind::Other }
    }
}

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
    fn version(&self) -> Result<Version, NotAModel> {
        let names = || self.shapes.keys();
        let instead = |kind, problem| Err(NotAModel { problem, kind });
        if !self.shapes.is_empty() && names().all(|name| is_of_state(name)) {
            return instead(FileKind::State, msg!(FOUND_STATE_ALONE, expected = expected()));
        }
        if let (false, Some(tensor)) =
            (self.has("emb.weight"), names().filter(|name| is_of_adapter(name)).min())
        {
            let problem = msg!(FOUND_ADAPTER_ALONE, tensor, expected = expected());
            return instead(FileKind::Adapter, problem);
        }
        let is = |version: &Version| (version.facts().is)(self);
        let found = if let Some(version) = Version::ALL.into_iter().rev().find(is) {
            let marks = version.facts().variant_marks;
            let marked = |name: &&&str| marks.iter().any(|mark| name.contains(mark));
            match sorted(names().filter(marked))[..] {
                [] => return Ok(version),
                [name, ..] => msg!(RWKV_VARIANT, version = version.name(), name),
            }
        } else if let Some(name) =
            names().filter(|name| OTHER_NAMINGS.iter().any(|part| name.contains(part))).min()
        {
            let problem = msg!(FOUND_OTHER_NAMING, name, expected = expected());
            return instead(FileKind::OtherNaming, problem);
        } else if self.time_mix("ln_x.weight").is_some() {
            msg!(RWKV_BEFORE_5_2)
        } else if self.time_mix("time_decay").is_some() {
            msg!(RWKV_BEFORE_5)
        } else {
            msg!(NOT_RWKV)
        };
        Err(msg!(FOUND_ARCHITECTURE, found, expected = expected()).into())
    }
}

/// What a message says was expected where no version is known.
fn expected() -> Text {
    msg!(EXPECTED_RWKV, versions = Text::list(Join::Or, Version::ALL.map(|one| one.to_string())))
}

/// Reads the sizes of a model off the tensors of its checkpoint, which may hold initial states beside the weights.
///
/// # Errors
/// What the checkpoint is instead.
pub fn detect(shapes: &Shapes<'_>) -> Result<Shape, NotAModel> {
    let pre_ffn = shapes.keys().any(|name| name.starts_with("blocks.0.ffnPre."));
    let checkpoint = Checkpoint { shapes, att: format!("blocks.{}.att", i64::from(pre_ffn)) };
    let facts = checkpoint.version()?.facts();

    let (vocab_size, n_embd) = checkpoint.matrix("emb.weight")?;
    let heads = format!("{}.{}", checkpoint.att, facts.heads);
    let (n_head, head_size) = checkpoint.matrix(&heads)?;
    if facts.is_square && n_head.checked_mul(head_size) != Some(n_embd) {
        return Err(msg!(HEADS_DO_NOT_FIT, heads, n_head, head_size, n_embd).into());
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
                    let shape = detect(found).map_err(|instead| instead.problem)?;
                    check(&shape.tensors(), Text::verbatim("a model"), found)
                };
                assert!(refused(&found).is_err(), "{name}");
                found.insert("blocks.0.att.surplus", size);
                assert!(refused(&found).is_err());
            }
        }
    }

    #[test]
    fn other_files_are_named() {
        let found = |names: &[&str]| {
            let sizes = names.iter().map(|name| (*name, vec![4, 4]));
            detect(&sizes.collect()).expect_err("to be refused").problem
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
            found(&["blocks.0.att.key.lora_A", "blocks.0.ln1.weight"]),
            is("an adapter without its base model, with tensors such as `blocks.0.att.key.lora_A`")
        );
        for name in ["rwkv.blocks.0.attention.key.weight", "layers.0.attn.bonus"] {
            let text = format!(
                "an RWKV model in a naming of Hugging Face or fla that is not read, with tensors such as `{name}`"
            );
            assert_eq!(found(&[name]), is(&text));
        }
    }

    #[test]
    fn states_beside_the_weights_change_no_size() {
        for shape in models() {
            let tensors = [shape.tensors(), shape.state_tensors()].concat();
            let found = shapes(&tensors);
            assert_eq!(detect(&found), Ok(shape));
            assert_eq!(check(&tensors, Text::verbatim("a model"), &found), Ok(()));
        }
    }
}
