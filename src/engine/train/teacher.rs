//! A teacher: what a student is to become, computed without gradients on the rows of the student.

use std::rc::Rc;

use tch::Tensor;

use super::cut::{Chunk, Cut, Rows};
use super::{BatchTensors, Divergence, Lesson};
use crate::kernels::KernelError;
use crate::model::{Hidden, Model, State};

/// A model that teaches another one.
#[derive(Debug)]
pub struct Teacher {
    /// The model; often that of the student.
    pub model: Rc<Model>,
    /// What every document starts from: the state of one row, perhaps after a text.
    pub start: State,
    /// How the student is compared.
    pub divergence: Divergence,
}

impl Teacher {
    /// What the teacher makes of the target positions of `batch`. Every document of a row starts from the state of the
    /// teacher, and at most `chunk_ctx` tokens of a row are computed at a time, if given.
    ///
    /// # Errors
    /// Errors of the model's recurrence.
    pub fn lesson(
        &self,
        batch: &BatchTensors,
        chunk_ctx: Option<i64>,
    ) -> Result<Lesson, KernelError> {
        let _guard = tch::no_grad_guard();
        let Teacher { model, start, divergence } = self;
        let device = model.device();
        let mut found: Vec<(Hidden, Tensor)> = Vec::new();
        for Rows { count, chunks, .. } in &Cut::by_document(chunk_ctx, batch).rows {
            let start = start.repeated(*count);
            let mut carried = None;
            for Chunk { starts, batch, targets, .. } in chunks {
                let before = carried.as_ref().filter(|_| !starts).unwrap_or(&start);
                let (hidden, after) = model.forward(&batch.inputs, before, None)?;
                if targets.numel() > 0 {
                    found.push((hidden.at(&batch.target_positions), targets.shallow_clone()));
                }
                // Copies, because what is carried may be a small part of a large tensor.
                carried = Some(after.map(Tensor::copy));
            }
        }
        let hidden = match found.len() {
            1 => found.remove(0).0,
            _ => {
                let kind = (model.kind(), device);
                let x = Tensor::zeros([batch.targets.numel() as i64, model.shape().n_embd], kind);
                for (hidden, targets) in found {
                    let _ = x.shallow_clone().index_copy_(0, &targets, &hidden.x);
                }
                Hidden { x, copies: None }
            }
        };
        Ok(Lesson { model: Rc::clone(model), hidden, divergence: *divergence })
    }
}
