//! Adapters: trainable updates of matrices that stay frozen, for one matrix and for a whole model.

use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::method::TuningError;
use super::{AdapterMethod, AdapterSpec, Layers, math, tensor_name};
use crate::kernels::give_back_memory;
use crate::model::{Linear, Shape, Update, Weights};
use crate::optim::Parameter;
use crate::quant::{Format, QuantError, packed_layer};

/// The computation of an adapter method.
pub trait AdapterMath: AdapterMethod {
    /// The initial values of [`AdapterMethod::parts`] for a matrix (out, in), float32.
    /// Random numbers come from `rng`.
    fn initial_values(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor>;

    /// The adapter with these values of its parts, which it shares.
    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter>;
}

/// A trainable update of one matrix.
pub trait Adapter: Update {
    /// The frozen rest of a matrix W (out, in) under an update that starts as a part of W: float32 (float64 for a
    /// float64 matrix). `None`: W stays whole.
    fn residual(&self, matrix: &Tensor) -> Option<Tensor> {
        let _ = matrix;
        None
    }

    /// The matrix that computes what `frozen`, dense (out, in), computes with the update.
    fn merged(&self, frozen: &Tensor) -> Tensor;

    /// The update in a training step, if it differs there: with dropout. The same `seed`, which belongs to the step
    /// and the matrix, gives the same update.
    fn training(&self, seed: u64) -> Option<Rc<dyn Update>> {
        let _ = seed;
        None
    }
}

/// The adapters of a model, one for each matrix that a method changes, in the order of the checkpoint.
#[derive(Debug, Default)]
pub struct AdapterSet {
    adapted: Vec<Adapted>,
    /// With the factors on their learning rates.
    layers: Layers,
}

/// A matrix and its adapter.
#[derive(Debug)]
struct Adapted {
    /// The name of the matrix in the checkpoint.
    matrix: String,
    /// The adapter's tensors with their full names; the trainable ones are leaves.
    tensors: Vec<(String, Tensor)>,
    adapter: Rc<dyn Adapter>,
}

impl AdapterSet {
    /// New adapters for these weights. The random numbers of a matrix depend on `seed` and its index among the linear
    /// layers.
    ///
    /// # Errors
    /// A matrix with NaN or infinite entries, for a method that starts with a part of the matrix.
    pub fn start(
        spec: &AdapterSpec,
        weights: &Weights,
        seed: u64,
    ) -> Result<AdapterSet, TuningError> {
        AdapterSet::make(spec, weights.shape(), |i, name, _| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(i);
            // Where the file has it, not on the device, which the answer would keep waiting.
            let is_finite = |x: &Tensor| x.isfinite().all().int64_value(&[]) != 0;
            if spec.method.splits_matrix() && !weights.with_tensor(name, is_finite) {
                return Err(TuningError::NotFinite(name.to_string()));
            }
            let matrix = weights.get(name, Kind::Float);
            let values = math(&spec.method).initial_values(&matrix, &mut rng);
            drop(matrix);
            if spec.method.splits_matrix() {
                weights.forget_pages(name);
                give_back_memory();
            }
            Ok(values.into_iter().map(|value| value.to_device(weights.device())).collect())
        })
    }

    /// Adapters with copies of these tensors, float32: [`AdapterSpec::tensors`] by name.
    ///
    /// # Panics
    /// When one is missing.
    pub fn from_tensors(
        spec: &AdapterSpec,
        shape: &Shape,
        tensors: &HashMap<String, Tensor>,
        device: Device,
    ) -> AdapterSet {
        let Ok(adapters) = AdapterSet::make::<Infallible>(spec, shape, |_, _, names| {
            Ok(names.iter().map(|name| tensors[name].copy().to_device(device)).collect())
        });
        adapters
    }

    /// Makes the adapter of each matrix from the values that `values` returns for its index, its name and the names
    /// of the adapter's tensors.
    fn make<E>(
        spec: &AdapterSpec,
        shape: &Shape,
        values: impl Fn(u64, &str, &[String]) -> Result<Vec<Tensor>, E>,
    ) -> Result<AdapterSet, E> {
        let adapted = |(i, (matrix, size)): (u64, (String, [i64; 2]))| {
            let parts = spec.method.parts(size).expect("sizes were checked");
            let names: Vec<String> = parts.iter().map(|part| tensor_name(&matrix, part)).collect();
            let values: Vec<Tensor> = values(i, &matrix, &names)?
                .into_iter()
                .zip(&parts)
                .map(|(value, part)| value.set_requires_grad(part.trainable))
                .collect();
            let adapter = math(&spec.method).adapter(&values);
            Ok(Adapted { matrix, tensors: names.into_iter().zip(values).collect(), adapter })
        };
        let adapted = (0..).zip(spec.matrices(shape)).map(adapted).collect::<Result<_, E>>()?;
        Ok(AdapterSet { adapted, layers: spec.method.beside().layers })
    }

    /// Replaces each matrix by its [`Adapter::residual`], where there is one: rounded to `kind`, or packed in
    /// `quant`, one matrix at a time as in [`crate::quant::quantise`].
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
        for Adapted { matrix, adapter, .. } in &self.adapted {
            let residual = adapter.residual(&weights.get(matrix, Kind::Float));
            let Some(residual) = residual else { continue };
            let layer = match quant {
                Some(format) => packed_layer(matrix, &residual, format, weights.device())?,
                None => Linear::dense(residual.to_kind(kind)),
            };
            weights.set_linear(matrix, layer);
            weights.forget_pages(matrix);
            drop(residual);
            give_back_memory();
        }
        Ok(())
    }

    /// Puts the adapters on their matrices, which stay unchanged below them.
    pub fn attach(&self, weights: &mut Weights, kind: Kind) {
        for Adapted { matrix, adapter, .. } in &self.adapted {
            let update: Rc<dyn Update> = adapter.clone();
            weights.set_linear(matrix, weights.linear(matrix, kind).with_update(update));
        }
    }

    /// As [`AdapterSet::attach`], with the updates of a training step; `seeds` returns a number for each matrix.
    pub(super) fn attach_training(
        &self,
        weights: &mut Weights,
        kind: Kind,
        mut seeds: impl FnMut() -> u64,
    ) {
        for Adapted { matrix, adapter, .. } in &self.adapted {
            let update = adapter.training(seeds()).unwrap_or(adapter.clone());
            weights.set_linear(matrix, weights.linear(matrix, kind).with_update(update));
        }
    }

    /// Whether the updates are the same in a training step.
    pub(super) fn same_in_training(&self) -> bool {
        self.adapted.iter().all(|adapted| adapted.adapter.training(0).is_none())
    }

    /// The trainable parameters.
    pub fn parameters(&self) -> Vec<Parameter> {
        let tensors = self.tensors().filter(|(_, tensor)| tensor.requires_grad());
        let parameter = |(name, tensor): (&str, &Tensor)| Parameter {
            name: name.to_string(),
            tensor: tensor.shallow_clone(),
            lr_scale: self.layers.scale_of_tensor(name),
            decays: false,
        };
        tensors.map(parameter).collect()
    }

    /// All tensors of the adapters by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let tensors = self.adapted.iter().flat_map(|adapted| &adapted.tensors);
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether there are no adapters.
    pub fn is_empty(&self) -> bool {
        self.adapted.is_empty()
    }

    /// The adapter of a matrix.
    pub fn of(&self, matrix: &str) -> Option<&dyn Adapter> {
        let adapted = self.adapted.iter().find(|adapted| adapted.matrix == matrix)?;
        Some(adapted.adapter.as_ref())
    }
}
