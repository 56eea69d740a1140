//! How long devices exchange the gradients of a pass.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::passes::rows_of;
use super::{Devices, DevicesError, PassSum};
use crate::optim::Slices;

/// Repetitions, of which the median counts; one more before them is not timed.
const REPETITIONS: usize = 7;

/// The time in which `devices` add up gradients of `numbers` float32 numbers on `device`, one pass each. All devices make this call.
///
/// # Errors
/// A device that is gone or failed.
pub fn exchange_time(
    devices: &dyn Devices,
    numbers: i64,
    device: Device,
) -> Result<Duration, DevicesError> {
    let gradients = Tensor::zeros([numbers], (Kind::Float, device));
    let mut times = Vec::with_capacity(REPETITIONS);
    for repetition in 0..=REPETITIONS {
        devices.gather_numbers(0.0)?; // all begin together
        let started = Instant::now();
        let mut sum = PassSum::new(devices, Slices::new(numbers, devices.count()));
        let mut round = sum.begin_round(devices.count());
        while let Some(bucket) = round.next() {
            round.begin(&rows_of(&gradients, bucket, devices.count()))?;
        }
        round.finish()?;
        sum.finish(&gradients)?;
        if repetition > 0 {
            times.push(started.elapsed());
        }
    }
    times.sort();
    Ok(times[REPETITIONS / 2])
}
