//! The chunks of a micro-batch on several devices in turn: a long row is computed by all of them.
//!
//! Chunk n lies on device n modulo their number. Each block hands its states on to the same block of the next chunk as soon as it
//! has them, and gets their gradients back likewise. So the next device follows one block behind: of L blocks and N devices, a
//! row of N chunks takes L + N - 1 blocks of time in place of N L.
//!
//! The gradients of the parameters go from chunk to chunk in the order of the backward pass, and each chunk adds its own. Every
//! number is thus computed and added as on one device, so any number of devices gets the same bits.

use std::cell::Cell;
use std::fmt::Arguments;

use statetune_core::data::Batch;
use tch::{Device, Kind, Tensor};

use super::batch::with_targets;
use super::cut::{Chunk, Cut, Rows};
use super::devices::{Devices, DevicesError};
use super::objective::Weighed;
use super::part::{Direction, Observer, Part};
use super::step::Losses;
use super::step_work::StepWork;
use super::{Pass, TrainError, Trainer};
use crate::model::{LayerState, State};

/// Bytes before the numbers of a message: one for each tensor, and more so that the numbers lie where those of a tensor would.
const MARKS: i64 = 64;

impl Trainer<'_> {
    /// Forward and backward of all passes, each by all devices. The results are those of [`Trainer::all_passes`], to the bit, on
    /// every device.
    pub(super) fn chunks_in_turn(
        &self,
        batches: &[Batch],
        step: u64,
        weighed: &Weighed,
    ) -> Result<(Losses, Tensor), TrainError> {
        let devices = self.devices;
        self.adam.zero_gradients();
        let gradients = &self.adam.all_gradients();
        let mut work = StepWork::begin(batches);
        let mut sum: Option<Tensor> = None;
        let mut losses = Vec::new();
        for (turn, i) in with_targets(batches).enumerate() {
            let of_pass = self.pass(batches, i, step, weighed, |pass| {
                let gradients = Running { devices, gradients, lies_on: None, sum: None };
                let work = &mut work;
                let turns = Turns { pass: &pass, work, gradients, losses: Vec::new() };
                turns.compute(turn)
            })??;
            losses.push((i, of_pass.0));
            if let Some(of_pass) = of_pass.1 {
                sum = Some(match sum {
                    None => of_pass,
                    Some(mut sum) => sum.g_add_(&of_pass),
                });
            }
            work.pass_done(&batches[i]);
        }
        if let Some(sum) = sum {
            gradients.shallow_clone().copy_(&sum);
        }
        devices.broadcast(gradients)?;
        devices.gather_numbers(0.0)?; // whether one was asked to stop
        Ok((losses_of_all(devices, losses)?, gradients.shallow_clone()))
    }
}

/// The loss of each pass, from those of its chunks on each device.
fn losses_of_all(
    devices: &dyn Devices,
    passes: Vec<(usize, Vec<Vec<f64>>)>,
) -> Result<Losses, TrainError> {
    let mine: Vec<f64> = passes.iter().flat_map(|(_, rows)| rows.concat()).collect();
    let all = devices.gather(&Tensor::from_slice(&mine))?;
    // One device has the loss of a chunk, and all others zero.
    let all = Vec::<f64>::try_from(all.sum_dim_intlist(&[0i64][..], false, Kind::Double));
    let mut all = all.expect("a vector of float64").into_iter();
    let of_pass = |(i, rows): (usize, Vec<Vec<f64>>)| {
        let sums = rows.iter().map(|rows| all.by_ref().take(rows.len()).sum::<f64>());
        (i, Tensor::from(sums.sum::<f64>()))
    };
    Ok(passes.into_iter().map(of_pass).collect())
}

/// The gradients of the parameters, which go from device to device.
struct Running<'a> {
    devices: &'a dyn Devices,
    /// Where the backward pass leaves those of a chunk.
    gradients: &'a Tensor,
    /// The device that has the sum; absent before the first chunk.
    lies_on: Option<usize>,
    /// The sum, on that device.
    sum: Option<Tensor>,
}

impl Running<'_> {
    /// Takes the sum to the device `to`.
    fn go_to(&mut self, to: usize) -> Result<(), DevicesError> {
        if let Some(from) = self.lies_on.replace(to).filter(|&from| from != to) {
            if let Some(sum) = self.sum.take() {
                self.devices.give(to, &sum)?;
            } else if to == self.devices.rank() {
                let sum = self.gradients.zeros_like();
                self.devices.take(from, &sum)?;
                self.sum = Some(sum);
            }
        }
        Ok(())
    }

    /// Adds the gradients of a chunk of this device, and clears them.
    fn add(&mut self) {
        self.sum = Some(match self.sum.take() {
            None => self.gradients.copy(),
            Some(mut sum) => sum.g_add_(self.gradients),
        });
        let _ = self.gradients.shallow_clone().zero_();
    }
}

/// Forward and backward of a pass.
struct Turns<'a> {
    pass: &'a Pass<'a>,
    work: &'a mut StepWork,
    gradients: Running<'a>,
    /// The loss of each chunk of each group of rows, in the order of the backward pass; zero for those of other devices.
    losses: Vec<Vec<f64>>,
}

/// The losses of the chunks, and on device 0 the gradient of the pass.
type OfPass = (Vec<Vec<f64>>, Option<Tensor>);

impl Turns<'_> {
    fn compute(mut self, turn: usize) -> Result<OfPass, TrainError> {
        match Cut::of_pass(self.pass) {
            Some(cut) => {
                for rows in &cut.rows {
                    self.rows(rows)?;
                }
            }
            // Short rows are computed by one device.
            None => {
                let owner = turn % self.gradients.devices.count();
                let mut loss = 0.0;
                if owner == self.rank() {
                    loss = self.pass.backward_observed(self.work)?.double_value(&[]);
                    self.gradients.add();
                }
                self.gradients.lies_on = Some(owner);
                self.losses.push(vec![loss]);
            }
        }
        self.gradients.go_to(0)?;
        Ok((self.losses, self.gradients.sum))
    }

    /// Forward and backward of rows that are computed side by side.
    fn rows(&mut self, Rows { first, count, chunks }: &Rows) -> Result<(), TrainError> {
        let start = &self.pass.start.narrow(*first, *count);
        let mut carried: Vec<Option<Carried>> = chunks.iter().map(|_| None).collect();
        for (i, chunk) in chunks.iter().enumerate() {
            if self.owner(chunk) != self.rank() {
                continue;
            }
            carried[i] = self.before(chunks, i, start);
            let (before, after) = (carried[i].as_ref(), self.after(chunks, i));
            self.of_chunk(chunk, start, before, after, |part, line| {
                if after.is_some() {
                    chunk.enter(*first, Direction::Forward, line);
                    part.forward(line)?;
                } else if i + 1 < chunks.len() {
                    // States are taken in the order in which they are given. Those of the last chunk come while it is computed.
                    line.await_states(start.layers.len() - 1)?;
                }
                Ok(())
            })?;
        }
        let mut losses = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.iter().enumerate().rev() {
            let owner = self.owner(chunk);
            let is_mine = owner == self.rank();
            let mut loss = 0.0;
            if is_mine {
                let (before, after) = (carried[i].take(), self.after(chunks, i));
                loss = self.of_chunk(chunk, start, before.as_ref(), after, |part, line| {
                    chunk.enter(*first, Direction::Backward, line);
                    Ok(line.backward(&part)?.double_value(&[]))
                })?;
            }
            self.gradients.go_to(owner)?;
            if is_mine {
                self.gradients.add();
            }
            losses.push(loss);
        }
        self.losses.push(losses);
        Ok(())
    }

    fn rank(&self) -> usize {
        self.gradients.devices.rank()
    }

    /// The device of a chunk.
    fn owner(&self, chunk: &Chunk) -> usize {
        (chunk.number % self.gradients.devices.count() as u64) as usize
    }

    /// The states that are carried to a chunk, which have not come yet; absent where a document begins.
    fn before(&self, chunks: &[Chunk], i: usize, like: &State) -> Option<Carried> {
        let before = i.checked_sub(1).filter(|_| !chunks[i].starts)?;
        let from = self.owner(&chunks[before]);
        let state = like.map(|x| Tensor::empty(x.size(), (x.kind(), x.device())));
        Some(Carried { from, state, come: Cell::new(0) })
    }

    /// The device to which the states after a chunk go.
    fn after(&self, chunks: &[Chunk], i: usize) -> Option<usize> {
        chunks.get(i + 1).filter(|next| !next.starts).map(|next| self.owner(next))
    }

    /// Gives `work` the part of a chunk of this device, and its line.
    fn of_chunk<T>(
        &mut self,
        Chunk { number, batch, targets, .. }: &Chunk,
        start: &State,
        carried: Option<&Carried>,
        after: Option<usize>,
        work: impl FnOnce(Part<'_>, &mut Line<'_>) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let Pass { model, weights, options, scale, .. } = *self.pass;
        let weights = weights.map(|weights| weights.index_select(0, targets));
        let mut line = Line::new((self.gradients.devices, &mut *self.work), start, carried, after);
        model.of_chunk(*number, |model| {
            let before = carried.map_or(start, |carried| &carried.state);
            let (weights, lesson, d_after) = (weights.as_ref(), None, None);
            let part = Part { model, before, batch, weights, lesson, d_after, options, scale };
            work(part, &mut line)
        })
    }
}

/// The states that another device hands on to a chunk.
struct Carried {
    from: usize,
    /// Empty until they come.
    state: State,
    /// Blocks whose states have come.
    come: Cell<usize>,
}

/// The chunk that is computed, with those before and after it in its row.
struct Line<'a> {
    devices: &'a dyn Devices,
    work: &'a mut StepWork,
    /// What its rows start from.
    start: &'a State,
    /// What is carried to it; absent where a document begins.
    before: Option<&'a Carried>,
    /// The device of the chunk after it, to which it hands its states on or from which it gets their gradients back; absent where
    /// nothing is carried on.
    after: Option<usize>,
    /// The lowest block whose gradients were handed back to this chunk, and by it to the chunk before.
    awaited: usize,
    taken: usize,
}

impl<'a> Line<'a> {
    fn new(
        (devices, work): (&'a dyn Devices, &'a mut StepWork),
        start: &'a State,
        before: Option<&'a Carried>,
        after: Option<usize>,
    ) -> Line<'a> {
        let blocks = start.layers.len();
        Line { devices, work, start, before, after, awaited: blocks, taken: blocks }
    }

    /// [`Part::backward`] of the chunk, with what its neighbours hand on and back.
    fn backward(&mut self, part: &Part<'_>) -> Result<Tensor, TrainError> {
        let loss = if part.options.grad_cp {
            part.backward_by_blocks(self, true)?
        } else {
            let blocks = self.start.layers.len();
            self.await_states(blocks - 1)?;
            let mut layers = Vec::with_capacity(blocks);
            for i in (0..blocks).rev() {
                layers.extend(self.await_gradients(i)?);
            }
            layers.reverse();
            let d_after = State { layers, seen: None };
            let d_after = self.after.map(|_| &d_after);
            Part { d_after, ..*part }.backward()?
        };
        // The backward pass ends above the blocks in which nothing trains.
        for i in (0..self.awaited).rev() {
            self.await_gradients(i)?;
        }
        for i in (0..self.taken).rev() {
            self.take_gradients(i)?;
        }
        Ok(loss)
    }
}

impl Observer for Line<'_> {
    type Stop = TrainError;
    const IS_LOOKING: bool = false;

    fn see(
        &mut self,
        _: Arguments<'_>,
        _: Direction,
        _: impl FnOnce() -> Tensor,
    ) -> Result<(), TrainError> {
        Ok(())
    }

    fn begin(&mut self, positions: u64, direction: Direction) {
        // The other devices are about as far.
        self.work.begin(positions * self.devices.count() as u64, direction);
    }

    fn await_states(&mut self, i: usize) -> Result<(), TrainError> {
        let Some(Carried { from, state, come }) = self.before else { return Ok(()) };
        for block in come.get()..=i {
            let layer = &state.layers[block];
            let message = Message::take(self.devices, *from, layer)?;
            for (x, (is_learned, found)) in tensors(layer).into_iter().zip(message.parts(layer)) {
                x.shallow_clone().copy_(&found);
                let _ = x.set_requires_grad(is_learned);
            }
            come.set(block + 1);
        }
        Ok(())
    }

    fn take_states(&mut self, _: usize, after: &LayerState) -> Result<(), TrainError> {
        if let Some(to) = self.after {
            let part = |x: &Tensor| (x.requires_grad(), x.shallow_clone());
            Message::new(after, tensors(after).map(part)).give(self.devices, to)?;
        }
        Ok(())
    }

    fn await_gradients(&mut self, i: usize) -> Result<Option<LayerState>, TrainError> {
        let Some(from) = self.after else { return Ok(None) };
        let like = &self.start.layers[i];
        let message = Message::take(self.devices, from, like)?;
        let device = like.wkv.device();
        let [wkv, att_x, ffn_x] = message.parts(like).map(|(is_there, d)| match is_there {
            true => d.to_device(device),
            false => Tensor::new(),
        });
        self.awaited = i;
        Ok(Some(LayerState { att_x, wkv, ffn_x }))
    }

    fn take_gradients(&mut self, i: usize) -> Result<(), TrainError> {
        if let Some(Carried { from, state, .. }) = self.before {
            let layer = &state.layers[i];
            let part = |x: &Tensor| {
                let d = x.grad();
                (d.defined(), d)
            };
            Message::new(layer, tensors(layer).map(part)).give(self.devices, *from)?;
            self.taken = i;
        }
        Ok(())
    }
}

/// The tensors of a block; first the WKV state, whose numbers may be longer than those of the others.
fn tensors(LayerState { att_x, wkv, ffn_x }: &LayerState) -> [&Tensor; 3] {
    [wkv, att_x, ffn_x]
}

/// The states of a block or their gradients as bytes: for each tensor a mark, whether the state is learned or the gradient is
/// there; then the numbers of the tensors.
struct Message(Tensor);

impl Message {
    /// Packs tensors of the sizes and dtypes of `like`, with their marks. One that is not defined is left out.
    fn new(like: &LayerState, parts: [(bool, Tensor); 3]) -> Message {
        let _guard = tch::no_grad_guard();
        let message = Message::empty(like);
        for (i, ((is_marked, x), place)) in parts.into_iter().zip(message.places(like)).enumerate()
        {
            let _ = message.0.get(i as i64).fill_(i64::from(is_marked));
            if x.defined() {
                place.shallow_clone().copy_(&x.reshape([-1]));
            }
        }
        message
    }

    /// With zeros for the tensors of `like`.
    fn empty(like: &LayerState) -> Message {
        let bytes: i64 = tensors(like).into_iter().map(byte_count).sum();
        Message(Tensor::zeros([MARKS + bytes], (Kind::Uint8, Device::Cpu)))
    }

    /// The places of the numbers of each tensor, which share the memory of the message.
    fn places(&self, like: &LayerState) -> [Tensor; 3] {
        let mut at = MARKS;
        tensors(like).map(|x| {
            let bytes = self.0.narrow(0, at, byte_count(x));
            at += byte_count(x);
            bytes.view_dtype(x.kind())
        })
    }

    /// The marks and the tensors, in the sizes of `like`.
    fn parts(&self, like: &LayerState) -> [(bool, Tensor); 3] {
        let sizes = tensors(like).map(Tensor::size);
        let mut i = 0;
        self.places(like).map(|place| {
            i += 1;
            (self.0.int64_value(&[i as i64 - 1]) != 0, place.view(&sizes[i - 1][..]))
        })
    }

    fn give(&self, devices: &dyn Devices, to: usize) -> Result<(), DevicesError> {
        devices.give(to, &self.0)
    }

    /// Waits for a message of `from`.
    fn take(
        devices: &dyn Devices,
        from: usize,
        like: &LayerState,
    ) -> Result<Message, DevicesError> {
        let message = Message::empty(like);
        devices.take(from, &message.0)?;
        Ok(message)
    }
}

fn byte_count(x: &Tensor) -> i64 {
    (x.numel() * x.kind().elt_size_in_bytes()) as i64
}
