//! The event stream of a run, and the records of its steps.

use statetune_core::records::{
    Chain, CheckpointRecord, Event, RunDir, RunDirError, SinkName, Sinks, Totals,
};
use xxhash_rust::xxh3::Xxh3;

use super::job::Job;
use crate::RunError;
use crate::train::{StepDone, digest_values};

/// The event stream of a run. Its readers are `events.jsonl`, the metrics sinks and the caller of the run.
pub(super) struct Events<'a> {
    run: &'a RunDir,
    sinks: Sinks,
    watch: &'a mut dyn FnMut(&Event),
}

impl<'a> Events<'a> {
    pub(super) fn new(
        run: &'a RunDir,
        sinks: &[SinkName],
        watch: &'a mut dyn FnMut(&Event),
    ) -> Events<'a> {
        Events { run, sinks: Sinks::named(sinks), watch }
    }

    /// Passes an event to every reader.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn emit(&mut self, event: Event) -> Result<(), RunDirError> {
        if event.is_recorded() {
            self.run.event(&event)?;
        }
        self.sinks.add(self.run, &event)?;
        (self.watch)(&event);
        Ok(())
    }

    /// Flushes the metrics files to disk.
    ///
    /// # Errors
    /// A file that cannot be flushed.
    pub(super) fn sync(&self) -> Result<(), RunDirError> {
        self.sinks.sync(self.run)
    }
}

/// Records steps: the chain of digests, and metrics per interval.
pub(super) struct Recorder {
    pub(super) totals: Totals,
    pub(super) chain: Chain,
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder { totals: Totals::default(), chain: Chain::after(0) }
    }

    /// Continues from a checkpoint.
    pub(super) fn restore(&mut self, place: &CheckpointRecord) {
        *self = Recorder { totals: place.totals, chain: Chain::after(place.chain) };
    }

    /// Records a step.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn step(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        done: &StepDone<'_>,
    ) -> Result<(), RunError> {
        let values = |digest: &mut Xxh3| digest_values(digest, &done.trainer.adam);
        self.chain.add(job.run, done.batches, &done.record, values)?;
        let micro_steps = job.options.accumulate_grad_batches;
        events.emit(Event::Step { record: done.record, micro_steps })?;
        let every_steps = job.plan.records.log.every_steps.as_u64();
        let total_steps = job.options.total_steps();
        if let Some(metrics) = self.totals.add(&done.record, every_steps, total_steps) {
            events.emit(Event::Interval(metrics))?;
        }
        Ok(())
    }
}
