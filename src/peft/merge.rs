//! One model of a base and what was learned beside it.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::{Adapters, Recipe};
use crate::model::Weights;

/// The tensors of the model that does the same as `base` with what was learned on it, by name, in the order
/// and the dtypes of `base`. Each is made when it is asked for; sums are taken in float32.
///
/// `learned` holds [`Recipe::product_tensors`]. `under` are the weights whose matrices the adapters are added
/// to: `base` itself, or what it is when its linear layers are packed.
///
/// # Panics
/// When one is missing, or the recipe does not fit the weights.
pub fn merged<'a>(
    recipe: &'a Recipe,
    base: &'a Weights,
    under: &'a Weights,
    learned: &'a HashMap<String, Tensor>,
) -> impl Iterator<Item = (&'a str, Tensor)> {
    let shape = *base.shape();
    let adapters = recipe.adapter.as_ref();
    let adapters =
        adapters.map(|recipe| Adapters::from_tensors(recipe, &shape, learned, Device::Cpu));
    let adapters = adapters.unwrap_or_default();
    base.iter().map(move |(name, tensor)| {
        let _guard = tch::no_grad_guard();
        let merged = match adapters.of(name) {
            Some(adapter) => {
                let matrix = under.get(name, Kind::Float);
                adapter.merged(&adapter.frozen(&matrix).unwrap_or(matrix))
            }
            None if recipe.learns(&shape, name) => learned[name].shallow_clone(),
            None => return (name, tensor.shallow_clone()),
        };
        (name, merged.to_kind(tensor.kind()))
    })
}
