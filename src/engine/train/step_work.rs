//! How far a step is, for steps that take long: of many passes, or of many chunks.

use statetune_core::data::Batch;
use statetune_core::work::Work;

use super::batch::with_targets;
use super::part::{Direction, Observer};
use crate::kernels::KernelError;

/// Shares of a step, as many as are shown in percent.
const SHARES: u64 = 100_000;

/// What a long step is called.
pub const THIS_STEP: &str = "this step";

/// The forward pass of a position, and the backward pass with the forward pass that it repeats.
const FORWARD: u64 = 1;
const BACKWARD: u64 = 3;

/// The work of a step, as an observer of its passes that looks at no value.
#[derive(Debug)]
pub(super) struct StepWork {
    /// In shares of the step: positions would say nothing to a person.
    work: Work,
    total: u64,
    /// Of all passes before.
    before: u64,
    /// Of the pass, with what is computed now.
    within: u64,
}

impl StepWork {
    /// The work of a step on these micro-batches.
    pub(super) fn begin(batches: &[Batch]) -> StepWork {
        let total = with_targets(batches).map(|i| whole(&batches[i])).sum();
        StepWork::of(Work::begin_part(THIS_STEP, SHARES), total)
    }

    fn of(work: Work, total: u64) -> StepWork {
        StepWork { work, total, before: 0, within: 0 }
    }

    /// The pass of a micro-batch is done.
    pub(super) fn pass_done(&mut self, batch: &Batch) {
        self.before += whole(batch);
        self.within = 0;
        self.show();
    }

    fn show(&mut self) {
        self.work.set((self.before + self.within).min(self.total) * SHARES / self.total.max(1));
    }
}

/// The work of the whole pass of a micro-batch.
fn whole(batch: &Batch) -> u64 {
    (FORWARD + BACKWARD) * batch.inputs.len() as u64
}

impl Observer for StepWork {
    type Stop = KernelError;
    const IS_LOOKING: bool = false;

    fn see(
        &mut self,
        _: std::fmt::Arguments<'_>,
        _: Direction,
        _: impl FnOnce() -> tch::Tensor,
    ) -> Result<(), KernelError> {
        Ok(())
    }

    fn begin(&mut self, positions: u64, direction: Direction) {
        self.show();
        self.within += positions
            * match direction {
                Direction::Backward => BACKWARD,
                Direction::Before | Direction::Forward => FORWARD,
            };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use statetune_core::work::{self, Progress, observe};

    use super::*;

    #[derive(Default)]
    struct Noted(RefCell<Vec<Progress>>);

    impl work::Observer for Noted {
        fn progress(&self, progress: &Progress) {
            self.0.borrow_mut().push(*progress);
        }

        fn ended(&self) {}
    }

    /// What is counted is what is done, not what is begun, in percent.
    #[test]
    fn chunks_add_up_to_the_step() {
        let noted = Rc::new(Noted::default());
        let _observed = observe(noted.clone());
        let mut step = StepWork::of(Work::begin(THIS_STEP, SHARES), 4 * 10);
        let mut done = Vec::new();
        for (positions, direction) in
            [(4, Direction::Forward), (6, Direction::Backward), (4, Direction::Backward)]
        {
            step.begin(positions, direction);
            done.push(step.before + step.within);
        }
        assert_eq!(done, [4, 4 + 18, 4 + 18 + 12]);
        let told = noted.0.borrow()[0];
        assert_eq!((told.done, told.total), (0, SHARES));
        assert_eq!(Progress { done: SHARES / 4, ..told }.to_string(), "this step 25 %  ETA 0:00");
    }
}
