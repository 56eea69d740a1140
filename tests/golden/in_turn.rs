//! The chunks of long rows on several devices in turn: the bits of one device.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use statetune_core::data::Batch;
use statetune_core::plan::Sharing;
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::peft::{
    AdapterSpec, AnyMethod, Compute, Lora, Method, Parts, StateTuning, TuningSpec, WeightTuning,
};
use statetune_engine::train::{Devices, DevicesError, Exchange, Single, StepOptions};
use tch::{Kind, Tensor};

use super::chunk_ctx::{ALL_KEPT, batches, in_chunks, shape};
use super::numerics::{both_parts, trainer_on, weights_of};

/// What one device gave to another, in order, by both.
type OnTheirWay = HashMap<(usize, usize), VecDeque<Tensor>>;

/// Devices that are threads of this process.
#[derive(Clone, Debug)]
pub struct Threads {
    rank: usize,
    board: Arc<Mutex<Vec<Option<Tensor>>>>,
    barrier: Arc<Barrier>,
    given: Arc<Mutex<OnTheirWay>>,
    come: Arc<Condvar>,
}

impl Threads {
    fn new(count: usize) -> Threads {
        Threads {
            rank: 0,
            board: Arc::new(Mutex::new((0..count).map(|_| None).collect())),
            barrier: Arc::new(Barrier::new(count)),
            given: Arc::default(),
            come: Arc::default(),
        }
    }
}

/// What each device makes of its work; device r does the r-th.
pub fn on_threads<T: Send + 'static>(
    works: Vec<impl FnOnce(&Threads) -> T + Send + 'static>,
) -> Vec<T> {
    let devices = Threads::new(works.len());
    let mut threads = Vec::new();
    for (rank, work) in works.into_iter().enumerate() {
        let devices = Threads { rank, ..devices.clone() };
        threads.push(thread::spawn(move || work(&devices)));
    }
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

impl Devices for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.board.lock().expect("no panic").len()
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor, DevicesError> {
        self.board.lock().expect("no panic")[self.rank] = Some(tensor.copy());
        self.barrier.wait();
        let board = self.board.lock().expect("no panic");
        let all: Vec<&Tensor> = board.iter().flatten().collect();
        let all = Tensor::stack(&all, 0);
        drop(board);
        self.barrier.wait();
        Ok(all)
    }

    fn begin_exchange(&self, _: &Tensor) -> Result<Box<dyn Exchange + '_>, DevicesError> {
        unreachable!("gradients go from device to device")
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), DevicesError> {
        let all = self.gather(&tensor.detach())?;
        tensor.shallow_clone().copy_(&all.get(0));
        Ok(())
    }

    fn give(&self, to: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        assert_ne!(to, self.rank);
        let mut given = self.given.lock().expect("no panic");
        given.entry((self.rank, to)).or_default().push_back(tensor.copy());
        self.come.notify_all();
        Ok(())
    }

    fn take(&self, from: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        let mut given = self.given.lock().expect("no panic");
        loop {
            let next = given.get_mut(&(from, self.rank)).and_then(VecDeque::pop_front);
            if let Some(next) = next {
                assert_eq!((next.size(), next.kind()), (tensor.size(), tensor.kind()));
                tensor.shallow_clone().copy_(&next);
                return Ok(());
            }
            given = self.come.wait(given).expect("no panic");
        }
    }
}

/// What trains.
#[derive(Clone, Copy, Debug)]
enum Trains {
    States,
    BothStates,
    Lora,
    Full,
}

impl Trains {
    /// The method, from values that are the same in every thread.
    fn method(self, weights: &Weights, kind: Kind) -> Box<dyn Method> {
        let compute = Compute { kind, op: Op::Cpu, seed: 1, quant: None };
        let tuning = |adapter, parts| {
            let state_lr_scale = matches!(self, Trains::Lora).then_some(1.0);
            let recipe = TuningSpec { adapter, parts, state_lr_scale };
            Box::new(WeightTuning::start(&recipe, weights.share(), compute).expect("finite"))
        };
        let method: Box<dyn Method> = match self {
            Trains::States => Box::new(StateTuning::new(Model::new(weights, kind, Op::Cpu))),
            Trains::BothStates => {
                Box::new(StateTuning::start(Model::new(weights, kind, Op::Cpu), both_parts()))
            }
            Trains::Lora => {
                // Without dropout, which draws from the generator that all threads share.
                let lora = Lora { rank: 8, alpha: 16.0, ..Lora::default() };
                let adapter = AdapterSpec { method: AnyMethod::Lora(lora), targets: None };
                tuning(Some(adapter), Parts::Groups(Vec::new()))
            }
            Trains::Full => tuning(None, Parts::All),
        };
        tch::no_grad(|| {
            for parameter in method.parameters() {
                let numbers = parameter.tensor.numel() as i64;
                let wave =
                    (Tensor::arange(numbers, (Kind::Float, parameter.tensor.device())) * 0.7).sin()
                        * 0.1;
                let _ = parameter.tensor.shallow_clone().g_add_(&wave.view_as(&parameter.tensor));
            }
        });
        method
    }
}

/// A step, and what it is about.
#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    kind: Kind,
    trains: Trains,
    options: StepOptions,
    batches: Vec<Batch>,
}

impl Case {
    /// Loss and gradients of the step on some device.
    fn step(&self, weights: &[(String, Tensor)], devices: &dyn Devices) -> (f64, Vec<Tensor>) {
        let known: HashMap<&str, &Tensor> =
            weights.iter().map(|(name, x)| (name.as_str(), x)).collect();
        let weights = Weights::from_fn(self.shape, |name, _| known[name].copy());
        let method = self.trains.method(&weights, self.kind);
        let on = (devices, Sharing::Context);
        let mut trainer = trainer_on(method.as_ref(), self.kind, self.options, on);
        let outcome = trainer.step(&self.batches, 3, 0.0).expect("no device fails");
        assert!(!outcome.skipped);
        (outcome.loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
    }

    fn has_the_bits_of_one_device(&self, counts: &[usize]) {
        let made = weights_of(self.shape);
        let copies = || -> Vec<(String, Tensor)> {
            made.iter().map(|(name, x)| (name.to_string(), x.copy())).collect()
        };
        let one = self.step(&copies(), &Single);
        assert!(one.1.iter().any(|d| d.any().int64_value(&[]) != 0));
        for &count in counts {
            let works = (0..count).map(|_| {
                let (case, weights) = (self.clone(), copies());
                move |devices: &Threads| case.step(&weights, devices)
            });
            for (loss, gradients) in on_threads(works.collect()) {
                let what = (self.shape.version(), self.kind, self.trains, self.options.grad_cp);
                assert_eq!(loss.to_bits(), one.0.to_bits(), "{what:?} on {count} devices");
                let same = gradients.iter().zip(&one.1).all(|(x, y)| x.equal(y));
                assert!(same, "{what:?} on {count} devices");
            }
        }
    }
}

/// Padded, masked and packed batches as the passes of a step, and a short one that is no longer than a chunk.
fn passes() -> Vec<Batch> {
    let short = super::numerics::batch(57, 61, &[11, 7]);
    batches().into_iter().map(|(_, batch)| batch).chain([short]).collect()
}

/// Steps of all versions, with both ways of the backward pass.
fn any_number_of_devices_gets_the_bits_of_one(trains: Trains) {
    for (i, version) in Version::ALL.into_iter().enumerate() {
        let kind = if i % 2 == 0 { Kind::Float } else { Kind::BFloat16 };
        for (grad_cp, count) in [(true, 3), (false, 2)] {
            let options = StepOptions { grad_cp, ..in_chunks(16, ALL_KEPT) };
            let shape = shape(version);
            let case = Case { shape, kind, trains, options, batches: passes() };
            case.has_the_bits_of_one_device(&[count]);
        }
    }
}

#[test]
fn states_have_the_bits_of_one_device() {
    any_number_of_devices_gets_the_bits_of_one(Trains::States);
    any_number_of_devices_gets_the_bits_of_one(Trains::BothStates);
}

#[test]
fn adapters_have_the_bits_of_one_device() {
    any_number_of_devices_gets_the_bits_of_one(Trains::Lora);
}

#[test]
fn weights_have_the_bits_of_one_device() {
    any_number_of_devices_gets_the_bits_of_one(Trains::Full);
}

/// More devices than chunks, and steps of one pass.
#[test]
fn devices_may_have_nothing_to_do() {
    for batch in passes() {
        let options = StepOptions { grad_cp: true, ..in_chunks(32, ALL_KEPT) };
        let (shape, kind, trains) = (shape(Version::V7), Kind::Float, Trains::Lora);
        let case = Case { shape, kind, trains, options, batches: vec![batch] };
        case.has_the_bits_of_one_device(&[5]);
    }
}
