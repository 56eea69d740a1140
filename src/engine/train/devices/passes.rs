//! The sum of the gradients of the passes of a step.
//!
//! Floating-point addition depends on its order, and so do bits. One device adds the gradients of its passes one after the
//! other. Several take the passes in turn, a round of one pass for each device: after a round, each device gets its slice
//! of every gradient of the round and adds the slices in the order of the passes. At the end all get all slices. Each number
//! is thus added in the order of one device, and a device sends and receives as much as in a ring.

use tch::{Device, Kind, Tensor};

use super::{Devices, DevicesError};

/// The sum of the gradients of passes, in slices.
#[derive(Debug)]
pub struct PassSum<'a> {
    devices: &'a dyn Devices,
    /// The slice of this device: (n), float32. Absent before the first round.
    slice: Option<Tensor>,
}

impl<'a> PassSum<'a> {
    /// An empty sum.
    pub fn new(devices: &'a dyn Devices) -> PassSum<'a> {
        PassSum { devices, slice: None }
    }

    /// Adds the gradients of a round of `passes` passes, one of each of the first devices. `gradient` (n) float32 is that of
    /// this device; zeros if it had no pass.
    ///
    /// # Errors
    /// A device that is gone or failed.
    pub fn add(&mut self, gradient: &Tensor, passes: usize) -> Result<(), DevicesError> {
        let _guard = tch::no_grad_guard();
        let count = self.devices.count() as i64;
        let n = gradient.numel() as i64;
        let rows = Tensor::zeros([(n + count - 1) / count * count], (Kind::Float, Device::Cpu));
        rows.narrow(0, 0, n).copy_(gradient);
        let rows = self.devices.exchange(&rows.view([count, -1]))?;
        for pass in 0..passes as i64 {
            let row = rows.get(pass);
            match &mut self.slice {
                None => self.slice = Some(row.copy()),
                Some(sum) => drop(sum.g_add_(&row)),
            }
        }
        Ok(())
    }

    /// Writes the sum into `out` (n).
    ///
    /// # Errors
    /// As for [`PassSum::add`].
    ///
    /// # Panics
    /// Without a round.
    pub fn finish(self, out: &Tensor) -> Result<(), DevicesError> {
        let _guard = tch::no_grad_guard();
        let slice = self.slice.as_ref().expect("a step has a pass");
        let whole = self.devices.gather(slice)?.view([-1]);
        out.shallow_clone().copy_(&whole.narrow(0, 0, out.numel() as i64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, Mutex};
    use std::thread;

    use super::*;

    /// Devices that are threads of this process.
    #[derive(Debug)]
    struct Threads {
        rank: usize,
        board: Arc<Mutex<Vec<Vec<f32>>>>,
        barrier: Arc<Barrier>,
    }

    impl Threads {
        /// The numbers of all devices.
        fn share(&self, numbers: Vec<f32>) -> Vec<Vec<f32>> {
            self.board.lock().expect("no panic")[self.rank] = numbers;
            self.barrier.wait();
            let all = self.board.lock().expect("no panic").clone();
            self.barrier.wait();
            all
        }
    }

    impl Devices for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn count(&self) -> usize {
            self.board.lock().expect("no panic").len()
        }

        fn gather(&self, tensor: &Tensor) -> Result<Tensor, DevicesError> {
            let all = self.share(Vec::try_from(tensor).expect("one axis"));
            Ok(Tensor::from_slice(&all.concat()).view([all.len() as i64, -1]))
        }

        fn exchange(&self, rows: &Tensor) -> Result<Tensor, DevicesError> {
            let len = rows.size()[1] as usize;
            let all = self.share(Vec::try_from(rows.view([-1])).expect("one axis"));
            let of_mine = |row: &Vec<f32>| row[self.rank * len..(self.rank + 1) * len].to_vec();
            let mine: Vec<Vec<f32>> = all.iter().map(of_mine).collect();
            Ok(Tensor::from_slice(&mine.concat()).view([mine.len() as i64, len as i64]))
        }

        fn broadcast(&self, _: &Tensor) -> Result<(), DevicesError> {
            unreachable!("sums need no broadcast")
        }

        fn give(&self, _: usize, _: &Tensor) -> Result<(), DevicesError> {
            unreachable!("sums are of all devices")
        }

        fn take(&self, _: usize, _: &Tensor) -> Result<(), DevicesError> {
            unreachable!("sums are of all devices")
        }
    }

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
        let board = Arc::new(Mutex::new(vec![Vec::new(); count]));
        let barrier = Arc::new(Barrier::new(count));
        let device = |rank| {
            let devices = Threads { rank, board: board.clone(), barrier: barrier.clone() };
            thread::spawn(move || {
                let mut sum = PassSum::new(&devices);
                let all: Vec<usize> = (0..passes).collect();
                let none = gradient(0).zeros_like();
                for round in all.chunks(count) {
                    let mine = round.get(rank).map(|&pass| gradient(pass));
                    sum.add(mine.as_ref().unwrap_or(&none), round.len()).expect("no device fails");
                }
                let out = gradient(0);
                sum.finish(&out).expect("no device fails");
                bits(&out)
            })
        };
        let devices: Vec<_> = (0..count).map(device).collect();
        devices.into_iter().map(|one| one.join().expect("no panic")).collect()
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
