//! Keeps the matrices of blocks in the memory of the host, and copies them to the device ahead of the blocks that need them: the
//! device holds those of two blocks.
//!
//! Blocks take two places in turn, so a matrix always lies at the same address, and a model does not notice. While a block is
//! computed, the matrices of the next one come into the other place, after all that was started there before. A trainer
//! differentiates each block on its own, before the next one but one takes its place; autograd would notice a matrix that has
//! changed since.

use std::cell::Cell;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::Matrix;
use super::stream::next_block;
use crate::kernels::{KernelError, WeightCopies, pinned};

/// A tensor begins in a place at a multiple of this many bytes.
const ALIGNMENT: i64 = 512;

/// The places of the matrices of blocks on a device.
#[derive(Debug)]
struct Places {
    /// Of each block: its tensors in their place, each with its numbers in the memory of the host.
    blocks: Vec<Vec<(Tensor, Tensor)>>,
    /// The block whose matrices are in each place, or on their way there.
    lie: [Cell<Option<usize>>; 2],
    /// The block that is computed.
    here: Cell<Option<usize>>,
    /// Absent on the CPU, where a copy is over when the next thing starts.
    copies: Option<WeightCopies>,
}

/// The place of a block.
fn place_of(block: usize) -> usize {
    block % 2
}

impl Places {
    /// Block `here` is computed now: waits for its matrices, and begins to copy those of the next block.
    fn enter(&self, here: usize) -> Result<(), KernelError> {
        let before = self.here.replace(Some(here));
        if before == Some(here) {
            return Ok(());
        }
        self.copy(here)?;
        if let Some(copies) = &self.copies {
            copies.wait_for(place_of(here))?;
        }
        let next = next_block(before, here, self.blocks.len() - 1);
        if next != here && next < self.blocks.len() {
            self.copy(next)?;
        }
        Ok(())
    }

    /// Begins to copy the matrices of a block into its place, unless they are there.
    fn copy(&self, block: usize) -> Result<(), KernelError> {
        let place = place_of(block);
        if self.lie[place].replace(Some(block)) == Some(block) {
            return Ok(());
        }
        match &self.copies {
            Some(copies) => copies.begin(place, &self.blocks[block]),
            None => {
                let _guard = tch::no_grad_guard();
                for (to, from) in &self.blocks[block] {
                    to.shallow_clone().copy_(from);
                }
                Ok(())
            }
        }
    }
}

/// A matrix that comes to its place on the device before its block is computed.
#[derive(Debug)]
struct Copied {
    places: Rc<Places>,
    block: usize,
    /// In its place on the device.
    here: Rc<dyn Matrix>,
    /// In the memory of the host.
    host: Rc<dyn Matrix>,
}

impl Matrix for Copied {
    fn linear(&self, x: &Tensor) -> Tensor {
        // A GPU that fails is known by the words of the panic.
        self.places.enter(self.block).unwrap_or_else(|error| panic!("{error}"));
        self.here.linear(x)
    }

    fn dense(&self, kind: Kind) -> Tensor {
        let device = self.here.tensors()[0].device();
        self.host.dense(kind).to_device(device)
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.host.tensors()
    }

    fn of_tensors(&self, tensors: Vec<Tensor>) -> Rc<dyn Matrix> {
        self.host.of_tensors(tensors)
    }
}

/// A matrix in its place on the device, and in the memory of the host.
type InPlace = (Rc<dyn Matrix>, Rc<dyn Matrix>);

/// The matrices of the blocks of a model, on the CPU, as matrices that are copied to `device` ahead of their block.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub(super) fn copied_ahead(
    blocks: &[Vec<Rc<dyn Matrix>>],
    device: Device,
) -> Result<Vec<Vec<Rc<dyn Matrix>>>, KernelError> {
    let _guard = tch::no_grad_guard();
    let on_host = |matrix: &Rc<dyn Matrix>| {
        let host = |x: Tensor| if device == Device::Cpu { x } else { pinned(x) };
        matrix.of_tensors(matrix.tensors().into_iter().map(host).collect())
    };
    let bytes = |x: &Tensor| (x.numel() * x.kind().elt_size_in_bytes()) as i64;
    let room = |x: &Tensor| (bytes(x) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    let size = |block: &Vec<Rc<dyn Matrix>>| -> i64 {
        block.iter().flat_map(|matrix| matrix.tensors()).map(|x| room(&x)).sum()
    };
    let largest = |place| {
        let own = blocks.iter().enumerate().filter(|(i, _)| place_of(*i) == place);
        own.map(|(_, block)| size(block)).max().unwrap_or(0)
    };
    let memory = [0, 1].map(|place| Tensor::empty([largest(place)], (Kind::Uint8, device)));
    let copies = WeightCopies::to(device)?;
    if let Some(copies) = &copies {
        memory.iter().try_for_each(|place| copies.into_memory_of(place))?;
    }
    let mut pairs = Vec::new();
    let mut matrices = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let (mut at, mut of_block, mut in_places) = (0, Vec::new(), Vec::new());
        for matrix in block {
            let host = on_host(matrix);
            let tensors = host.tensors().into_iter().map(|from| {
                let place = memory[place_of(i)].narrow(0, at, bytes(&from));
                let to = place.view_dtype(from.kind()).view(&from.size()[..]);
                at += room(&from);
                of_block.push((to.shallow_clone(), from));
                to
            });
            let here = host.of_tensors(tensors.collect());
            in_places.push((here, host));
        }
        pairs.push(of_block);
        matrices.push(in_places);
    }
    let (lie, here) = ([Cell::new(None), Cell::new(None)], Cell::new(None));
    let places = Rc::new(Places { blocks: pairs, lie, here, copies });
    let copied = |(block, matrices): (usize, Vec<InPlace>)| {
        let one = |(here, host)| -> Rc<dyn Matrix> {
            Rc::new(Copied { places: places.clone(), block, here, host })
        };
        matrices.into_iter().map(one).collect()
    };
    Ok(matrices.into_iter().enumerate().map(copied).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Linear;
    use super::*;

    /// Blocks of one matrix each, in the order of a forward and a backward pass, twice: each product has the numbers of its block, and
    /// a block is copied while another is computed.
    #[test]
    fn every_block_finds_its_own_numbers() {
        for count in 1..6 {
            let matrix = |i: usize| {
                let numbers = Tensor::full([2, 3], i as f64 + 1.0, (Kind::Float, Device::Cpu));
                vec![Linear::dense(numbers).into_matrix()]
            };
            let blocks: Vec<_> = (0..count).map(matrix).collect();
            let copied = copied_ahead(&blocks, Device::Cpu).expect("places");
            let x = Tensor::ones([1, 3], (Kind::Float, Device::Cpu));
            for i in (0..count).chain((0..count).rev()).chain(0..count).chain((0..count).rev()) {
                let expected = 3.0 * (i as f64 + 1.0);
                assert_eq!(copied[i][0].linear(&x).double_value(&[0, 1]), expected, "{count}, {i}");
                // All numbers stay at hand.
                assert_eq!(copied[0][0].dense(Kind::Float).double_value(&[0, 0]), 1.0);
            }
        }
    }
}
