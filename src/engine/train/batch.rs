//! A batch as tensors on a device.

use statetune_core::data::Batch;
use tch::{Device, Kind, Tensor};

use crate::kernels::send;

/// The tensors of one micro-batch.
#[derive(Debug)]
pub struct BatchTensors {
    /// Token ids (B, T) int64 on the CPU, padded on the right with 0.
    pub inputs: Tensor,
    /// (B, T) bool, true where a document begins within a row. Absent when each row has only one.
    pub restarts: Option<Tensor>,
    /// Positions whose next token the loss is taken over: (targets) int64, indices into `inputs` read row by row.
    pub target_positions: Tensor,
    /// The tokens to predict there: (targets) int64.
    pub targets: Tensor,
}

impl BatchTensors {
    /// The batch for a model on `device`.
    pub fn new(batch: &Batch, device: Device) -> BatchTensors {
        let to = |x: Tensor| send(x, device);
        let size = [batch.rows as i64, batch.tokens as i64];
        let restarts = batch.restarts.as_deref();
        BatchTensors {
            inputs: Tensor::from_slice(&batch.inputs).view(size),
            restarts: restarts.map(|restarts| to(Tensor::from_slice(restarts).view(size))),
            target_positions: to(int64(&batch.learned_at)),
            targets: to(int64(&batch.targets)),
        }
    }
}

impl BatchTensors {
    /// The row of each target: (targets) int64.
    pub fn rows(&self) -> Tensor {
        self.target_positions.floor_divide_scalar(self.inputs.size()[1])
    }

    /// The weight of each target, where each row has one: (targets) float32.
    pub fn weights(&self, of_rows: &[f64]) -> Tensor {
        let of_rows = send(Tensor::from_slice(of_rows).to_kind(Kind::Float), self.targets.device());
        of_rows.index_select(0, &self.rows())
    }
}

/// The indexes of the micro-batches with target tokens; the others have no pass.
pub(super) fn with_targets(batches: &[Batch]) -> impl Iterator<Item = usize> {
    batches.iter().enumerate().filter(|(_, batch)| batch.learned() > 0).map(|(i, _)| i)
}

/// (n) int64, on the CPU.
pub(super) fn int64(values: &[i64]) -> Tensor {
    if values.is_empty() {
        Tensor::zeros([0], (Kind::Int64, Device::Cpu))
    } else {
        Tensor::from_slice(values)
    }
}
