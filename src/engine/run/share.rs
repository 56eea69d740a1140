//! A run on several devices: device 0 decides, writes and shows everything; the others `follow`.
//!
//! Every device loads the same documents and weights. Device 0 tells the others when a step or a measurement comes, and what it starts
//! from, so that they hold the same values. Between these they wait for it: while it answers and saves.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};

use serde::{Deserialize, Serialize};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Plan;
use statetune_core::records::{Checkpoint, Lock, LossScaler, Position};
use tch::{Device, Tensor};

use crate::RunError;
use crate::model::Shape;
use crate::optim::{Adam, Moments};
use crate::train::{Devices, DevicesError, Objective, Preferences, References, Trainer, restore};

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
    /// Device 0 saves the moments, which are sliced, see [`give_moments`](crate::train::give_moments).
    GiveMoments,
    /// Device 0 has loaded moments and deals them out, see [`take_moments`](crate::train::take_moments).
    TakeMoments,
    /// The values of the trainable parameters follow, which are measured and trained from now on.
    Values,
    /// Device 0 computes the reference of an objective that compares answers, and all devices with it.
    Reference,
    /// Device 0 evaluates, and all devices with it.
    Measure(Measurement),
    /// Steps come. Where each device has all moments, these follow.
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

/// What devices measure together. Device 0 records the result.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) enum Measurement {
    /// The scores of the suites.
    Suites,
    /// The validation loss.
    Validation,
    /// The distance from the base on general text.
    Forgetting,
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
pub(super) fn take(devices: &dyn Devices) -> Result<Order, RunError> {
    let text = devices.hear()?;
    let unknown = |_| DevicesError::Native(Text::verbatim(text.clone()));
    Ok(serde_json::from_str(&text).map_err(unknown)?)
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

/// Gives all other devices the values of the trainable parameters: what they measure and train is that of device 0.
///
/// # Errors
/// A device that is gone.
pub(super) fn share_values(devices: &dyn Devices, adam: &Adam) -> Result<(), RunError> {
    give(devices, &Order::Values)?;
    if !devices.is_single() {
        for parameter in adam.parameters() {
            devices.broadcast(&on_cpu(&parameter.tensor))?;
        }
    }
    Ok(())
}

/// The numbers of a tensor, for [`Devices::broadcast`].
fn on_cpu(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(Device::Cpu).contiguous()
}

/// Tells all other devices that steps come, and gives them what they need beside the values.
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
    if adam.slices().is_none() {
        for i in 0..adam.parameters().len() {
            let Moments { m, v } = adam.moments(i);
            devices.broadcast(&on_cpu(&m))?;
            devices.broadcast(&on_cpu(&v))?;
        }
    }
    if let Some(References(numbers)) = preferences.and_then(Objective::references) {
        devices.broadcast(&Tensor::from_slice(numbers.as_flattened()))?;
    }
    Ok(())
}

/// Inputs of a device that have to be those of device 0: what they are, how a difference is called and what it ends with, and
/// a value that is equal for equal inputs.
fn inputs(plan: &Plan, shape: &Shape, lock: &Lock) -> Vec<(Text, ExitCode, String)> {
    let program =
        format!("{}, libtorch {}, kernels {:.8}", lock.program(), lock.libtorch, lock.kernels);
    let files = |name| {
        let files = lock.input(name).into_iter();
        files.map(|file| format!("{:.16}", file.sha256)).collect::<Vec<_>>().join(", ")
    };
    let suites = lock.suites.iter().map(|file| format!("{:.16}", file.sha256));
    // The numbers of a run do not depend on these, but what the devices do together does.
    let together = format!(
        "eval.forgetting = {}\nhardware.strategy = {}\n",
        plan.eval.forgetting,
        plan.sharing(shape).name()
    );
    let computation = format!("op {}, products {}", lock.op, lock.machine()[6].1);
    vec![
        (msg!(OTHER_PROGRAM), ExitCode::Device, program),
        (msg!(OTHER_SETTINGS), ExitCode::Invalid, plan.experiment.settings_but_rate() + &together),
        (msg!(OTHER_DATA), ExitCode::Data, files("data")),
        (msg!(OTHER_TOKENIZER), ExitCode::Model, files(Lock::TOKENIZER)),
        (msg!(OTHER_WEIGHTS), ExitCode::Model, files(Lock::WEIGHTS)),
        (msg!(OTHER_INIT), ExitCode::Model, files(Lock::INIT)),
        (msg!(OTHER_TEACHER), ExitCode::Model, files(Lock::TEACHER)),
        (msg!(OTHER_SUITES), ExitCode::Data, suites.collect::<Vec<_>>().join(", ")),
        (msg!(OTHER_COMPUTATION), ExitCode::Device, computation),
    ]
}

/// Refuses devices whose inputs are not those of device 0.
///
/// # Errors
/// The first difference, the same error on every device.
pub(super) fn check_same(
    devices: &dyn Devices,
    plan: &Plan,
    shape: &Shape,
    lock: &Lock,
) -> Result<(), RunError> {
    if devices.is_single() {
        return Ok(());
    }
    let mine = inputs(plan, shape, lock);
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

/// An order that does not come at this place: the devices are not of one version.
pub(super) fn unexpected(order: &Order) -> RunError {
    DevicesError::Native(Text::verbatim(format!("{order:?}"))).into()
}
