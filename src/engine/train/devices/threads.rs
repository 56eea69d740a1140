//! Devices for tests: threads of this process.

use std::cell::Cell;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use tch::{Kind, Tensor};

use super::{Devices, DevicesError, Exchange};

/// Devices that are threads of this process.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) rank: usize,
    /// Whether this device was asked to stop.
    asked: Cell<bool>,
    board: Arc<Mutex<Vec<Vec<f64>>>>,
    barrier: Arc<Barrier>,
}

impl Threads {
    /// The numbers of all devices.
    fn share(&self, numbers: Vec<f64>) -> Vec<Vec<f64>> {
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
        let all = self.share(Vec::try_from(tensor.to_kind(Kind::Double)).expect("one axis"));
        let rows = Tensor::from_slice(&all.concat()).to_kind(tensor.kind());
        Ok(rows.view([all.len() as i64, -1]))
    }

    fn begin_exchange(&self, rows: &Tensor) -> Result<Box<dyn Exchange + '_>, DevicesError> {
        let len = rows.size()[1] as usize;
        let numbers = rows.view([-1]).to_kind(Kind::Double);
        let all = self.share(Vec::try_from(numbers).expect("one axis"));
        let of_mine = |row: &Vec<f64>| row[self.rank * len..(self.rank + 1) * len].to_vec();
        let mine: Vec<Vec<f64>> = all.iter().map(of_mine).collect();
        let mine = Tensor::from_slice(&mine.concat()).to_kind(rows.kind());
        Ok(Box::new(mine.view([-1, len as i64])))
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

    fn is_asked_to_stop(&self) -> bool {
        self.asked.get()
    }

    fn ask_to_stop(&self) {
        self.asked.set(true);
    }
}

/// What each of `count` devices makes.
pub(super) fn on_devices<T: Send + 'static>(
    count: usize,
    work: impl Fn(&Threads) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let board = Arc::new(Mutex::new(vec![Vec::new(); count]));
    let barrier = Arc::new(Barrier::new(count));
    let device = |rank| {
        let devices = Threads {
            rank,
            asked: Cell::new(false),
            board: board.clone(),
            barrier: barrier.clone(),
        };
        let work = work.clone();
        thread::spawn(move || work(&devices))
    };
    let devices: Vec<_> = (0..count).map(device).collect();
    devices.into_iter().map(|one| one.join().expect("no panic")).collect()
}
