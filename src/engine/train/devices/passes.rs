//! The sum of the gradients of the passes of a step.
//!
//! Floating-point addition depends on its order, and so do bits. One device adds the gradients of its passes one after the
//! other. Several take the passes in turn, a round of one pass for each device: after a round, each device gets its slice
//! of every gradient of the round and adds the slices in the order of the passes. Each number is thus added in the order of one device. At the
//! end all get all slices, and a device has sent and received as much as in a ring; or each device updates the parameters of its
//! slice, and all get these.
//!
//! Gradients of a GPU are added up in the memory of the host, through which they pass anyway: the sums of float32 numbers have the
//! bits of the GPU.

use std::collections::VecDeque;

use tch::{Device, Kind, Tensor};

use super::{Devices, DevicesError, Exchange};
use crate::kernels::flat::{STRETCH, squares_of_stretches, sum_of_stretches};
use crate::optim::{Bucket, Slices};
use crate::train::TrainError;

/// The sum of the gradients of passes, in slices.
#[derive(Debug)]
pub struct PassSum<'a> {
    devices: &'a dyn Devices,
    slices: Slices,
    /// The slice of this device, float32, on the CPU.
    slice: Tensor,
}

impl<'a> PassSum<'a> {
    /// An empty sum of gradients of as many numbers as `slices` have.
    pub fn new(devices: &'a dyn Devices, slices: Slices) -> PassSum<'a> {
        // Gradients are accumulated from zeros too: adding the first of them to zeros changes no bit.
        let slice = Tensor::zeros([slices.slice_len()], (Kind::Float, Device::Cpu));
        PassSum { devices, slices, slice }
    }

    /// How the numbers are divided among the devices.
    pub fn slices(&self) -> Slices {
        self.slices
    }

    /// Begins a round of `passes` passes, one of each of the first devices.
    pub fn begin_round(&mut self, passes: usize) -> Round<'_, 'a> {
        let buckets: Vec<Bucket> = self.slices.buckets().collect();
        Round { sum: self, passes, to_begin: buckets, pending: VecDeque::new() }
    }

    /// Writes the sum into `out` (n).
    ///
    /// # Errors
    /// A device that is gone or failed.
    pub fn finish(self, out: &Tensor) -> Result<(), DevicesError> {
        let row = |Bucket { width, at, .. }| self.slice.narrow(0, at, width);
        gather_rows(self.devices, self.slices, out, row)
    }

    /// The slice of this device, on `device`.
    pub fn into_slice(self, device: Device) -> Tensor {
        self.slice.to_device(device)
    }
}

/// The exchange of the gradients of some passes, one of each of the first devices: bucket by bucket, the last one first, on every device.
pub struct Round<'s, 'a> {
    sum: &'s mut PassSum<'a>,
    passes: usize,
    /// In their order.
    to_begin: Vec<Bucket>,
    /// The oldest first.
    pending: VecDeque<(Bucket, Box<dyn Exchange + 'a>)>,
}

/// Exchanges under way at a time: enough for the network to have work, and few, because each holds two copies of a bucket.
const MOST_PENDING: usize = 4;

impl Round<'_, '_> {
    /// The bucket that is exchanged next, if any.
    pub fn next(&self) -> Option<Bucket> {
        self.to_begin.last().copied()
    }

    /// Begins the exchange of the next bucket. `rows` (count width) float32 are the gradients of this device, with zeros after them; only zeros if this device
    /// had no pass.
    ///
    /// # Errors
    /// A device that is gone or failed.
    ///
    /// # Panics
    /// When no bucket is left.
    pub fn begin(&mut self, rows: &Tensor) -> Result<(), DevicesError> {
        let bucket = self.to_begin.pop().expect("a bucket is left");
        let devices = self.sum.devices;
        let exchange =
            devices.begin_exchange(&rows.view([devices.count() as i64, bucket.width]))?;
        self.pending.push_back((bucket, exchange));
        match self.pending.len() > MOST_PENDING {
            true => self.add_oldest(),
            false => Ok(()),
        }
    }

    fn add_oldest(&mut self) -> Result<(), DevicesError> {
        let Some((Bucket { width, at, .. }, exchange)) = self.pending.pop_front() else {
            return Ok(());
        };
        let _guard = tch::no_grad_guard();
        let rows = exchange.wait()?;
        let mut sum = self.sum.slice.narrow(0, at, width);
        for pass in 0..self.passes as i64 {
            let _ = sum.g_add_(&rows.get(pass));
        }
        Ok(())
    }

    /// Waits until all exchanges that began are over.
    ///
    /// # Errors
    /// A device that is gone or failed.
    pub fn finish(mut self) -> Result<(), DevicesError> {
        while !self.pending.is_empty() {
            self.add_oldest()?;
        }
        Ok(())
    }
}

/// Zeros (count width) on the CPU for the rows of a bucket.
pub fn zero_rows(bucket: Bucket, count: usize) -> Tensor {
    Tensor::zeros([count as i64 * bucket.width], (Kind::Float, Device::Cpu))
}

/// Numbers of `piece` (n) in the rows of a bucket, with zeros after them, on the CPU.
pub fn rows_of(piece: &Tensor, bucket: Bucket, count: usize) -> Tensor {
    let _guard = tch::no_grad_guard();
    let rows = zero_rows(bucket, count);
    rows.narrow(0, 0, bucket.len).copy_(&piece.narrow(0, bucket.first, bucket.len));
    rows
}

/// Sets `out` (n) to the rows of all devices, of which `row` is that of this device in a bucket.
fn gather_rows(
    devices: &dyn Devices,
    slices: Slices,
    out: &Tensor,
    row: impl Fn(Bucket) -> Tensor,
) -> Result<(), DevicesError> {
    let _guard = tch::no_grad_guard();
    for bucket in slices.buckets() {
        let whole = devices.gather(&row(bucket))?.view([-1]);
        out.narrow(0, bucket.first, bucket.len).copy_(&whole.narrow(0, 0, bucket.len));
    }
    Ok(())
}

/// Gives all devices the numbers of `piece` (n) that each has in its slice.
///
/// # Errors
/// A device that is gone or failed.
pub fn gather_slices(
    devices: &dyn Devices,
    slices: Slices,
    piece: &Tensor,
) -> Result<(), DevicesError> {
    gather_rows(devices, slices, piece, |bucket| {
        let row = Tensor::zeros([bucket.width], (Kind::Float, Device::Cpu));
        if let Some(held) = bucket.row(devices.rank()) {
            row.narrow(0, 0, held.len).copy_(&piece.narrow(0, held.first, held.len));
        }
        row
    })
}

/// The numbers `first .. first + len` of a piece of which each device has a slice; `slice` is that of this device. On the CPU.
///
/// # Errors
/// A device that is gone or failed.
pub fn gather_range(
    devices: &dyn Devices,
    slices: Slices,
    slice: &Tensor,
    (first, len): (i64, i64),
) -> Result<Tensor, DevicesError> {
    let _guard = tch::no_grad_guard();
    let out = Tensor::zeros([len], (Kind::Float, Device::Cpu));
    for bucket in slices.buckets() {
        let held = |rank| bucket.row(rank).and_then(|held| held.within(first, len));
        let all: Vec<_> = (0..devices.count()).map(held).collect();
        let Some(longest) = all.iter().flatten().map(|held| held.len).max() else { continue };
        let mine = Tensor::zeros([longest], (Kind::Float, Device::Cpu));
        if let Some(held) = all[devices.rank()] {
            mine.narrow(0, 0, held.len).copy_(&slice.narrow(0, held.at, held.len));
        }
        let rows = devices.gather(&mine)?;
        for (rank, held) in all.iter().enumerate() {
            if let Some(held) = held {
                let row = rows.get(rank as i64).narrow(0, 0, held.len);
                out.narrow(0, held.first - first, held.len).copy_(&row);
            }
        }
    }
    Ok(out)
}

/// The sum of the squares of all numbers of a piece of which each device has a slice, to the bit that of the whole piece: a float64
/// on the device of the slice.
///
/// # Errors
/// A device that is gone or failed, and [`KernelError`](crate::kernels::KernelError)s.
pub fn sum_of_squares_of_slices(
    devices: &dyn Devices,
    slices: Slices,
    slice: &Tensor,
) -> Result<Tensor, TrainError> {
    let count = devices.count() as i64;
    let n = slices.in_full_buckets();
    let full: Vec<Bucket> = slices.buckets().take_while(|one| one.first < n).collect();
    let in_rows = full.iter().map(|one| one.width).sum();
    let mut stretches = squares_of_stretches(&slice.narrow(0, 0, in_rows))?;
    if !full.is_empty() {
        // (device, bucket, stretch of a row) becomes the order of the piece.
        let all = devices.gather(&stretches)?.view([count, full.len() as i64, -1]);
        stretches = all.transpose(0, 1).reshape([-1]);
    }
    let rest = gather_range(devices, slices, slice, (n, slices.numbers() - n))?;
    let rest = rest.to_device(slice.device());
    let whole = rest.numel() as i64 / STRETCH * STRETCH;
    let of_rest = squares_of_stretches(&rest.narrow(0, 0, whole))?;
    let rest = rest.narrow(0, whole, rest.numel() as i64 - whole);
    Ok(sum_of_stretches(&Tensor::cat(&[stretches, of_rest], 0), &rest)?)
}

#[cfg(test)]
mod tests {
    use super::super::threads::{Threads, on_devices};
    use super::*;
    use crate::kernels::flat::sum_of_squares;

    /// The gradient of a pass, whose sums depend on the order of additions. Divisions and products alone, because a compiler
    /// may compute a sine by another one than the library.
    fn gradient(pass: usize) -> Tensor {
        let size = [1.0, 10.0, 100.0, 1e3, 1e4][pass % 5];
        let number = |i: usize| ((pass * 31 + i * 17) % 23) as f32 / 7.0 * size;
        Tensor::from_slice(&(0..11).map(number).collect::<Vec<f32>>())
    }

    fn bits(numbers: &Tensor) -> Vec<u32> {
        let numbers = Vec::<f32>::try_from(numbers).expect("one axis");
        numbers.into_iter().map(f32::to_bits).collect()
    }

    /// The bits of the sum of `passes` gradients over `count` devices, on each device.
    fn sums(count: usize, passes: usize) -> Vec<Vec<u32>> {
        on_devices(count, move |devices| {
            let none = gradient(0).zeros_like();
            let slices = Slices::new(none.numel() as i64, count);
            let mut sum = PassSum::new(devices, slices);
            let all: Vec<usize> = (0..passes).collect();
            for round in all.chunks(count) {
                let mine = round.get(devices.rank).map(|&pass| gradient(pass));
                let mut exchange = sum.begin_round(round.len());
                while let Some(bucket) = exchange.next() {
                    let rows = rows_of(mine.as_ref().unwrap_or(&none), bucket, count);
                    exchange.begin(&rows).expect("no device fails");
                }
                exchange.finish().expect("no device fails");
            }
            let out = gradient(0);
            sum.finish(&out).expect("no device fails");
            bits(&out)
        })
    }

    /// A piece of some numbers, and the slice that a device has of it.
    fn piece_and_slice(n: i64, devices: &Threads) -> (Tensor, Slices, Tensor) {
        let piece = (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.37).sin();
        let piece = piece.to_kind(Kind::Float);
        let slices = Slices::new(n, devices.count());
        let slice = Tensor::zeros([slices.slice_len()], (Kind::Float, Device::Cpu));
        for held in slices.held(devices.rank) {
            slice.narrow(0, held.at, held.len).copy_(&piece.narrow(0, held.first, held.len));
        }
        (piece, slices, slice)
    }

    /// Fewer numbers than a stretch, several buckets, and several parts.
    const LENGTHS: [i64; 4] = [480, 16 * 2048, 200_032, 700_000];

    #[test]
    fn the_squares_of_slices_have_the_sum_of_the_whole() {
        for n in LENGTHS {
            for count in [1, 2, 3] {
                for (found, expected) in on_devices(count, move |devices| {
                    let (piece, slices, slice) = piece_and_slice(n, devices);
                    let found = sum_of_squares_of_slices(devices, slices, &slice);
                    let expected = sum_of_squares(&piece).expect("a sum");
                    let bits = |x: Tensor| x.double_value(&[]).to_bits();
                    (bits(found.expect("no device fails")), bits(expected))
                }) {
                    assert_eq!(found, expected, "{n} numbers on {count} devices");
                }
            }
        }
    }

    #[test]
    fn slices_are_put_together_whole_and_in_part() {
        for n in LENGTHS {
            on_devices(3, move |devices| {
                let (piece, slices, slice) = piece_and_slice(n, devices);
                let found = piece.zeros_like();
                for held in slices.held(devices.rank) {
                    let own = slice.narrow(0, held.at, held.len);
                    found.narrow(0, held.first, held.len).copy_(&own);
                }
                gather_slices(devices, slices, &found).expect("no device fails");
                assert_eq!(found, piece);
                for range in [(0, n), (n / 3, n / 2), (n - 1, 1), (0, 0)] {
                    let found = gather_range(devices, slices, &slice, range);
                    let expected = piece.narrow(0, range.0, range.1);
                    assert_eq!(found.expect("no device fails"), expected);
                }
            });
        }
    }

    #[test]
    fn any_number_of_devices_gets_the_bits_of_one() {
        for passes in 1..8 {
            let sum = gradient(0);
            for pass in 1..passes {
                let _ = sum.shallow_clone().g_add_(&gradient(pass));
            }
            for count in 1..6 {
                for found in sums(count, passes) {
                    assert_eq!(found, bits(&sum), "{passes} passes on {count} devices");
                }
            }
        }
    }
}
