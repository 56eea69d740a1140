//! The slice of a plan that says which parameters are trained: every rule of `[peft]`, and whether a model has them.

use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};

use super::{Faults, Plan, Purpose};
use crate::arch::Shape;
use crate::arch::TrainPart;
use crate::config::{self, Config, DishaMode, Peft, StateInit};
use crate::diagnostic::{Diagnostic, msg};
use crate::peft::{
    AdapterSpec, AnyMethod, Bat, Bone, Lora, Misfit, Parts, Pissa, Target, TuningSpec,
};
use crate::quant::Format;

/// The default of `state_lr_scale`: adapters are usually trained at a rate of 1e-4, states at 0.1 to 1.
const STATE_LR_SCALE: f64 = 1000.0;

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
            PeftPlan::State(_) => shape.state_parameters().unsigned_abs(),
            PeftPlan::Weights(recipe) => recipe.trainable_parameters(shape),
        }
    }
}

/// Which parameters are trained.
#[derive(Clone, Debug)]
pub enum PeftPlan {
    /// The initial states alone.
    State(StateStart),
    /// Weights, or what changes them.
    Weights(Rc<TuningSpec>),
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
    if let Peft::State(state) = peft {
        return PeftPlan::State(state_start(faults, state, purpose));
    }
    let recipe = recipe(peft);
    if recipe.adapter.is_some() {
        check_beside_adapter(faults, &recipe.parts);
    }
    if let (false, Some(_)) = states_beside(peft) {
        let fault = Diagnostic::error(msg!(STATE_LR_SCALE_NEEDS_STATES))
            .note(msg!(STATES_STAY_ZERO))
            .help(msg!(WRITE_STATE_TRUE));
        faults.add("peft.state_lr_scale", fault);
    }
    PeftPlan::Weights(Rc::new(recipe))
}

/// Which weights a method trains or changes; none where only states train.
pub fn recipe(peft: &Peft) -> TuningSpec {
    let groups = |parts: &[TrainPart]| Parts::Groups(parts.to_vec());
    let (adapter, parts) = match peft {
        Peft::State(_) => return TuningSpec::nothing(),
        Peft::Lora(lora) => {
            let (rank, alpha, dropout) = (lora.rank.into(), lora.alpha, lora.dropout);
            let adapter =
                adapter(AnyMethod::Lora(Lora { rank, alpha, dropout }), lora.targets.as_ref());
            (adapter, groups(&lora.train_parts))
        }
        Peft::Pissa(pissa) => {
            let method = Pissa { rank: pissa.rank.into(), svd_niter: pissa.svd_niter };
            (adapter(AnyMethod::Pissa(method), pissa.targets.as_ref()), groups(&pissa.train_parts))
        }
        Peft::Disha(disha) | Peft::Miss(disha) | Peft::Bone(disha) => {
            let (rank, targets) = (disha.rank.into(), disha.targets.as_ref());
            let adapter = match disha.mode {
                DishaMode::Bone => adapter(AnyMethod::Bone(Bone { rank }), targets),
                DishaMode::Bat => adapter(AnyMethod::Bat(Bat { rank }), targets),
            };
            (adapter, groups(&disha.train_parts))
        }
        Peft::Full(full) => (None, full.train_parts.as_deref().map_or(Parts::All, groups)),
    };
    let (state, lr_scale) = states_beside(peft);
    let state_lr_scale = state.then_some(lr_scale.unwrap_or(STATE_LR_SCALE));
    TuningSpec { adapter, parts, state_lr_scale }
}

/// Whether the initial states train together with weights, and `state_lr_scale` where the key is set.
fn states_beside(peft: &Peft) -> (bool, Option<f64>) {
    match peft {
        Peft::State(_) => (false, None),
        Peft::Lora(lora) => (lora.state, lora.state_lr_scale),
        Peft::Pissa(pissa) => (pissa.state, pissa.state_lr_scale),
        Peft::Disha(disha) | Peft::Miss(disha) | Peft::Bone(disha) => {
            (disha.state, disha.state_lr_scale)
        }
        Peft::Full(full) => (full.state, full.state_lr_scale),
    }
}

fn adapter(method: AnyMethod, targets: Option<&Vec<Target>>) -> Option<AdapterSpec> {
    Some(AdapterSpec { method, targets: targets.cloned() })
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

fn state_start(
    faults: &mut Faults<'_>,
    state: &config::StateTuning,
    purpose: Purpose,
) -> StateStart {
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
            if matches!(purpose, Purpose::Run | Purpose::Plan)
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
        let PeftPlan::Weights(recipe) = &self.method.peft else { return Ok(()) };
        let Err(misfit) = recipe.check(shape) else { return Ok(()) };
        let key = match misfit {
            Misfit::Target { .. } => "peft.targets",
            Misfit::Rank { .. } => "peft.rank",
            Misfit::Part { .. } => "peft.train_parts",
        };
        let fault = Diagnostic::error(misfit.text()).note(misfit.note(shape));
        Err(Box::new(self.experiment.at(key, fault)))
    }
}
