//! One model of a base and what was learned beside it.

use std::collections::{HashMap, HashSet};

use tch::{Device, Kind, Tensor};

use super::{Adapters, Recipe};
use crate::model::{Shape, Weights};
use crate::quant::{Format, QuantError, quantise};

/// The weights under what was learned, as they are when their linear layers are packed in `format`: without
/// what adapters took out of them. They share all other tensors with `base`.
///
/// # Errors
/// The first matrix that cannot be packed.
///
/// # Panics
/// As [`merged`].
pub fn packed_base(
    recipe: &Recipe,
    base: &Weights,
    learned: &HashMap<String, Tensor>,
    format: Format,
) -> Result<Weights, QuantError> {
    let mut packed = base.share();
    quantise(&mut packed, format, |name| recipe.takes_out_of(name))?;
    adapters(recipe, base.shape(), learned).freeze(&mut packed, Kind::Float, Some(format))?;
    Ok(packed)
}

/// The tensors of the model that does the same as `base` with what was learned on it, by name, in the order
/// and the dtypes of `base`. Each is made when it is asked for; sums are taken in float32.
///
/// `learned` holds [`Recipe::product_tensors`]. With `packed`, those of [`packed_base`], all linear layers are
/// the packed ones made dense again, under what was learned.
///
/// # Panics
/// When one is missing, or the recipe does not fit the weights.
pub fn merged<'a>(
    recipe: &'a Recipe,
    base: &'a Weights,
    packed: Option<&'a Weights>,
    learned: &'a HashMap<String, Tensor>,
) -> impl Iterator<Item = (&'a str, Tensor)> {
    let shape = *base.shape();
    let adapters = adapters(recipe, &shape, learned);
    let linears: HashSet<String> = shape.linears().into_iter().map(|(name, _)| name).collect();
    base.iter().map(move |(name, tensor)| {
        let _guard = tch::no_grad_guard();
        let packed = packed.filter(|_| linears.contains(name));
        let packed = packed.map(|packed| packed.get(name, Kind::Float));
        let merged = match (adapters.of(name), packed) {
            (Some(adapter), Some(frozen)) => adapter.merged(&frozen),
            (Some(adapter), None) => {
                let matrix = base.get(name, Kind::Float);
                adapter.merged(&adapter.frozen(&matrix).unwrap_or(matrix))
            }
            (None, _) if recipe.learns(&shape, name) => learned[name].shallow_clone(),
            (None, Some(frozen)) => frozen,
            (None, None) => return (name, tensor.shallow_clone()),
        };
        (name, merged.to_kind(tensor.kind()))
    })
}

fn adapters(recipe: &Recipe, shape: &Shape, learned: &HashMap<String, Tensor>) -> Adapters {
    let adapters = recipe.adapter.as_ref();
    let adapters =
        adapters.map(|recipe| Adapters::from_tensors(recipe, shape, learned, Device::Cpu));
    adapters.unwrap_or_default()
}
