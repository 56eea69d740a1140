//! A run on several devices: device 0 decides, writes and shows everything; the others follow.
//!
//! Every device loads the same documents and weights. Device 0 tells the others when a step comes, and what it starts from, so
//! that they hold the same values at each step. Between steps they wait for it: while it evaluates, answers and saves.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde::{Deserialize, Serialize};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Plan;
use statetune_core::records::{Checkpoint, Lock, LossScaler, Position};
use tch::{Device, Kind, Tensor};

use super::device_facts::all_devices;
use super::drawn::with_drawn;
use super::forgetting::General;
use super::input_records::lock;
use super::job::fit_options;
use super::prepare::{load_tokenizer, model_shape, new_method, prepare_data, weights_of_shape};
use super::settings::set_up_libtorch;
use super::teacher::new_objective;
use crate::RunError;
use crate::error::error_of_panic;
use crate::optim::{Adam, Moments};
use crate::train::{
    Devices, DevicesError, Keep, Objective, Preferences, References, StepDone, StepOptions,
    TrainError, Trainer, fit, give_moments, restore, take_moments,
};

/// What device 0 tells the others.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Order {
    /// The documents are prepared: load everything.
    Load {
        /// The seed of the validation split.
        val_seed: u64,
        /// Whether frozen weights are read from the file block by block.
        streams: bool,
    },
    /// The run has its directory.
    Begin {
        /// The learning rate.
        lr_init: f64,
        /// Documents of the training pair that no batch contains.
        skipped: Vec<usize>,
    },
    /// Device 0 saves the moments, which are sliced, see [`give_moments`].
    GiveMoments,
    /// Device 0 has loaded moments and deals them out, see [`take_moments`].
    TakeMoments,
    /// Steps come. The values of the trainable parameters follow, and where each device has all moments, these.
    Train {
        position: Position,
        scaler: Option<LossScaler>,
        adam_steps: i32,
        epoch_count: u64,
        /// Steps that change nothing, counted from 0.
        skipped: BTreeSet<u64>,
    },
    /// The step is recorded: the next one comes.
    Next { epoch_count: u64 },
    /// The step is recorded, and no other follows it.
    Break,
    /// The run ended.
    End { exit_code: i32 },
}

/// Gives an order to all other devices.
pub(super) fn give(devices: &dyn Devices, order: &Order) -> Result<(), RunError> {
    if devices.is_single() {
        return Ok(());
    }
    let text = serde_json::to_string(order).expect("plain data");
    Ok(devices.tell(&text)?)
}

/// The next order of device 0.
fn take(devices: &dyn Devices) -> Result<Order, RunError> {
    let text = devices.hear()?;
    let unknown = |_| DevicesError::Native(Text::verbatim(text.clone()));
    Ok(serde_json::from_str(&text).map_err(unknown)?)
}

/// The next order of device 0 that does not ask for moments in slices.
fn order_after_saving(devices: &dyn Devices, adam: &Adam) -> Result<Order, RunError> {
    loop {
        match take(devices)? {
            Order::GiveMoments => give_moments(devices, adam)?,
            order => return Ok(order),
        }
    }
}

/// The next order of device 0 that is not about moments in slices.
fn take_order(devices: &dyn Devices, adam: &mut Adam) -> Result<Order, RunError> {
    loop {
        match order_after_saving(devices, adam)? {
            Order::TakeMoments => take_moments(devices, adam)?,
            order => return Ok(order),
        }
    }
}

/// Sets the trainer of device 0 to a checkpoint, and the slices of the others.
///
/// # Errors
/// A checkpoint that cannot be read, or a device that is gone.
pub(super) fn restore_all(
    checkpoint: &Checkpoint,
    trainer: &mut Trainer<'_>,
) -> Result<(), RunError> {
    if trainer.adam.slices().is_some() {
        give(trainer.devices, &Order::TakeMoments)?;
    }
    restore(checkpoint, trainer)
}

/// Tells all other devices that the run ended.
///
/// # Errors
/// A device that is gone.
pub fn end(devices: &dyn Devices, code: ExitCode) -> Result<(), RunError> {
    give(devices, &Order::End { exit_code: code as i32 })
}

/// Tells all other devices what the step after a recorded one is.
pub(super) fn go_on(devices: &dyn Devices, next: ControlFlow<(), u64>) -> Result<(), RunError> {
    give(
        devices,
        &match next {
            Continue(epoch_count) => Order::Next { epoch_count },
            Break(()) => Order::Break,
        },
    )
}

/// Tells all other devices that steps come, and gives them the values of the trainer.
pub(super) fn begin_steps(
    trainer: &Trainer<'_>,
    preferences: Option<&Preferences<'_>>,
    position: Position,
    epoch_count: u64,
    skipped: &BTreeSet<u64>,
) -> Result<(), RunError> {
    let Trainer { adam, scaler, devices, .. } = trainer;
    if devices.is_single() {
        return Ok(());
    }
    let order = Order::Train {
        position,
        scaler: *scaler,
        adam_steps: adam.steps(),
        epoch_count,
        skipped: skipped.clone(),
    };
    give(*devices, &order)?;
    let values = adam.parameters().iter().map(|parameter| &parameter.tensor);
    let moments = match adam.slices() {
        None => (0..adam.parameters().len()).map(|i| adam.moments(i)).collect(),
        Some(_) => Vec::new(),
    };
    for tensor in values.chain(moments.iter().flat_map(|Moments { m, v }| [m, v])) {
        devices.broadcast(&tensor.detach().to_device(Device::Cpu).contiguous())?;
    }
    if let Some(References(numbers)) = preferences.and_then(Objective::references) {
        devices.broadcast(&Tensor::from_slice(numbers.as_flattened()))?;
    }
    Ok(())
}

/// Sets the values of an optimizer, and moments that are not sliced, to those that device 0 sends after [`Order::Train`].
fn receive_values(devices: &dyn Devices, adam: &mut Adam, adam_steps: i32) -> Result<(), RunError> {
    let receive = |like: &Tensor| -> Result<Tensor, DevicesError> {
        let tensor = like.detach().to_device(Device::Cpu).contiguous().zeros_like();
        devices.broadcast(&tensor)?;
        Ok(tensor)
    };
    let parameters = adam.parameters().iter();
    let values: Vec<Tensor> =
        parameters.map(|parameter| receive(&parameter.tensor)).collect::<Result<_, _>>()?;
    adam.set_values(&values);
    adam.set_steps(adam_steps);
    if adam.slices().is_none() {
        for (i, like) in values.iter().enumerate() {
            let moments = Moments { m: receive(like)?, v: receive(like)? };
            adam.set_moments(i, &moments);
        }
    }
    Ok(())
}

/// Takes the reference of the objective that device 0 sends after the values.
fn receive_references(
    devices: &dyn Devices,
    preferences: &Preferences<'_>,
    records: usize,
) -> Result<(), RunError> {
    if preferences.has_reference() {
        let numbers = Tensor::zeros([3 * records as i64], (Kind::Double, Device::Cpu));
        devices.broadcast(&numbers)?;
        let numbers = Vec::<f64>::try_from(&numbers).expect("a vector of float64");
        preferences.start_from(References(numbers.as_chunks::<3>().0.to_vec()));
    }
    Ok(())
}

/// Inputs of a device that have to be those of device 0: what they are, how a difference is called and what it ends with, and
/// a value that is equal for equal inputs.
fn inputs(plan: &Plan, lock: &Lock) -> Vec<(Text, ExitCode, String)> {
    let program =
        format!("{}, libtorch {}, kernels {:.8}", lock.program(), lock.libtorch, lock.kernels);
    let files = |name| {
        let files = lock.input(name).into_iter();
        files.map(|file| format!("{:.16}", file.sha256)).collect::<Vec<_>>().join(", ")
    };
    let computation = format!("op {}, products {}", lock.op, lock.machine()[6].1);
    vec![
        (msg!(OTHER_PROGRAM), ExitCode::Device, program),
        (msg!(OTHER_SETTINGS), ExitCode::Invalid, plan.experiment.settings_but_rate()),
        (msg!(OTHER_DATA), ExitCode::Data, files("data")),
        (msg!(OTHER_TOKENIZER), ExitCode::Model, files(Lock::TOKENIZER)),
        (msg!(OTHER_WEIGHTS), ExitCode::Model, files(Lock::WEIGHTS)),
        (msg!(OTHER_INIT), ExitCode::Model, files(Lock::INIT)),
        (msg!(OTHER_TEACHER), ExitCode::Model, files(Lock::TEACHER)),
        (msg!(OTHER_COMPUTATION), ExitCode::Device, computation),
    ]
}

/// Refuses devices whose inputs are not those of device 0.
///
/// # Errors
/// The first difference, the same error on every device.
pub(super) fn check_same(devices: &dyn Devices, plan: &Plan, lock: &Lock) -> Result<(), RunError> {
    if devices.is_single() {
        return Ok(());
    }
    let mine = inputs(plan, lock);
    let values: Vec<&String> = mine.iter().map(|(.., value)| value).collect();
    let text = serde_json::to_string(&values).expect("plain data");
    let all: Vec<Vec<String>> = devices
        .gather_texts(&text)?
        .iter()
        .map(|text| serde_json::from_str(text).unwrap_or_default())
        .collect();
    for (rank, values) in all.iter().enumerate() {
        for (i, (what, code, _)) in mine.iter().enumerate() {
            let (first, here) = (all[0].get(i), values.get(i));
            if first != here {
                let (what, code) = (what.clone(), *code);
                let values = first.zip(here).map(|(first, here)| first_difference(first, here));
                return Err(DevicesError::Differs { rank, what, code, values }.into());
            }
        }
    }
    Ok(())
}

/// The first lines that differ.
fn first_difference(one: &str, other: &str) -> (String, String) {
    let known: BTreeSet<&str> = one.lines().collect();
    let there: BTreeSet<&str> = other.lines().collect();
    let first = |lines: &BTreeSet<&str>, others: &BTreeSet<&str>| {
        lines.difference(others).next().map_or("-".to_owned(), |line| (*line).to_owned())
    };
    (first(&known, &there), first(&there, &known))
}

/// Takes part in the run of device 0 as another device, until device 0 ends the run; returns its exit code. Calls
/// `begun` when the run has its directory: from then on device 0 saves everything when a device is asked to stop.
///
/// # Errors
/// Inputs that cannot be read or are not those of device 0, a pass that fails, or another device that is gone.
pub fn follow(plan: &Plan, devices: &dyn Devices, begun: &dyn Fn()) -> Result<ExitCode, RunError> {
    // libtorch panics when memory runs out or the GPU fails.
    let work = AssertUnwindSafe(|| follow_orders(plan, devices, begun));
    catch_unwind(work).unwrap_or_else(|panic| match error_of_panic(&*panic) {
        Some(error) => Err(error),
        None => resume_unwind(panic),
    })
}

fn follow_orders(
    plan: &Plan,
    devices: &dyn Devices,
    begun: &dyn Fn(),
) -> Result<ExitCode, RunError> {
    set_up_libtorch(plan);
    all_devices(plan, devices)?;
    let mut plan = plan.clone();
    let ended = |code| Ok(ExitCode::of_number(code));
    match take(devices)? {
        Order::Load { val_seed, streams } => {
            plan.take_val_seed(val_seed);
            plan.take_stream(streams);
        }
        Order::End { exit_code } => return ended(exit_code),
        other => return Err(unexpected(&other)),
    }
    let tokenizer = load_tokenizer(&plan)?;
    let shape = model_shape(&plan, &tokenizer)?;
    let mut plan = with_drawn(&plan, &tokenizer, &shape)?.into_owned();
    let mut data = prepare_data(&plan, &tokenizer, shape.vocab_size)?;
    let weights = weights_of_shape(&plan, shape)?;
    let method = new_method(&plan, weights, &tokenizer)?;
    let objective = new_objective(&plan, method.as_ref(), &tokenizer)?;
    let general = General::of_plan(&plan, &tokenizer, &shape, method.as_ref())?;
    let keep = general.as_ref().map(|general| general.keep(&plan, &tokenizer, &shape));
    let keep = keep.transpose()?.flatten();
    check_same(devices, &plan, &lock(&plan, &tokenizer, &shape, &data)?)?;
    match take(devices)? {
        Order::Begin { lr_init, skipped } => {
            plan.take_rate(lr_init);
            data.train.skip(skipped);
        }
        Order::End { exit_code } => return ended(exit_code),
        other => return Err(unexpected(&other)),
    }
    begun();
    let options = fit_options(&plan, data.train.samples_per_pass());
    let scaler = LossScaler::for_dtype(plan.train.dtype);
    let options_of_step = StepOptions::of_plan(&plan, method.model().shape());
    let on = (devices, plan.sharing(&shape));
    let mut trainer =
        Trainer::shared(method.as_ref(), plan.train.adam, scaler, options_of_step, on);
    let preferences = plan.objective.preference().map(Preferences::new);
    trainer.objective = preferences.as_ref().map_or(objective.as_ref(), |preferences| preferences);
    trainer.keep = keep.as_ref().map(|keep| keep as &dyn Keep);
    loop {
        match take_order(devices, &mut trainer.adam)? {
            Order::Train { position, scaler, adam_steps, epoch_count, skipped } => {
                trainer.scaler = scaler;
                receive_values(devices, &mut trainer.adam, adam_steps)?;
                if let Some(preferences) = &preferences {
                    receive_references(devices, preferences, data.records)?;
                }
                let after_step =
                    |done: &StepDone<'_>| match order_after_saving(devices, &done.trainer.adam)? {
                        Order::Next { epoch_count } => Ok(Continue(epoch_count)),
                        Order::Break => Ok(Break(())),
                        other => Err(unexpected(&other)),
                    };
                let options = options.lasting(epoch_count);
                let done =
                    fit(&mut trainer, &mut data.train, &options, position, &skipped, after_step);
                match done {
                    // The same on every device: device 0 says it.
                    Err(RunError::Train(TrainError::LossScale { .. })) => drop(take(devices)?),
                    done => drop(done?),
                }
            }
            Order::End { exit_code } => return ended(exit_code),
            other => return Err(unexpected(&other)),
        }
    }
}

/// An order that does not come at this place: the devices are not of one version.
fn unexpected(order: &Order) -> RunError {
    DevicesError::Native(Text::verbatim(format!("{order:?}"))).into()
}
