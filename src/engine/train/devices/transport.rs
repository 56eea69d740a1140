//! What devices send each other.

use std::fmt::Debug;

use tch::{Device, Kind, Tensor};

use super::DevicesError;

/// The devices of a run, each with the whole model. Every device makes the same calls in the same order, but for
/// [`Devices::give`] and [`Devices::take`], which are between two. Tensors of GPUs pass through the memory of the host.
pub trait Devices: Debug {
    /// The number of this device, from 0. Device 0 writes the run directory and decides.
    fn rank(&self) -> usize;

    /// The number of devices.
    fn count(&self) -> usize;

    /// The `tensor` (n) of every device, in their order: (count, n), on the device of this tensor. All are of one dtype.
    ///
    /// # Errors
    /// A device that is gone or failed.
    fn gather(&self, tensor: &Tensor) -> Result<Tensor, DevicesError>;

    /// Begins to give row r of `rows` (count, n), on the CPU, to device r. The exchange brings the rows for this device, in the order of the devices
    /// that they are from: (count, n).
    ///
    /// # Errors
    /// As for [`Devices::gather`].
    fn begin_exchange(&self, rows: &Tensor) -> Result<Box<dyn Exchange + '_>, DevicesError>;

    /// Sets `tensor`, which is contiguous, to that of device 0.
    ///
    /// # Errors
    /// As for [`Devices::gather`].
    fn broadcast(&self, tensor: &Tensor) -> Result<(), DevicesError>;

    /// Gives `tensor` to the device `to`, which takes what comes from a device in the order in which it was given. Does not wait
    /// for that device, so nothing may change the tensor afterwards; contiguous.
    ///
    /// # Errors
    /// As for [`Devices::gather`].
    fn give(&self, to: usize, tensor: &Tensor) -> Result<(), DevicesError>;

    /// Waits for the next tensor that the device `from` gives, and sets `tensor`, of the same size and dtype, to it.
    ///
    /// # Errors
    /// As for [`Devices::gather`].
    fn take(&self, from: usize, tensor: &Tensor) -> Result<(), DevicesError>;

    /// Whether this process was asked to stop.
    fn is_asked_to_stop(&self) -> bool {
        false
    }

    /// Notes that a device was asked to stop.
    fn ask_to_stop(&self) {}
}

/// An exchange under way.
pub trait Exchange {
    /// Waits until the exchange is over.
    ///
    /// # Errors
    /// As for [`Devices::gather`].
    fn wait(self: Box<Self>) -> Result<Tensor, DevicesError>;
}

/// An exchange that is over.
impl Exchange for Tensor {
    fn wait(self: Box<Self>) -> Result<Tensor, DevicesError> {
        Ok(*self)
    }
}

impl dyn Devices + '_ {
    /// Whether there is one device only.
    pub fn is_single(&self) -> bool {
        self.count() == 1
    }

    /// Sends a text from device 0 to the others, which `hear` it.
    ///
    /// # Errors
    /// A device that is gone or failed.
    pub fn tell(&self, text: &str) -> Result<(), DevicesError> {
        if self.is_single() {
            return Ok(());
        }
        self.broadcast(&Tensor::from_slice(&[text.len() as i64]))?;
        self.broadcast(&Tensor::from_slice(text.as_bytes()))
    }

    /// The text that device 0 tells next.
    ///
    /// # Errors
    /// As for `tell`.
    pub fn hear(&self) -> Result<String, DevicesError> {
        let len = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
        self.broadcast(&len)?;
        let text = Tensor::zeros([len.int64_value(&[0])], (Kind::Uint8, Device::Cpu));
        self.broadcast(&text)?;
        Ok(String::from_utf8_lossy(&bytes(&text)).into_owned())
    }

    /// The texts of all devices, in their order.
    ///
    /// # Errors
    /// As for `tell`.
    pub fn gather_texts(&self, text: &str) -> Result<Vec<String>, DevicesError> {
        let all = self.gather_bytes(text.as_bytes())?;
        Ok(all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
    }

    /// The bytes of all devices, in their order; each device may have any number of them.
    ///
    /// # Errors
    /// As for `tell`.
    pub fn gather_bytes(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, DevicesError> {
        let lengths = self.gather(&Tensor::from_slice(&[mine.len() as i64]))?;
        let lengths: Vec<i64> =
            (0..self.count()).map(|r| lengths.int64_value(&[r as i64, 0])).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padded = Tensor::zeros([longest], (Kind::Uint8, Device::Cpu));
        padded.narrow(0, 0, mine.len() as i64).copy_(&Tensor::from_slice(mine));
        let rows = self.gather(&padded)?;
        let of_device = |(r, &len): (usize, &i64)| bytes(&rows.get(r as i64).narrow(0, 0, len));
        Ok(lengths.iter().enumerate().map(of_device).collect())
    }

    /// The numbers of all devices, in their order; whether one of them was asked to stop travels along.
    ///
    /// # Errors
    /// As for `tell`.
    pub fn gather_numbers(&self, number: f64) -> Result<Vec<f64>, DevicesError> {
        let asked = f64::from(self.is_asked_to_stop());
        let rows = self.gather(&Tensor::from_slice(&[number, asked]))?;
        let column = |i| (0..self.count()).map(move |r| [r as i64, i]);
        if column(1).any(|at| rows.double_value(&at) > 0.0) {
            self.ask_to_stop();
        }
        Ok(column(0).map(|at| rows.double_value(&at)).collect())
    }
}

fn bytes(text: &Tensor) -> Vec<u8> {
    Vec::try_from(text).expect("one axis of bytes")
}

/// One device alone.
#[derive(Clone, Copy, Debug)]
pub struct Single;

impl Devices for Single {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor, DevicesError> {
        Ok(tensor.unsqueeze(0))
    }

    fn begin_exchange(&self, rows: &Tensor) -> Result<Box<dyn Exchange + '_>, DevicesError> {
        Ok(Box::new(rows.shallow_clone()))
    }

    fn broadcast(&self, _: &Tensor) -> Result<(), DevicesError> {
        Ok(())
    }

    fn give(&self, _: usize, _: &Tensor) -> Result<(), DevicesError> {
        unreachable!("there is no other device")
    }

    fn take(&self, _: usize, _: &Tensor) -> Result<(), DevicesError> {
        unreachable!("there is no other device")
    }
}
