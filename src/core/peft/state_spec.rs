//! Which initial states of a model are trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::Layers;
use crate::arch::Shape;

/// A part of the initial state of a layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StatePart {
    /// The WKV state: a matrix for each head.
    Wkv,
    /// The shift states: what the time mix and the channel mix take for the token before the first one, `n_embd` numbers
    /// each. Few programs read them, see `statetune plan`.
    Shift,
}

/// Which initial states are trained, and at what rate.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    /// The parts of the states of a layer.
    pub parts: Vec<StatePart>,
    /// The layers; each with its factor on the learning rate.
    pub layers: Layers,
    /// Factor on the learning rate of all states.
    pub lr_scale: f64,
}

impl StateSpec {
    /// The WKV states of all layers.
    pub fn wkv(lr_scale: f64) -> StateSpec {
        StateSpec { parts: vec![StatePart::Wkv], layers: Layers::default(), lr_scale }
    }

    /// Whether shift states are trained.
    pub fn has_shift(&self) -> bool {
        self.parts.contains(&StatePart::Shift)
    }

    /// Whether the part of the states of a layer is trained: a layer without a time mix has no WKV state.
    pub fn trains(&self, shape: &Shape, layer: i64, part: StatePart) -> bool {
        let exists = part == StatePart::Shift || shape.has_time_mix(layer);
        exists && self.parts.contains(&part) && self.layers.contains(layer)
    }

    /// The factor on the learning rate of the states of a layer.
    pub fn scale(&self, layer: i64) -> f64 {
        self.lr_scale * self.layers.scale(layer)
    }

    /// Number of trainable parameters in the states of a model of this shape.
    pub fn trainable_parameters(&self, shape: &Shape) -> u64 {
        let of_part = |layer, part: &StatePart| match self.trains(shape, layer, *part) {
            true => part.numbers(shape),
            false => 0,
        };
        let parts = [StatePart::Wkv, StatePart::Shift];
        (0..shape.n_layer).flat_map(|layer| parts.map(|part| of_part(layer, &part))).sum()
    }
}

impl StatePart {
    /// Numbers of the part in a layer.
    fn numbers(self, shape: &Shape) -> u64 {
        match self {
            StatePart::Wkv => shape.state_numbers(),
            StatePart::Shift => 2 * shape.n_embd.unsigned_abs(),
        }
    }
}
