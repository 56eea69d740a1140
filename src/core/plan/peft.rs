//! The slice of a plan that says which parameters are trained: every rule of `[peft]`, and whether a model has them.

use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};

use super::{Faults, Plan, Purpose};
use crate::arch::Shape;
use crate::arch::TrainPart;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, msg};
use crate::peft::{
    LayerRange, Layers, Misfit, Parts, Peft, StateInit, StateSpec, StateTuning, TuningSpec,
    check_layers, shift_warning,
};
use crate::quant::Format;

/// Which parameters are trained, and how the frozen ones are kept.
#[derive(Clone, Debug)]
pub struct MethodPlan {
    /// Which parameters are trained.
    pub peft: PeftPlan,
    /// The format of the linear layers of the frozen model; absent: the dtype in which the model computes.
    pub quant: Option<Format>,
    /// The table `[peft]`, as records hold it.
    pub peft_table: Value,
    /// The table `[quant]`, as records hold it.
    pub quant_table: Value,
}

impl MethodPlan {
    pub(super) fn new(config: &Config, peft: PeftPlan, quant: Option<Format>) -> MethodPlan {
        let (peft_table, quant_table) = (json!(config.peft), json!(config.quant));
        MethodPlan { peft, quant, peft_table, quant_table }
    }

    /// How many parameters are trained in a model of this shape.
    pub fn trainable_parameters(&self, shape: &Shape) -> u64 {
        match &self.peft {
            PeftPlan::State(plan) => plan.states.trainable_parameters(shape),
            PeftPlan::Weights(recipe) => recipe.trainable_parameters(shape),
        }
    }
}

/// Which parameters are trained.
#[derive(Clone, Debug)]
pub enum PeftPlan {
    /// The initial states alone.
    State(StatePlan),
    /// Weights, or what changes them.
    Weights(Rc<TuningSpec>),
}

/// Which initial states are trained.
#[derive(Clone, Debug)]
pub struct StatePlan {
    /// Before the first step.
    pub start: StateStart,
    /// Those that are trained.
    pub states: StateSpec,
}

/// What initial states are before the first step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StateStart {
    /// Zero.
    Zeros,
    /// Those of a file.
    File(PathBuf),
    /// Those that the model has after reading a text.
    Prompt(String),
}

/// Decides which parameters train. The caller must not use the plan where a fault was added.
pub(super) fn resolve(faults: &mut Faults<'_>, purpose: Purpose) -> PeftPlan {
    let loaded = faults.loaded;
    let peft = &loaded.config.peft;
    check_ranges(faults, &peft.layers());
    if let Peft::State(state) = peft {
        let states = state.spec();
        // Later uses of a run have its settings too.
        if states.has_shift() && matches!(purpose, Purpose::Run | Purpose::Check | Purpose::Plan) {
            faults.add_silenceable("peft.parts", shift_warning());
        }
        return PeftPlan::State(StatePlan { start: state_start(faults, state, purpose), states });
    }
    let recipe = TuningSpec::new(peft);
    if recipe.adapter.is_some() {
        check_beside_adapter(faults, &recipe.parts);
    }
    if let (false, Some(_)) = peft.states_beside() {
        let fault = Diagnostic::error(msg!(STATE_LR_SCALE_NEEDS_STATES))
            .note(msg!(STATES_STAY_ZERO))
            .help(msg!(WRITE_STATE_TRUE));
        faults.add("peft.state_lr_scale", fault);
    }
    PeftPlan::Weights(Rc::new(recipe))
}

/// Refuses ranges of layers that name none, and layers with two factors.
fn check_ranges(faults: &mut Faults<'_>, layers: &Layers) {
    let chosen = layers.chosen.iter().flatten().enumerate();
    let chosen = chosen.map(|(i, range)| (format!("layers[{i}]"), range.to_string(), Some(*range)));
    let scaled = layers.scales.keys();
    let scaled = scaled.map(|(key, range)| (format!("lr_scale.{key}"), key.to_owned(), range));
    for (key, text, _) in
        chosen.chain(scaled).filter(|(_, _, range)| range.is_none_or(LayerRange::is_reversed))
    {
        let fault = Diagnostic::error(msg!(NOT_A_LAYER_RANGE, text)).help(msg!(LAYER_RANGE_FORM));
        faults.add(&format!("peft.{key}"), fault);
    }
    if let Some([one, other]) = layers.scales.overlap() {
        let message = msg!(LAYER_SCALES_OVERLAP, one, other);
        faults.add(&format!("peft.lr_scale.{other}"), Diagnostic::error(message));
    }
}

/// Refuses groups whose matrices an adapter keeps frozen.
fn check_beside_adapter(faults: &mut Faults<'_>, parts: &Parts) {
    let Parts::Groups(parts) = parts else { return };
    for part in parts.iter().filter(|part| matches!(part, TrainPart::Att | TrainPart::Ffn)) {
        let message = msg!(PART_CANNOT_TRAIN, part = part.to_string());
        let fault = Diagnostic::error(message)
            .note(msg!(ADAPTER_KEEPS_FROZEN))
            .help(msg!(FULL_TRAINS_LAYERS));
        faults.add("peft.train_parts", fault);
    }
}

fn state_start(faults: &mut Faults<'_>, state: &StateTuning, purpose: Purpose) -> StateStart {
    for (key, init, written) in [
        ("init_file", StateInit::File, state.init_file.is_some()),
        ("init_prompt", StateInit::Prompt, state.init_prompt.is_some()),
    ] {
        let word = init.word();
        if written && state.init != init {
            let message = msg!(KEY_NOT_FOR_INIT, key, word = state.init.word());
            let fault = Diagnostic::error(message).help(msg!(WRITE_INIT, word));
            faults.add(&format!("peft.{key}"), fault);
        }
        if !written && state.init == init {
            let fault = Diagnostic::error(msg!(INIT_NEEDS_KEY, word, key));
            faults.add("peft.init", fault);
        }
    }
    match state.init {
        StateInit::Zeros => StateStart::Zeros,
        StateInit::File => {
            let file = state.init_file.clone().unwrap_or_default();
            if matches!(purpose, Purpose::Run | Purpose::Plan | Purpose::Check)
                && state.init_file.is_some()
                && !file.exists()
            {
                let message = msg!(STATE_DOES_NOT_EXIST, file);
                faults.add_missing("peft.init_file", &file, message);
            }
            StateStart::File(file)
        }
        StateInit::Prompt => {
            let text = state.init_prompt.clone().unwrap_or_default();
            if state.init_prompt.is_some() && text.is_empty() {
                faults.add("peft.init_prompt", Diagnostic::error(msg!(TEXT_IS_EMPTY)));
            }
            StateStart::Prompt(text)
        }
    }
}

impl PeftPlan {
    /// Which weights the method trains or changes; `None` where only states train.
    pub fn recipe(&self) -> Option<&Rc<TuningSpec>> {
        match self {
            PeftPlan::State(_) => None,
            PeftPlan::Weights(recipe) => Some(recipe),
        }
    }
}

impl Plan {
    /// Checks that a model has the parameters to train.
    ///
    /// # Errors
    /// The first mismatch, at the key of the experiment file that causes it.
    pub fn check_peft(&self, shape: &Shape) -> Result<(), Box<Diagnostic>> {
        let checked = match &self.method.peft {
            PeftPlan::State(plan) => check_layers(&plan.states.layers, shape),
            PeftPlan::Weights(recipe) => recipe.check(shape),
        };
        let Err(misfit) = checked else { return Ok(()) };
        let key = match &misfit {
            Misfit::Target { .. } => "targets",
            Misfit::Rank { .. } => "rank",
            Misfit::Layer { key, .. } => key,
            Misfit::Part { .. } => "train_parts",
        };
        let fault = Diagnostic::error(misfit.text()).note(misfit.note(shape));
        Err(Box::new(self.experiment.at(&format!("peft.{key}"), fault)))
    }
}
