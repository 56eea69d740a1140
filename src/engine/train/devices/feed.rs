//! The gradients of a pass on their way to the other devices, while the backward pass computes.
//!
//! Buckets are exchanged in one order on all devices, the last one first, because gradients of the last layers are complete first. A
//! bucket is under way as soon as all of its gradients are complete, and all buckets after it are under way.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;

use statetune_core::diagnostic::Text;
use tch::Tensor;

use super::native::watch_gradient;
use super::passes::{Round, rows_of, zero_rows};
use super::{DevicesError, PassSum};
use crate::kernels::KernelError;
use crate::optim::{Adam, Bucket};

/// What is told of gradients that are complete.
type Listener = dyn FnMut(usize);

thread_local! {
    /// The feed of the pass on this thread.
    static LISTENER: Cell<Option<NonNull<Listener>>> = const { Cell::new(None) };
    /// What the feed panicked with: memory that runs out. No panic may pass through libtorch.
    static PANIC: Cell<Option<Box<dyn Any + Send>>> = const { Cell::new(None) };
}

/// Lets the parameters of `adam` tell a [`Feed`] of their gradients.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn watch_gradients(adam: &Adam) -> Result<(), KernelError> {
    extern "C" fn done(number: i64) {
        let Some(mut listener) = LISTENER.get() else { return };
        // SAFETY: `Feed::of_pass` sets the pointer for the time of a pass, in which nothing else uses the feed.
        let told = catch_unwind(AssertUnwindSafe(|| unsafe { listener.as_mut()(number as usize) }));
        if let Err(panic) = told {
            LISTENER.set(None);
            PANIC.set(Some(panic));
        }
    }
    let mut parameters = adam.parameters().iter().enumerate();
    parameters.try_for_each(|(i, parameter)| watch_gradient(&parameter.tensor, i, done))
}

/// The gradients of a pass on this device, bucket by bucket.
pub struct Feed<'s, 'a> {
    round: Round<'s, 'a>,
    adam: &'s Adam,
    count: usize,
    buckets: Vec<Bucket>,
    /// Parameters of each bucket whose gradients are not complete.
    missing: Vec<usize>,
    is_complete: Vec<bool>,
    /// Gradients of each bucket, where the optimizer has no room for all: (count width), absent before the first and after the exchange.
    rows: Vec<Option<Tensor>>,
    failure: Option<DevicesError>,
}

impl<'s, 'a> Feed<'s, 'a> {
    /// A feed of the gradients of `adam` into a round of `passes` passes, one of each of the first of `count` devices.
    pub fn new(
        sum: &'s mut PassSum<'a>,
        adam: &'s Adam,
        passes: usize,
        count: usize,
    ) -> Feed<'s, 'a> {
        let buckets: Vec<Bucket> = sum.slices().buckets().collect();
        let mut missing = vec![0; buckets.len()];
        let parameters = 0..adam.parameters().len();
        for i in parameters.clone() {
            for (k, _) in overlaps(&buckets, adam.range(i)) {
                missing[k] += 1;
            }
        }
        let rows = buckets.iter().map(|_| None).collect();
        let is_complete = parameters.map(|_| false).collect();
        let round = sum.begin_round(passes);
        Feed { round, adam, count, buckets, missing, is_complete, rows, failure: None }
    }

    /// Computes a pass. With `streams`, each gradient is complete when a backward pass has accumulated it, and is sent; otherwise
    /// all are complete at the end.
    ///
    /// # Errors
    /// Those of `pass`, and a device that is gone or failed.
    pub fn of_pass<T, E: From<DevicesError>>(
        mut self,
        streams: bool,
        pass: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let result = match streams {
            true => {
                let mut tell = |i: usize| self.complete(i, true);
                let listener: NonNull<dyn FnMut(usize) + '_> = NonNull::from(&mut tell);
                // SAFETY: `Told` removes the pointer before `tell` ends, even after a panic.
                let listener = unsafe {
                    std::mem::transmute::<NonNull<dyn FnMut(usize) + '_>, NonNull<Listener>>(
                        listener,
                    )
                };
                LISTENER.set(Some(listener));
                let told = Told;
                let result = pass();
                drop(told);
                if let Some(panic) = PANIC.take() {
                    resume_unwind(panic);
                }
                result?
            }
            false => pass()?,
        };
        self.finish()?;
        Ok(result)
    }

    /// Takes what is complete by now, zeros for gradients that there are not, and waits until all is exchanged.
    ///
    /// # Errors
    /// A device that is gone or failed.
    pub fn finish(mut self) -> Result<(), DevicesError> {
        for i in (0..self.is_complete.len()).rev() {
            if !self.is_complete[i] {
                self.complete(i, false);
            }
        }
        self.begin_complete(); // of no parameters at all
        match self.failure {
            Some(failure) => Err(failure),
            None => self.round.finish(),
        }
    }

    /// The gradient of the parameter `i` is complete.
    fn complete(&mut self, i: usize, is_told: bool) {
        if self.is_complete[i] {
            if is_told {
                let name = &self.adam.parameters()[i].name;
                let text = Text::verbatim(format!("the gradient of {name} came twice"));
                self.failure.get_or_insert(DevicesError::Native(text));
            }
            return;
        }
        self.is_complete[i] = true;
        let (first, len) = self.adam.range(i);
        let gradient = self.adam.take_gradient(i);
        for (k, (start, end)) in overlaps(&self.buckets, (first, len)) {
            self.missing[k] -= 1;
            if let Some(gradient) = &gradient {
                let _guard = tch::no_grad_guard();
                let bucket = self.buckets[k];
                let rows = self.rows[k].get_or_insert_with(|| zero_rows(bucket, self.count));
                let mut place = rows.narrow(0, start - bucket.first, end - start);
                // Added to zeros, as a backward pass adds to zeros elsewhere: a negative zero becomes a positive one.
                let _ = place.g_add_(&gradient.narrow(0, start - first, end - start));
            }
        }
        self.begin_complete();
    }

    /// Begins the exchange of all buckets whose turn it is.
    fn begin_complete(&mut self) {
        while self.failure.is_none()
            && let Some(bucket) = self.round.next()
        {
            let k = self.buckets.partition_point(|one| one.first < bucket.first);
            if self.missing[k] > 0 {
                return;
            }
            let rows = match self.adam.all_gradients_if_held() {
                Some(all) => rows_of(&all, bucket, self.count),
                None => self.rows[k].take().unwrap_or_else(|| zero_rows(bucket, self.count)),
            };
            self.failure = self.round.begin(&rows).err();
        }
    }
}

/// Removes the listener of a pass.
struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        LISTENER.set(None);
    }
}

/// The buckets that have numbers of a range, each with the first of these and the one after the last.
fn overlaps(
    buckets: &[Bucket],
    (first, len): (i64, i64),
) -> impl Iterator<Item = (usize, (i64, i64))> {
    let from = buckets.partition_point(|one| one.first + one.len <= first);
    let all = buckets[from..].iter().enumerate();
    all.map_while(move |(k, bucket)| {
        let (start, end) = (bucket.first.max(first), (bucket.first + bucket.len).min(first + len));
        (start < end).then_some((from + k, (start, end)))
    })
    .collect::<Vec<_>>()
    .into_iter()
}
