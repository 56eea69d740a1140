//! Reads the frozen weights of blocks from their file as the blocks are computed: memory holds those of the block that is
//! computed and of the next one.
//!
//! The next block is the one above in a forward pass, and the one below in a backward pass, which takes the last block first. The
//! tensors stay what they are, views of a mapped file; only the system is told which pages come next and which do not. So
//! the numbers are those of a model in memory.

use std::cell::Cell;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use statetune_core::tensorfile::MappedFile;

/// Bytes of a mapped file.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) file: &'static MappedFile,
    pub(super) bytes: Range<usize>,
}

/// The weights of the blocks of a model in their file.
#[derive(Debug)]
pub struct Stream {
    /// Of each block.
    blocks: Vec<Vec<Stretch>>,
    /// The block that is computed.
    here: Cell<Option<usize>>,
    /// To the thread that reads ahead.
    ahead: Sender<Vec<Stretch>>,
}

/// Bytes between two stretches of one block that are not worth two requests.
const GAP: usize = 1 << 16;

impl Stream {
    /// The stream of blocks whose weights are these stretches.
    pub(super) fn new(mut blocks: Vec<Vec<Stretch>>) -> Stream {
        blocks.iter_mut().for_each(merge);
        let (ahead, asked) = channel::<Vec<Stretch>>();
        // The system waits for the disk while it reads ahead; the thread ends with the sender.
        thread::spawn(move || {
            for Stretch { file, bytes } in asked.into_iter().flatten() {
                file.read_ahead(bytes);
            }
        });
        Stream { blocks, here: Cell::new(None), ahead }
    }

    /// Block `here` is computed now. Reads the next block ahead, and forgets all others.
    pub(super) fn enter(&self, here: usize) {
        let before = self.here.replace(Some(here));
        if before == Some(here) {
            return;
        }
        let next = next_block(before, here, self.blocks.len() - 1);
        for (i, block) in self.blocks.iter().enumerate() {
            if i != here && i != next {
                block.iter().for_each(|stretch| stretch.file.forget(stretch.bytes.clone()));
            }
        }
        if let Some(block) = self.blocks.get(next) {
            // Without the thread the pages are loaded when they are read.
            let _ = self.ahead.send(block.clone());
        }
    }
}

/// The block after `here`, of those from 0 to `last`, where `before` came before it. May be beyond the last one.
pub(super) fn next_block(before: Option<usize>, here: usize, last: usize) -> usize {
    match before {
        Some(above) if above == here + 1 => here.checked_sub(1).unwrap_or(1),
        _ if here < last => here + 1,
        _ => last.saturating_sub(1),
    }
}

/// Joins neighbours.
fn merge(block: &mut Vec<Stretch>) {
    block.sort_by_key(|stretch| (std::ptr::from_ref(stretch.file).addr(), stretch.bytes.start));
    block.dedup_by(|next, one| {
        let is_near = std::ptr::eq(next.file, one.file) && next.bytes.start <= one.bytes.end + GAP;
        if is_near {
            one.bytes.end = one.bytes.end.max(next.bytes.end);
        }
        is_near
    });
}
