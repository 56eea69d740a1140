//! The suites of a run, and their scores at each evaluation.

use statetune_core::data::Tokenizer;
use statetune_core::forecast::{SuiteFacts, SuitesFacts};
use statetune_core::plan::Plan;
use statetune_core::suite::{ItemText, Suite, SuiteScores};

use super::job::{Evaluated, Job};
use super::share::{Measurement, Order, give};
use crate::RunError;
use crate::inference::TokenizedSuite;
use crate::train::{FitOptions, Rounds};

/// The suites of a plan, each up to `eval.limit` items.
///
/// # Errors
/// A suite that cannot be read.
pub(super) fn load_suites(
    plan: &Plan,
    tokenizer: &Tokenizer,
) -> Result<Vec<TokenizedSuite>, RunError> {
    let suite = |file| {
        let suite = Suite::read(file).map_err(RunError::Documents)?.limited(plan.eval.limit);
        TokenizedSuite::new(suite, &plan.data.template, tokenizer)
    };
    plan.eval.suites.iter().map(|file| suite(file)).collect()
}

/// The scores of the model of a run, with the items of each suite. All devices compute.
///
/// # Errors
/// A stop, a forward pass that fails, or a device that is gone.
pub(super) fn scores(
    job: &Job<'_>,
    suites: &[TokenizedSuite],
    tokenizer: &Tokenizer,
) -> Result<Vec<(SuiteScores, Vec<ItemText>)>, RunError> {
    if suites.is_empty() {
        return Ok(Vec::new());
    }
    give(job.devices, &Order::Measure(Measurement::Suites))?;
    let mut look = job.work("suites", suites.iter().map(TokenizedSuite::requests).sum());
    let rounds = &mut Rounds::new(job.devices, &mut look);
    let scores = scores_in_rounds(job.evaluated(), suites, tokenizer, rounds)?;
    let scores = scores.ok_or(RunError::Stopped)?;
    let items = suites.iter().map(|suite| suite.suite().item_texts());
    Ok(scores.into_iter().zip(items).collect())
}

/// The part of a device in [`scores`]: the scores of each suite, which all of them compute; `None` when a device breaks off.
///
/// # Errors
/// A forward pass that fails, or a device that is gone.
pub(super) fn scores_in_rounds(
    evaluated: Evaluated<'_>,
    suites: &[TokenizedSuite],
    tokenizer: &Tokenizer,
    rounds: &mut Rounds<'_>,
) -> Result<Option<Vec<SuiteScores>>, RunError> {
    let (model, state) = evaluated.model();
    suites.iter().map(|suite| suite.scores(&model, &state, tokenizer, rounds)).collect()
}

/// What the suites cost at each evaluation; `None` without suites.
pub(super) fn suites_facts(
    plan: &Plan,
    suites: &[TokenizedSuite],
    options: Option<&FitOptions>,
) -> Option<SuitesFacts> {
    let facts = |suite: &TokenizedSuite| {
        let cost = suite.cost();
        let name = suite.suite().name.clone();
        SuiteFacts { name, items: cost.items, read: cost.read, write: cost.write }
    };
    (!suites.is_empty()).then(|| SuitesFacts {
        suites: suites.iter().map(facts).collect(),
        evaluations: options.map(|options| evaluations(plan, options)),
    })
}

/// The evaluations of a whole run: before training, after every mini-epoch, and those of `eval.every_steps`.
fn evaluations(plan: &Plan, options: &FitOptions) -> u64 {
    let (steps, epoch_steps) = (options.total_steps(), options.epoch_steps);
    let every = plan.eval.every_steps.as_u64();
    let within = match every {
        0 => 0,
        every => {
            let due = (1..=steps / every).map(|n| n * every);
            due.filter(|step| !step.is_multiple_of(epoch_steps)).count() as u64
        }
    };
    1 + steps / epoch_steps + within
}
