//! What a checkpoint is, told by the names and shapes of its tensors.

use std::collections::{BTreeSet, HashMap};

use super::{Arch, Ranks, Shape, Version};
use crate::diagnostic::{Join, Text, msg};

/// Names in a message before it says how many more there are.
const NAMES_SHOWN: usize = 5;
/// What a message says was expected where no version is known.
const EXPECTED: Text = msg!(EXPECTED_RWKV);
/// Parts of tensor names that only the variants of RWKV-7 have which add token-dependent channel mixes
/// or fuse matrices.
const VARIANT_MARKS: [&str; 5] = [".ffn.s_emb", ".ffn.s0", ".ffn.s1", ".ffn.s2", ".qkv."];

/// The tensors of a checkpoint: their shapes by name.
pub type Shapes<'a> = HashMap<&'a str, Vec<i64>>;

/// Reads the sizes of a model off its tensors.
///
/// # Errors
/// What the checkpoint is instead, in words.
pub fn detect(shapes: &Shapes<'_>) -> Result<Shape, Text> {
    let is = |name: &str| shapes.contains_key(name);
    let two = |name: &str| match shapes.get(name).map(Vec::as_slice) {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok((rows, columns)),
        Some(other) => Err(msg!(TENSOR_NOT_FILLED, name, other = format_args!("{other:?}"))),
        None => Err(msg!(KEY_TENSOR_MISSING, name, expected = EXPECTED)),
    };
    let pre_ffn = shapes.keys().any(|name| name.starts_with("blocks.0.ffnPre."));
    // The first block that has a time mix.
    let att = format!("blocks.{}.att", i64::from(pre_ffn));
    let version = version(shapes, &att)?;

    let (vocab_size, n_embd) = two("emb.weight")?;
    let heads = match version {
        Version::V5 | Version::V6 => format!("{att}.time_faaaa"),
        Version::V7 => format!("{att}.r_k"),
    };
    let (n_head, head_size) = two(&heads)?;
    if version == Version::V7 && n_head.checked_mul(head_size) != Some(n_embd) {
        return Err(msg!(HEADS_DO_NOT_FIT, heads, n_head, head_size, n_embd));
    }
    let n_layer = n_layer(shapes)?;
    let columns = |name: String| two(&name).map(|(_, columns)| columns);
    let arch = match version {
        Version::V5 => Arch::V5,
        Version::V6 => Arch::V6 {
            mix: columns(format!("{att}.time_maa_w1"))? / 5,
            decay: columns(format!("{att}.time_decay_w1"))?,
        },
        Version::V7 => {
            let first_layer_v = is("blocks.0.att.v0");
            // A model of one block may have no value residual at all.
            let v = match (n_layer, first_layer_v) {
                (1, false) => 0,
                (1, true) => columns("blocks.0.att.v1".to_string())?,
                _ => columns("blocks.1.att.v1".to_string())?,
            };
            let [w, a, g] = ["w1", "a1", "g1"].map(|name| columns(format!("{att}.{name}")));
            Arch::V7 { ranks: Ranks { w: w?, a: a?, v, g: g? }, first_layer_v }
        }
    };
    // RWKV-7 has neither option: there, their tensors are not part of the model.
    let optional = version != Version::V7;
    Ok(Shape {
        n_layer,
        n_embd,
        vocab_size,
        n_head,
        head_size,
        dim_ffn: two("blocks.0.ffn.key.weight")?.0,
        pre_ffn: optional && pre_ffn,
        head_qk: if optional && is("head_q.weight") { two("head_q.weight")?.0 } else { 0 },
        arch,
    })
}

/// The version of a checkpoint by the tensors below `att`, its first time mix.
fn version(shapes: &Shapes<'_>, att: &str) -> Result<Version, Text> {
    let is = |name: &str| shapes.contains_key(format!("{att}.{name}").as_str());
    let states = sorted(shapes.keys().filter(|name| name.ends_with(".att.time_state")));
    if let [state, ..] = states[..] {
        return Err(if states.len() == shapes.len() {
            msg!(FOUND_STATE_ALONE, expected = EXPECTED)
        } else {
            msg!(FOUND_MERGED_MODEL, state)
        });
    }
    let decay = shapes.get(format!("{att}.time_decay").as_str()).map(Vec::as_slice);
    // Before 5.2 there is one decay for a head.
    let decays_by_channel = matches!(decay, Some(&[_, n]) if n > 1);
    let found = if is("r_k") || is("k_k") {
        let marked = |name: &&&str| VARIANT_MARKS.iter().any(|mark| name.contains(mark));
        match sorted(shapes.keys().filter(marked))[..] {
            [] => return Ok(Version::V7),
            [name, ..] => msg!(RWKV7_VARIANT, name),
        }
    } else if is("time_maa_x") {
        return Ok(Version::V6);
    } else if is("gate.weight") && decays_by_channel {
        return Ok(Version::V5);
    } else if is("ln_x.weight") {
        msg!(RWKV_BEFORE_5_2)
    } else if is("time_decay") {
        msg!(RWKV_BEFORE_5)
    } else {
        msg!(NOT_RWKV)
    };
    Err(msg!(FOUND_ARCHITECTURE, found, expected = EXPECTED))
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

    fn shapes(tensors: &[(String, Vec<i64>)]) -> Shapes<'_> {
        tensors.iter().map(|(name, size)| (name.as_str(), size.clone())).collect()
    }

    /// The shapes of a model of each version and with every option.
    fn models() -> Vec<Shape> {
        let plain = |version| Shape::for_scratch(version, 3, 128, 50);
        let mut models: Vec<Shape> = Version::ALL.map(plain).to_vec();
        for version in [Version::V5, Version::V6] {
            models.push(Shape { pre_ffn: true, head_qk: 8, ..plain(version) });
            // Heads of another size, and a time mix narrower than the residual stream.
            models.push(Shape { n_head: 4, head_size: 16, dim_ffn: 96, ..plain(version) });
        }
        let ranks = Ranks { w: 8, a: 16, v: 24, g: 40 };
        let arch = Arch::V7 { ranks, first_layer_v: true };
        models.push(Shape { n_head: 16, head_size: 8, arch, ..plain(Version::V7) });
        models.push(Shape { n_layer: 1, arch, ..plain(Version::V7) });
        models.push(Shape {
            arch: Arch::V6 { mix: 8, decay: 24 },
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
        let is = |text: &str| Text::verbatim(format!("found {text}, {EXPECTED}"));
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
            "found a merged model: initial states such as `blocks.0.att.time_state` lie beside the \
             weights; expected the weights alone"
        );
    }
}
