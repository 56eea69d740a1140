//! The run of a device other than device 0: what it does when device 0 gives an order, see [`Order`].

use std::ops::ControlFlow::{self, Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use statetune_core::data::{Loader, Tokenizer};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Plan;
use statetune_core::records::LossScaler;
use tch::{Device, Kind, Tensor};

use super::device_facts::all_devices;
use super::drawn::with_drawn;
use super::forgetting::{Forgetting, General};
use super::input_records::lock;
use super::job::{Evaluated, fit_options};
use super::prepare::{load_tokenizer, model_shape, new_method, prepare_data, weights_of_shape};
use super::reference::references_in_rounds;
use super::settings::set_up_libtorch;
use super::share::{Measurement, Order, check_same, take, unexpected};
use super::suites::{load_suites, scores_in_rounds};
use super::teacher::new_objective;
use super::validation::Validation;
use crate::RunError;
use crate::error::error_of_panic;
use crate::inference::TokenizedSuite;
use crate::optim::{Adam, Moments};
use crate::train::{
    Devices, DevicesError, Keep, Preferences, References, Rounds, StepDone, StepOptions,
    TrainError, Trainer, fit, give_moments, take_moments,
};

/// A tensor of the size and dtype of `like` that device 0 sends.
fn receive(devices: &dyn Devices, like: &Tensor) -> Result<Tensor, DevicesError> {
    let tensor = Tensor::zeros(like.size(), (like.kind(), Device::Cpu));
    devices.broadcast(&tensor)?;
    Ok(tensor)
}

/// Sets the values of an optimizer to those that device 0 sends after [`Order::Values`].
fn receive_values(devices: &dyn Devices, adam: &mut Adam) -> Result<(), DevicesError> {
    let parameters = adam.parameters().iter();
    let values = parameters.map(|parameter| receive(devices, &parameter.tensor));
    let values: Vec<Tensor> = values.collect::<Result<_, _>>()?;
    adam.set_values(&values);
    Ok(())
}

/// Sets moments that are not sliced to those that device 0 sends after [`Order::Train`].
fn receive_moments(devices: &dyn Devices, adam: &mut Adam) -> Result<(), DevicesError> {
    if adam.slices().is_none() {
        for i in 0..adam.parameters().len() {
            let like = adam.parameters()[i].tensor.shallow_clone();
            let moments = Moments { m: receive(devices, &like)?, v: receive(devices, &like)? };
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

/// What a device measures with device 0, which records the results.
struct Measured<'a> {
    devices: &'a dyn Devices,
    evaluated: Evaluated<'a>,
    tokenizer: &'a Tokenizer,
    suites: &'a [TokenizedSuite],
    validation: Option<Validation<'a>>,
    forgetting: Option<Forgetting<'a>>,
}

impl Measured<'_> {
    /// Takes part in a measurement until it ends, or a device breaks it off.
    fn take_part(&mut self, what: Measurement) -> Result<(), RunError> {
        let evaluated = self.evaluated;
        let mut look = until_asked(self.devices);
        let rounds = &mut Rounds::new(self.devices, &mut look);
        match (what, &mut self.validation, &mut self.forgetting) {
            (Measurement::Suites, ..) => {
                scores_in_rounds(evaluated, self.suites, self.tokenizer, rounds)?;
            }
            (Measurement::Validation, Some(validation), _) => {
                let _ = validation.losses(evaluated, rounds)?;
            }
            (Measurement::Forgetting, _, Some(forgetting)) => {
                let _ = forgetting.distance(evaluated, rounds)?;
            }
            (Measurement::Validation | Measurement::Forgetting, ..) => {
                return Err(unexpected(&Order::Measure(what)));
            }
        }
        Ok(())
    }

    /// Takes part in the computation of the reference, which comes with the first step.
    fn reference(&mut self, train: &mut Loader<'_>, records: usize) -> Result<(), RunError> {
        let mut look = until_asked(self.devices);
        let rounds = &mut Rounds::new(self.devices, &mut look);
        let validation = self.validation.as_mut();
        let _ = references_in_rounds(self.evaluated, train, validation, records, rounds)?;
        Ok(())
    }
}

/// Breaks off when this device is asked to stop.
fn until_asked(devices: &dyn Devices) -> impl FnMut(u64) -> ControlFlow<()> {
    |_| if devices.is_asked_to_stop() { Break(()) } else { Continue(()) }
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
    let suites = load_suites(&plan, &tokenizer)?;
    let mut data = prepare_data(&plan, &tokenizer, shape.vocab_size)?;
    let weights = weights_of_shape(&plan, shape)?;
    let method = new_method(&plan, weights, &tokenizer)?;
    let objective = new_objective(&plan, method.as_ref(), &tokenizer)?;
    let general = General::of_plan(&plan, &tokenizer, &shape, method.as_ref())?;
    let keep = general.as_ref().map(|general| general.keep(&plan, &tokenizer, &shape));
    let keep = keep.transpose()?.flatten();
    check_same(devices, &plan, &shape, &lock(&plan, &tokenizer, &shape, &data)?)?;
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
    let forgetting = general.as_ref().map(|one| one.forgetting(&plan, &tokenizer, &shape));
    let mut measured = Measured {
        devices,
        evaluated: Evaluated {
            train: &plan.train,
            method: method.as_ref(),
            objective: objective.as_ref(),
        },
        tokenizer: &tokenizer,
        suites: &suites,
        validation: Validation::of_run(&mut data, plan.eval.limit, preferences.as_ref())?,
        forgetting: forgetting.transpose()?.flatten(),
    };
    loop {
        match take(devices)? {
            Order::GiveMoments => give_moments(devices, &trainer.adam)?,
            Order::TakeMoments => take_moments(devices, &mut trainer.adam)?,
            Order::Values => receive_values(devices, &mut trainer.adam)?,
            Order::Reference => measured.reference(&mut data.train, data.records)?,
            Order::Measure(what) => measured.take_part(what)?,
            Order::Train { position, scaler, adam_steps, epoch_count, skipped } => {
                trainer.scaler = scaler;
                trainer.adam.set_steps(adam_steps);
                receive_moments(devices, &mut trainer.adam)?;
                if let Some(preferences) = &preferences {
                    receive_references(devices, preferences, data.records)?;
                }
                let after_step = |done: &StepDone<'_>| loop {
                    match take(devices)? {
                        Order::GiveMoments => give_moments(devices, &done.trainer.adam)?,
                        Order::Measure(what) => measured.take_part(what)?,
                        Order::Next { epoch_count } => return Ok(Continue(epoch_count)),
                        Order::Break => return Ok(Break(())),
                        other => return Err(unexpected(&other)),
                    }
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
