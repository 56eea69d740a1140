//! What of a model learns, and whether the model has it.

use crate::diagnostic::{Join, Text, msg};

use super::adapter::{AdapterMethod as _, AdapterRecipe, is_of};
use crate::arch::{Arch, Shape, part};
use crate::config::{Target, TrainPart};

/// What of a model learns. Everything else stays frozen.
#[derive(Debug)]
pub struct Recipe {
    /// Adapters of matrices, which stay frozen themselves.
    pub adapter: Option<AdapterRecipe>,
    /// Tensors of the model.
    pub parts: Parts,
    /// The initial states, with the factor on their learning rate.
    pub state_lr_scale: Option<f64>,
}

/// Which tensors of a model learn themselves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parts {
    /// All.
    All,
    /// Those of some groups, or none.
    Groups(Vec<TrainPart>),
}

/// A recipe that does not fit a model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Misfit {
    /// A layer that the model does not have.
    Target {
        /// The layer.
        target: Target,
        /// The layers that it has.
        layers: Vec<Target>,
    },
    /// A matrix that the method cannot change.
    Rank {
        /// The matrix.
        matrix: String,
        /// Why not.
        problem: Text,
    },
    /// A group of which the model has nothing.
    Part {
        /// The group.
        part: TrainPart,
        /// The groups of which it has some, in the order of its checkpoint.
        groups: Vec<TrainPart>,
    },
}

impl Misfit {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Target { target, .. } => msg!(NO_SUCH_LAYER, target = target.to_string()),
            Self::Rank { matrix, .. } => msg!(RANK_DOES_NOT_FIT, matrix),
            Self::Part { part, .. } => msg!(NO_PARAMETERS_IN_GROUP, part = part.to_string()),
        }
    }
}

impl Misfit {
    /// What a model of this shape has instead, in words.
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

impl Recipe {
    /// Compares the recipe with a model.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, shape: &Shape) -> Result<(), Misfit> {
        if let Some(adapter) = &self.adapter {
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

    /// That of nothing.
    pub fn nothing() -> Recipe {
        Recipe { adapter: None, parts: Parts::Groups(Vec::new()), state_lr_scale: None }
    }

    /// Whether a part of the matrix `name` is taken out of it, with which its adapter starts.
    pub fn takes_out_of(&self, name: &str) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.takes_out_of(name))
    }

    /// Whether the tensor `name` of a model learns itself.
    pub fn learns(&self, shape: &Shape, name: &str) -> bool {
        let chosen = match &self.parts {
            Parts::All => true,
            Parts::Groups(groups) => groups.contains(&part(shape.version(), name)),
        };
        chosen && is_read(shape, name)
    }

    /// How many numbers learn in a model of this shape: of tensors, adapters and states.
    pub fn numbers_that_learn(&self, shape: &Shape) -> u64 {
        let adapters = self.adapter.as_ref().map_or(0, |adapter| adapter.learned(shape));
        let states = match self.state_lr_scale {
            Some(_) => shape.state_parameters().unsigned_abs(),
            None => 0,
        };
        self.learning_tensors(shape) + adapters + states
    }

    /// How many numbers the tensors of the model have that learn themselves.
    pub fn learning_tensors(&self, shape: &Shape) -> u64 {
        let tensors = shape.tensors().into_iter().filter(|(name, _)| self.learns(shape, name));
        tensors.map(|(_, size)| size.iter().product::<i64>().unsigned_abs()).sum()
    }

    /// The tensors that a file of what was learned holds, with their sizes; the states are files of their own.
    pub fn product_tensors(&self, shape: &Shape) -> Vec<(String, Vec<i64>)> {
        let adapters = self.adapter.iter().flat_map(|adapter| adapter.tensors(shape));
        let tensors = shape.tensors().into_iter().filter(|(name, _)| self.learns(shape, name));
        adapters.chain(tensors).collect()
    }
}

/// Whether anything depends on the tensor: nothing reads the value residual of the first block.
fn is_read(shape: &Shape, name: &str) -> bool {
    !(matches!(shape.arch, Arch::V7 { first_layer_v: true, .. })
        && ["v0", "v1", "v2"].iter().any(|v| name == format!("blocks.0.att.{v}")))
}
