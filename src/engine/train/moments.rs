//! Moments that lie in slices on several devices: device 0 collects those of one parameter at a time when it saves them, and
//! deals them out when it loads them.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::devices::{Devices, DevicesError, gather_range};
use crate::optim::{Adam, Moments};

/// The request that ends a collection.
const END: i64 = -1;

/// Device 0 asks the others for moments.
pub(super) struct Collection<'a> {
    devices: &'a dyn Devices,
    adam: &'a Adam,
    /// The first failure, after which nothing is asked any more.
    failure: RefCell<Option<DevicesError>>,
}

impl<'a> Collection<'a> {
    pub(super) fn new(devices: &'a dyn Devices, adam: &'a Adam) -> Collection<'a> {
        Collection { devices, adam, failure: RefCell::default() }
    }

    /// The moment `which` (0: of the gradient, 1: of its square) of the parameter `i`, in its shape; zeros after a failure.
    pub(super) fn moment(&self, i: usize, which: usize) -> Tensor {
        let like = &self.adam.parameters()[i].tensor;
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            let request = Tensor::from_slice(&[2 * i as i64 + which as i64]);
            let asked = self.devices.broadcast(&request);
            match asked.and_then(|()| part(self.devices, self.adam, i, which)) {
                Ok(moment) => return moment.view_as(like),
                Err(error) => *failure = Some(error),
            }
        }
        Tensor::zeros(like.size(), (Kind::Float, Device::Cpu))
    }

    /// # Errors
    /// The first failure.
    pub(super) fn check(&self) -> Result<(), DevicesError> {
        self.failure.borrow().as_ref().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// A device that was gone or failed by then.
    pub(super) fn end(self) -> Result<(), DevicesError> {
        match self.failure.into_inner() {
            Some(failure) => Err(failure),
            None => self.devices.broadcast(&Tensor::from_slice(&[END])),
        }
    }
}

/// Gives device 0 the moments that it asks for, until it has all.
///
/// # Errors
/// A device that is gone or failed.
pub fn give_moments(devices: &dyn Devices, adam: &Adam) -> Result<(), DevicesError> {
    let request = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
    loop {
        devices.broadcast(&request)?;
        let Ok(asked) = usize::try_from(request.int64_value(&[0])) else { return Ok(()) };
        let _ = part(devices, adam, asked / 2, asked % 2)?;
    }
}

/// The moment `which` of the parameter `i`: one axis. All devices make this call.
fn part(
    devices: &dyn Devices,
    adam: &Adam,
    i: usize,
    which: usize,
) -> Result<Tensor, DevicesError> {
    let slices = adam.slices().expect("moments in slices");
    gather_range(devices, slices, adam.held_moments()[which], adam.range(i))
}

/// Deals out the moments of the parameter `i` from device 0, which has them.
///
/// # Errors
/// A device that is gone or failed.
pub(super) fn deal_moments(
    devices: &dyn Devices,
    adam: &mut Adam,
    i: usize,
    moments: &Moments,
) -> Result<(), DevicesError> {
    for moment in [&moments.m, &moments.v] {
        devices.broadcast(&moment.contiguous())?;
    }
    adam.set_moments(i, moments);
    Ok(())
}

/// Takes this device's slice of the moments that device 0 deals out.
///
/// # Errors
/// A device that is gone or failed.
pub fn take_moments(devices: &dyn Devices, adam: &mut Adam) -> Result<(), DevicesError> {
    for i in 0..adam.parameters().len() {
        let size = adam.parameters()[i].tensor.size();
        let zeros = || Tensor::zeros(&size, (Kind::Float, Device::Cpu));
        deal_moments(devices, adam, i, &Moments { m: zeros(), v: zeros() })?;
    }
    Ok(())
}
