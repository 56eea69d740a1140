//! Rows of tokens -> tensors.

use tch::{Device, Kind, Tensor};

/// One micro-batch: inputs and what is to be predicted from them. A [`super::Loader`] makes it on the CPU.
#[derive(Debug)]
pub struct Batch {
    /// Token ids (B, T) int64, padded on the right with 0. T is the longest row's length.
    pub inputs: Tensor,
    /// (B, T) bool, true where a document begins within a row. Absent when each row has only one.
    pub restarts: Option<Tensor>,
    /// Places of the learned positions in `inputs` read row by row: (learned) int64.
    pub learned_at: Tensor,
    /// The tokens to predict there: (learned) int64.
    pub targets: Tensor,
    /// How many positions are learned.
    pub learned: u64,
    /// For each row the documents in it, by their numbers in the pair; empty where nobody knows them.
    pub documents: Vec<Vec<usize>>,
}

/// A row of a batch before it is padded.
#[derive(Debug, Default)]
pub(super) struct Row {
    inputs: Vec<i64>,
    /// Where documents begin behind the start of the row.
    restarts: Vec<usize>,
    /// Learned positions, and the tokens to predict there.
    targets: Vec<(usize, i64)>,
    /// The documents in it.
    pub(super) documents: Vec<usize>,
}

impl Row {
    /// A row that was taken down; `targets` are learned positions with the tokens to predict there.
    pub(super) fn from_numbers(
        inputs: Vec<i64>,
        restarts: Vec<usize>,
        targets: Vec<(usize, i64)>,
    ) -> Row {
        Row { inputs, restarts, targets, documents: Vec::new() }
    }

    /// Adds a stretch of a document: all tokens but the last are inputs, each predicts the token behind
    /// it, and `learned` says for every token whether its prediction is learned.
    pub(super) fn push(&mut self, ids: &[u32], learned: &[bool]) {
        let start = self.inputs.len();
        if start > 0 {
            self.restarts.push(start);
        }
        let inputs = &ids[..ids.len().saturating_sub(1)];
        self.inputs.extend(inputs.iter().copied().map(i64::from));
        let predicted = (start..).zip(ids.iter().zip(learned).skip(1));
        let targets = predicted.filter(|(_, (_, learned))| **learned);
        self.targets.extend(targets.map(|(at, (&id, _))| (at, i64::from(id))));
    }

    /// Whether anything in it is learned.
    pub(super) fn teaches(&self) -> bool {
        !self.targets.is_empty()
    }
}

impl Batch {
    /// The same batch on `device`. A GPU takes it from pinned memory, and the copy is not waited for: what
    /// computes there comes after it.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Batch {
        let to = |x: &Tensor| match device {
            Device::Cuda(_) => x.pin_memory(device).to_device_(device, x.kind(), true, false),
            _ => x.to_device(device),
        };
        Batch {
            inputs: to(&self.inputs),
            restarts: self.restarts.as_ref().map(to),
            learned_at: to(&self.learned_at),
            targets: to(&self.targets),
            learned: self.learned,
            documents: self.documents.clone(),
        }
    }

    /// The rows side by side.
    pub(super) fn new(rows: &[Row]) -> Batch {
        let t = rows.iter().map(|row| row.inputs.len()).max().unwrap_or(0).max(1);
        let mut inputs = vec![0; rows.len() * t];
        let mut restarts = vec![false; rows.len() * t];
        let (mut learned_at, mut targets) = (Vec::new(), Vec::new());
        for (row, start) in rows.iter().zip((0..).step_by(t)) {
            inputs[start..start + row.inputs.len()].copy_from_slice(&row.inputs);
            row.restarts.iter().for_each(|at| restarts[start + at] = true);
            learned_at.extend(row.targets.iter().map(|(at, _)| (start + at) as i64));
            targets.extend(row.targets.iter().map(|(_, id)| *id));
        }
        let size = [rows.len() as i64, t as i64];
        Batch {
            inputs: Tensor::from_slice(&inputs).view(size),
            restarts: restarts.contains(&true).then(|| Tensor::from_slice(&restarts).view(size)),
            learned: targets.len() as u64,
            learned_at: int64(&learned_at),
            targets: int64(&targets),
            documents: rows.iter().map(|row| row.documents.clone()).collect(),
        }
    }
}

fn int64(values: &[i64]) -> Tensor {
    if values.is_empty() {
        Tensor::zeros([0], (Kind::Int64, Device::Cpu))
    } else {
        Tensor::from_slice(values)
    }
}
