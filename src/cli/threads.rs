//! The threads of libtorch: how many, and what they do between two operations.
//!
//! The threads belong to GNU's OpenMP, which reads its settings from the environment when it is loaded, that is when
//! the program with libtorch starts.

use std::env;
use std::thread;

use rustix::thread::sched_getaffinity;

/// Rounds in which a thread looks for new work before it sleeps. Most operations of a training step follow each other
/// within that time. GNU's own number is 300 times as large: a thread then takes a whole core from the program that the
/// next operation waits for. Measured in `docs/benchmarks.md`.
const ROUNDS: &str = "1000";
/// The number of those rounds.
const SPIN: &str = "GOMP_SPINCOUNT";
/// `passive`, `active`.
const POLICY: &str = "OMP_WAIT_POLICY";
/// How many threads there are.
const THREADS: &str = "OMP_NUM_THREADS";

/// Variables for the program with libtorch. What the user has set stays.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    let is_set = |name: &str| env::var_os(name).is_some();
    let mut variables = Vec::new();
    if !is_set(SPIN) && !is_set(POLICY) {
        variables.push((SPIN, ROUNDS.to_owned()));
    }
    if !is_set(THREADS)
        && let Some(threads) = quota()
    {
        variables.push((THREADS, threads.to_string()));
    }
    variables
}

/// The cores that a quota of the control group leaves; `None` where the quota does not bind. Libtorch itself counts the
/// cores that the process may use, and knows no quota.
fn quota() -> Option<usize> {
    let allowed = thread::available_parallelism().ok()?.get();
    let cores = sched_getaffinity(None).ok()?.count() as usize;
    (allowed < cores).then_some(allowed)
}

/// In words: how long threads without work stay awake in this process.
pub(super) fn waiting() -> String {
    let value = |name| env::var(name).ok();
    match (value(SPIN), value(POLICY)) {
        (Some(rounds), _) if rounds == ROUNDS => {
            "threads without work sleep after some tens of microseconds".to_owned()
        }
        (Some(rounds), _) => format!("as {SPIN} says: {rounds}"),
        (None, Some(policy)) => format!("as {POLICY} says: {policy}"),
        (None, None) => "threads without work stay awake for milliseconds".to_owned(),
    }
}
