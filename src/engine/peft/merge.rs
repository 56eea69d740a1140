//! Merging trained parameters into their base.

use std::collections::{HashMap, HashSet};

use tch::{Device, Kind, Tensor};

use super::TuningSpec;
use super::adapter::AdapterSet;
use crate::model::{Shape, Weights};
use crate::quant::{Format, QuantError, quantise};

/// The frozen weights of a run that packs linear layers in `format`, residuals of adapters included. They share all
/// other tensors with `base`. `trained` holds [`TuningSpec::trained_tensors`].
///
/// # Errors
/// The first matrix that cannot be packed.
///
/// # Panics
/// As [`merged`].
pub fn packed_base(
    spec: &TuningSpec,
    base: &Weights,
    trained: &HashMap<String, Tensor>,
    format: Format,
) -> Result<Weights, QuantError> {
    let mut packed = base.share();
    quantise(&mut packed, format, |name| spec.splits(name))?;
    adapters(spec, base.shape(), trained).freeze(&mut packed, Kind::Float, Some(format))?;
    Ok(packed)
}

/// The tensors of the model that computes what `base` computes with the trained parameters, by name, in the order
/// and the dtypes of `base`. Each is computed on demand, in float32.
///
/// `trained` holds [`TuningSpec::trained_tensors`]. With `packed`, the weights of [`packed_base`], all linear layers are
/// the packed ones made dense again, plus the trained parameters.
///
/// # Panics
/// When one is missing, or the spec does not fit the weights.
pub fn merged<'a>(
    spec: &'a TuningSpec,
    base: &'a Weights,
    packed: Option<&'a Weights>,
    trained: &'a HashMap<String, Tensor>,
) -> impl Iterator<Item = (&'a str, Tensor)> {
    let shape = *base.shape();
    let adapters = adapters(spec, &shape, trained);
    let linears: HashSet<String> = shape.linears().into_iter().map(|(name, _)| name).collect();
    base.iter().map(move |(name, tensor)| {
        let _guard = tch::no_grad_guard();
        let packed = packed.filter(|_| linears.contains(name));
        let packed = packed.map(|packed| packed.get(name, Kind::Float));
        let merged = match (adapters.of(name), packed) {
            (Some(adapter), Some(frozen)) => adapter.merged(&frozen),
            (Some(adapter), None) => {
                let matrix = base.get(name, Kind::Float);
                adapter.merged(&adapter.residual(&matrix).unwrap_or(matrix))
            }
            (None, _) if spec.trains(&shape, name) => trained[name].shallow_clone(),
            (None, Some(frozen)) => frozen,
            (None, None) => return (name, tensor.shallow_clone()),
        };
        (name, merged.to_kind(tensor.kind()))
    })
}

fn adapters(spec: &TuningSpec, shape: &Shape, trained: &HashMap<String, Tensor>) -> AdapterSet {
    let adapters = spec.adapter.as_ref();
    let adapters = adapters.map(|spec| AdapterSet::from_tensors(spec, shape, trained, Device::Cpu));
    adapters.unwrap_or_default()
}
