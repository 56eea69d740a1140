//! The loss of documents, without gradients.

use std::ops::ControlFlow::{self, Continue};

use statetune_core::data::{Batch, Loader};
use tch::{Device, Kind, Tensor};

use super::chunks::losses;
use super::{BatchTensors, LossOptions, Objective, Rounds, StepModel, TrainError};
use crate::kernels::KernelError;
use crate::model::{Model, State, TimeState};

/// Whose loss is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a Model,
    /// What documents start from.
    pub state: &'a TimeState,
    /// What a loss is.
    pub objective: &'a dyn Objective,
}

/// Mean loss over the target tokens of every document of `loader`, in nats: the cross-entropy, or where the objective has
/// a teacher the distance from the teacher;
/// `None` without target tokens.
///
/// `rounds` share the batches, with the samples as units of work. `documents` gets the losses of the documents that it asks for.
///
/// # Errors
/// A document that cannot be read, errors of the model's recurrence, and a device that is gone.
pub fn mean_loss(
    subject: Subject<'_>,
    loader: &mut Loader,
    micro_bsz: u64,
    options: LossOptions,
    documents: &mut DocumentSums,
    rounds: &mut Rounds<'_>,
) -> Result<ControlFlow<(), Option<f64>>, TrainError> {
    let (mut sum, mut targets) = (0.0, 0);
    let asks = !documents.sums.is_empty();
    let compute = |batch: &Batch, _: &mut dyn FnMut() -> ControlFlow<()>| {
        let losses = losses_of_batch(subject, batch, options)?;
        let mut numbers = vec![losses.sum(Kind::Double).double_value(&[])];
        if asks {
            numbers.extend(Vec::<f64>::try_from(losses).expect("a vector of float64"));
        }
        Ok::<_, TrainError>(Continue(numbers))
    };
    let take = |batch: Batch, numbers: Vec<f64>| {
        sum += numbers[0];
        targets += batch.learned();
        documents.add(&batch, &numbers[1..]);
    };
    let done = rounds.each(all_batches(loader, micro_bsz), compute, take)?;
    Ok(done.map_continue(|()| (targets > 0).then(|| sum / targets as f64)))
}

/// The batches of all samples of `loader`, with the number of samples in each.
pub(super) fn all_batches(
    loader: &mut Loader,
    micro_bsz: u64,
) -> impl Iterator<Item = Result<(u64, Batch), TrainError>> {
    let all = loader.samples_per_pass();
    (0..all).step_by(micro_bsz as usize).map(move |first| {
        let samples = micro_bsz.min(all - first);
        Ok((samples, loader.batch(first, samples)?))
    })
}

/// The losses of the first documents of a pair.
#[derive(Debug)]
pub struct DocumentSums {
    /// For each document the summed loss of its target tokens in nats, and their number.
    sums: Vec<(f64, u64)>,
}

impl DocumentSums {
    /// Takes the losses of the first `documents` documents of the pair.
    pub fn of_first(documents: usize) -> DocumentSums {
        DocumentSums { sums: vec![(0.0, 0); documents] }
    }

    /// Adds the losses of the targets of a batch; none where no document is asked for.
    fn add(&mut self, batch: &Batch, losses: &[f64]) {
        if losses.is_empty() {
            return;
        }
        for (document, loss) in batch.target_documents().into_iter().zip(losses) {
            self.add_one(document, *loss, 1);
        }
    }

    /// Adds a summed loss of a document, and what it is summed over.
    pub(super) fn add_one(&mut self, document: Option<usize>, loss: f64, count: u64) {
        if let Some((sum, n)) = document.and_then(|document| self.sums.get_mut(document)) {
            *sum += loss;
            *n += count;
        }
    }

    /// The mean loss of each document in nats; `None` without target tokens.
    pub fn means(&self) -> Vec<Option<f64>> {
        let mean = |&(sum, count): &(f64, u64)| (count > 0).then(|| sum / count as f64);
        self.sums.iter().map(mean).collect()
    }
}

/// The summed loss over the target tokens of a batch in nats; records no gradients.
///
/// # Errors
/// Errors of the model's recurrence.
pub fn batch_loss(
    subject: Subject<'_>,
    batch: &Batch,
    options: LossOptions,
) -> Result<f64, TrainError> {
    Ok(losses_of_batch(subject, batch, options)?.sum(Kind::Double).double_value(&[]))
}

/// The losses of the target tokens of a batch, (n) float64 in nats; records no gradients.
fn losses_of_batch(
    subject: Subject<'_>,
    batch: &Batch,
    options: LossOptions,
) -> Result<Tensor, TrainError> {
    let _guard = tch::no_grad_guard();
    let Subject { model, state, objective } = subject;
    if batch.learned() == 0 {
        return Ok(Tensor::zeros([0], (Kind::Double, model.device())));
    }
    let batch = BatchTensors::new(batch, model.device());
    let start = model.start(state, batch.inputs.size()[0]);
    let teacher = objective.teacher();
    let lesson = teacher.map(|teacher| teacher.lesson(&batch, options.chunk_ctx)).transpose()?;
    Ok(losses(StepModel::without_dropout(model), &start, &batch, lesson.as_ref(), options)?)
}

/// For each row the sum of `log p(target)` over its targets, in nats; records no gradients.
///
/// # Errors
/// Errors of the model's recurrence.
pub(super) fn row_log_probs(
    model: StepModel<'_>,
    start: &State,
    batch: &BatchTensors,
    options: LossOptions,
) -> Result<Vec<f64>, KernelError> {
    let _guard = tch::no_grad_guard();
    let rows = batch.inputs.size()[0];
    let losses = losses(model, start, batch, None, options)?;
    let zeros = Tensor::zeros([rows], (Kind::Double, losses.device()));
    let sums = zeros.index_add(0, &batch.rows(), &losses.neg());
    Ok(Vec::try_from(sums.to_device(Device::Cpu)).expect("a vector of float64"))
}
