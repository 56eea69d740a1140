//! Which parameters of a model are trained, and whether a model has them.

use super::Peft;
use super::adapter::is_of;
use super::adapter_spec::AdapterSpec;
use super::layers::{LayerRange, Layers};
use super::state_spec::StateSpec;
use super::target::Target;
use crate::arch::{Shape, TrainPart, part};
use crate::diagnostic::{Join, Text, msg};

/// The default of `state_lr_scale`: adapters are usually trained at a rate of 1e-4, states at 0.1 to 1.
const STATE_LR_SCALE: f64 = 1000.0;

/// Which parameters of a model are trained. All others stay frozen.
#[derive(Debug)]
pub struct TuningSpec {
    /// Adapters of matrices, which stay frozen.
    pub adapter: Option<AdapterSpec>,
    /// Tensors of the model.
    pub parts: Parts,
    /// The factor on the learning rate of the initial states; `None`: they are not trained.
    pub state_lr_scale: Option<f64>,
}

/// Which tensors of a model are trained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parts {
    /// All.
    All,
    /// The tensors of these groups.
    Groups(Vec<TrainPart>),
}

/// Why a spec does not fit a model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Misfit {
    /// A layer that the model does not have.
    Target {
        /// The layer.
        target: Target,
        /// The layers of the model.
        layers: Vec<Target>,
    },
    /// A matrix that the method cannot change.
    Rank {
        /// The matrix.
        matrix: String,
        /// The reason.
        problem: Text,
    },
    /// A layer that the model does not have.
    Layer {
        /// The key below `[peft]` that names the layer.
        key: String,
        /// The layers that the key names.
        range: LayerRange,
    },
    /// A group without parameters in the model.
    Part {
        /// The group.
        part: TrainPart,
        /// The groups of the model, in the order of its checkpoint.
        groups: Vec<TrainPart>,
    },
}

impl Misfit {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Target { target, .. } => msg!(NO_SUCH_LAYER, target = target.to_string()),
            Self::Rank { matrix, .. } => msg!(RANK_DOES_NOT_FIT, matrix),
            Self::Layer { range, .. } => msg!(LAYER_BEYOND_MODEL, layer = range.last),
            Self::Part { part, .. } => msg!(NO_PARAMETERS_IN_GROUP, part = part.to_string()),
        }
    }
}

impl Misfit {
    /// The layers or groups of a model of this shape, or the reason of the misfit, as a note.
    pub fn note(&self, shape: &Shape) -> Text {
        let version = shape.version();
        match self {
            Misfit::Target { layers, .. } => {
                msg!(
                    LAYERS_ARE,
                    version = version.to_string(),
                    layers = Text::quoted(Join::Comma, layers)
                )
            }
            Misfit::Rank { problem, .. } => problem.clone(),
            Misfit::Layer { .. } => msg!(MODEL_HAS_LAYERS, last = shape.n_layer - 1),
            Misfit::Part { groups, .. } => {
                msg!(
                    GROUPS_ARE,
                    version = version.to_string(),
                    groups = Text::quoted(Join::Comma, groups)
                )
            }
        }
    }
}

impl TuningSpec {
    /// The weights that a method trains or changes; nothing for state tuning.
    pub fn new(peft: &Peft) -> TuningSpec {
        let groups = |parts: &[TrainPart]| Parts::Groups(parts.to_vec());
        let (adapter, parts) = match (peft, peft.adapter()) {
            (_, Some(method)) => {
                let parts = groups(method.beside().train_parts);
                let targets = method.beside().targets.map(<[Target]>::to_vec);
                (Some(AdapterSpec { method, targets }), parts)
            }
            (Peft::Full(full), None) => {
                (None, full.train_parts.as_deref().map_or(Parts::All, groups))
            }
            (_, None) => return TuningSpec::nothing(),
        };
        let (state, lr_scale) = peft.states_beside();
        let state_lr_scale = state.then_some(lr_scale.unwrap_or(STATE_LR_SCALE));
        TuningSpec { adapter, parts, state_lr_scale }
    }

    /// Which initial states are trained, with weights.
    pub fn states(&self) -> Option<StateSpec> {
        let layers = || match &self.adapter {
            Some(adapter) => adapter.method.beside().layers,
            None => Layers::default(),
        };
        let spec = |lr_scale| StateSpec { layers: layers(), ..StateSpec::wkv(lr_scale) };
        self.state_lr_scale.map(spec)
    }

    /// Compares the spec with a model.
    ///
    /// # Errors
    /// The first misfit.
    pub fn check(&self, shape: &Shape) -> Result<(), Misfit> {
        if let Some(adapter) = &self.adapter {
            check_layers(&adapter.method.beside().layers, shape)?;
            let linears = shape.linears();
            let has = |target: &Target| linears.iter().any(|(name, _)| is_of(*target, name));
            if let Some(&target) = adapter.targets.iter().flatten().find(|target| !has(target)) {
                let layers = Target::ALL.into_iter().filter(has).collect();
                return Err(Misfit::Target { target, layers });
            }
            for (matrix, size) in adapter.matrices(shape) {
                adapter.method.parts(size).map_err(|problem| Misfit::Rank { matrix, problem })?;
            }
        }
        if let Parts::Groups(wanted) = &self.parts {
            let mut groups = Vec::new();
            for (name, _) in shape.tensors() {
                let group = part(shape.version(), &name);
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
            if let Some(&part) = wanted.iter().find(|part| !groups.contains(part)) {
                return Err(Misfit::Part { part, groups });
            }
        }
        Ok(())
    }

    /// The spec that trains nothing.
    pub fn nothing() -> TuningSpec {
        TuningSpec { adapter: None, parts: Parts::Groups(Vec::new()), state_lr_scale: None }
    }

    /// Whether the matrix `name` is split into the initial update of its adapter and a frozen residual.
    pub fn splits(&self, name: &str) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.splits(name))
    }

    /// Whether the model of the weights that training starts from is in memory all along: nothing of it is trained, and
    /// adapters leave their matrices as they are.
    pub fn keeps_base(&self) -> bool {
        let trains_nothing = self.parts == Parts::Groups(Vec::new());
        let splits = |adapter: &AdapterSpec| adapter.method.splits_matrix();
        trains_nothing && !self.adapter.as_ref().is_some_and(splits)
    }

    /// Whether the tensor `name` of a model is trained.
    pub fn trains(&self, shape: &Shape, name: &str) -> bool {
        let chosen = match &self.parts {
            Parts::All => true,
            Parts::Groups(groups) => groups.contains(&part(shape.version(), name)),
        };
        chosen && shape.reads(name)
    }

    /// Number of trainable parameters in a model of this shape: of tensors, adapters and states.
    pub fn trainable_parameters(&self, shape: &Shape) -> u64 {
        let adapters =
            self.adapter.as_ref().map_or(0, |adapter| adapter.trainable_parameters(shape));
        let states = self.states().map_or(0, |states| states.trainable_parameters(shape));
        self.trainable_tensor_parameters(shape) + adapters + states
    }

    /// Number of trainable parameters in the model's own tensors.
    pub fn trainable_tensor_parameters(&self, shape: &Shape) -> u64 {
        let tensors = shape.tensors().into_iter().filter(|(name, _)| self.trains(shape, name));
        tensors.map(|(_, size)| size.iter().product::<i64>().unsigned_abs()).sum()
    }

    /// The trained tensors by name, with their sizes, as an adapter file holds them; states have files of their own.
    pub fn trained_tensors(&self, shape: &Shape) -> Vec<(String, Vec<i64>)> {
        let adapters = self.adapter.iter().flat_map(|adapter| adapter.tensors(shape));
        let tensors = shape.tensors().into_iter().filter(|(name, _)| self.trains(shape, name));
        adapters.chain(tensors).collect()
    }
}

/// Refuses layers that a model does not have.
///
/// # Errors
/// The first one.
pub fn check_layers(layers: &Layers, shape: &Shape) -> Result<(), Misfit> {
    let is_beyond = |range: &LayerRange| i64::from(range.last) >= shape.n_layer;
    let chosen = layers.chosen.iter().flatten().enumerate();
    let chosen = chosen.map(|(i, range)| (format!("layers[{i}]"), *range));
    let scaled = layers.scales.keys();
    let scaled = scaled.filter_map(|(key, range)| Some((format!("lr_scale.{key}"), range?)));
    match chosen.chain(scaled).find(|(_, range)| is_beyond(range)) {
        Some((key, range)) => Err(Misfit::Layer { key, range }),
        None => Ok(()),
    }
}
