//! The adapters of a whole model: one for each matrix that a method changes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::adapter::{Adapter, math};
use super::tuning::TuningError;
use super::{AdapterMethod as _, AdapterRecipe, tensor_name};
use crate::kernels::give_back_memory;
use crate::model::{Linear, Shape, Update, Weights};
use crate::optim::Parameter;
use crate::quant::{Format, QuantError, packed_layer};

/// The adapters of a model, in the order of its checkpoint.
#[derive(Debug, Default)]
pub struct Adapters(Vec<Adapted>);

/// A matrix and its adapter.
#[derive(Debug)]
struct Adapted {
    /// Its name in the checkpoint.
    matrix: String,
    /// The adapter's tensors with their full names; those that learn are leaves.
    tensors: Vec<(String, Tensor)>,
    adapter: Rc<dyn Adapter>,
}

impl Adapters {
    /// New adapters for these weights, ready to learn. The numbers that are drawn for a matrix depend on
    /// `seed` and on its place among the linear layers.
    ///
    /// # Errors
    /// A matrix with numbers that are not finite, of which the method takes a part.
    pub fn start(
        recipe: &AdapterRecipe,
        weights: &Weights,
        seed: u64,
    ) -> Result<Adapters, TuningError> {
        Adapters::make(recipe, weights.shape(), |i, name, _| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(i);
            let matrix = weights.get(name, Kind::Float);
            if recipe.method.takes_out() && matrix.isfinite().all().int64_value(&[]) == 0 {
                return Err(TuningError::NotFinite(name.to_string()));
            }
            let values = math(&recipe.method).start(&matrix, &mut rng);
            drop(matrix);
            if recipe.method.takes_out() {
                weights.forget_pages(name);
                give_back_memory();
            }
            Ok(values.into_iter().map(|value| value.to_device(weights.device())).collect())
        })
    }

    /// Adapters of copies of these tensors, among which are those of [`AdapterRecipe::tensors`], float32.
    ///
    /// # Panics
    /// When one is missing.
    pub fn from_tensors(
        recipe: &AdapterRecipe,
        shape: &Shape,
        tensors: &HashMap<String, Tensor>,
        device: Device,
    ) -> Adapters {
        let Ok(adapters) = Adapters::make::<Infallible>(recipe, shape, |_, _, names| {
            Ok(names.iter().map(|name| tensors[name].copy().to_device(device)).collect())
        });
        adapters
    }

    /// Makes the adapter of each matrix from the values that `values` gives for its number, its name and
    /// the names of the tensors.
    fn make<E>(
        recipe: &AdapterRecipe,
        shape: &Shape,
        values: impl Fn(u64, &str, &[String]) -> Result<Vec<Tensor>, E>,
    ) -> Result<Adapters, E> {
        let adapted = |(i, (matrix, size)): (u64, (String, [i64; 2]))| {
            let parts = recipe.method.parts(size).expect("sizes were checked");
            let names: Vec<String> = parts.iter().map(|part| tensor_name(&matrix, part)).collect();
            let values: Vec<Tensor> = values(i, &matrix, &names)?
                .into_iter()
                .zip(&parts)
                .map(|(value, part)| value.set_requires_grad(part.learns))
                .collect();
            let adapter = math(&recipe.method).adapter(&values);
            Ok(Adapted { matrix, tensors: names.into_iter().zip(values).collect(), adapter })
        };
        (0..).zip(recipe.matrices(shape)).map(adapted).collect::<Result<_, E>>().map(Adapters)
    }

    /// Takes out of the matrices what the adapters start with, where they start with a part of them. What
    /// stays of these is rounded to `kind`, or packed in `quant`: one matrix at a time, see
    /// [`crate::quant::quantise`].
    ///
    /// # Errors
    /// The first matrix that cannot be packed.
    pub fn freeze(
        &self,
        weights: &mut Weights,
        kind: Kind,
        quant: Option<Format>,
    ) -> Result<(), QuantError> {
        let _guard = tch::no_grad_guard();
        for Adapted { matrix, adapter, .. } in &self.0 {
            let Some(frozen) = adapter.frozen(&weights.get(matrix, Kind::Float)) else { continue };
            let layer = match quant {
                Some(format) => packed_layer(matrix, &frozen, format, weights.device())?,
                None => Linear::dense(frozen.to_kind(kind)),
            };
            weights.set_linear(matrix, layer);
            weights.forget_pages(matrix);
            drop(frozen);
            give_back_memory();
        }
        Ok(())
    }

    /// Puts the adapters on the matrices, which stay under them as they are.
    pub fn attach(&self, weights: &mut Weights, kind: Kind) {
        for Adapted { matrix, adapter, .. } in &self.0 {
            let update: Rc<dyn Update> = adapter.clone();
            weights.set_linear(matrix, weights.linear(matrix, kind).with_update(update));
        }
    }

    /// As [`Adapters::attach`], with the updates as a training step applies them; `seeds` gives one number
    /// for each matrix.
    pub(super) fn attach_training(
        &self,
        weights: &mut Weights,
        kind: Kind,
        mut seeds: impl FnMut() -> u64,
    ) {
        for Adapted { matrix, adapter, .. } in &self.0 {
            let update = adapter.training(seeds()).unwrap_or(adapter.clone());
            weights.set_linear(matrix, weights.linear(matrix, kind).with_update(update));
        }
    }

    /// Whether a training step applies the updates as they are.
    pub(super) fn same_in_training(&self) -> bool {
        self.0.iter().all(|adapted| adapted.adapter.training(0).is_none())
    }

    /// What learns.
    pub fn parameters(&self) -> Vec<Parameter> {
        let tensors = self.tensors().filter(|(_, tensor)| tensor.requires_grad());
        let parameter = |(name, tensor): (&str, &Tensor)| Parameter {
            name: name.to_string(),
            tensor: tensor.shallow_clone(),
            lr_scale: 1.0,
            decays: false,
        };
        tensors.map(parameter).collect()
    }

    /// All tensors of the adapters by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let tensors = self.0.iter().flat_map(|adapted| &adapted.tensors);
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether no matrix is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The adapter of a matrix, if it has one.
    pub fn of(&self, matrix: &str) -> Option<&dyn Adapter> {
        let adapted = self.0.iter().find(|adapted| adapted.matrix == matrix)?;
        Some(adapted.adapter.as_ref())
    }
}
