//! The members of a sweep.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::config::{Sweep, SweepMode};
use crate::diagnostic::{Text, msg};

/// Members that a sweep has at most: more are a slip of the keyboard.
pub const MOST_MEMBERS: usize = 10_000;

/// What one member sets: a dotted key and a value for each axis, in the order of the keys.
pub type Member = Vec<(String, Value)>;

/// The members of a sweep, the last axis changing fastest.
///
/// # Errors
/// What does not fit together, in words.
pub fn members(sweep: &Sweep) -> Result<Vec<Member>, Text> {
    if sweep.axes.is_empty() {
        return Err(msg!(SWEEP_WITHOUT_AXES));
    }
    for (key, values) in &sweep.axes {
        if values.is_empty() {
            return Err(msg!(AXIS_WITHOUT_VALUES, key));
        }
        if values.iter().any(Value::is_object) {
            return Err(msg!(AXIS_WITH_TABLE, key));
        }
    }
    let lengths: Vec<usize> = sweep.axes.values().map(Vec::len).collect();
    if sweep.mode == SweepMode::List {
        if let Some(other) = lengths.iter().find(|length| **length != lengths[0]) {
            return Err(msg!(AXES_OF_DIFFERENT_LENGTHS, n = lengths[0], other));
        }
        return Ok((0..lengths[0]).map(|i| member(sweep, |_| i)).collect());
    }
    let size = lengths.iter().try_fold(1usize, |size, length| size.checked_mul(*length));
    let drawn = match sweep.mode {
        SweepMode::Random => size.map(|size| size.min(sweep.samples as usize)),
        _ => size,
    };
    let (Some(size), Some(drawn)) = (size, drawn.filter(|drawn| *drawn <= MOST_MEMBERS)) else {
        return Err(msg!(TOO_MANY_MEMBERS, most = MOST_MEMBERS));
    };
    let numbers = match sweep.mode {
        SweepMode::Random => {
            let mut rng = ChaCha8Rng::seed_from_u64(sweep.random_seed);
            index::sample(&mut rng, size, drawn).into_vec()
        }
        _ => (0..size).collect(),
    };
    Ok(numbers.into_iter().map(|number| grid_member(sweep, &lengths, number)).collect())
}

/// The member of this number in the grid: its digits, in the base of the axes' lengths.
fn grid_member(sweep: &Sweep, lengths: &[usize], mut number: usize) -> Member {
    let mut digits = vec![0; lengths.len()];
    for (digit, length) in digits.iter_mut().zip(lengths).rev() {
        *digit = number % length;
        number /= length;
    }
    member(sweep, |axis| digits[axis])
}

fn member(sweep: &Sweep, value: impl Fn(usize) -> usize) -> Member {
    let axes = sweep.axes.iter().enumerate();
    axes.map(|(axis, (key, values))| (key.clone(), values[value(axis)].clone())).collect()
}

/// A value as `--set` takes it: a text as it is, anything else as TOML.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(), // numbers, booleans and lists are alike in JSON and TOML
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use serde_json::json;

    fn sweep(mode: SweepMode, axes: &[(&str, Value)]) -> Sweep {
        let values = |value: &Value| value.as_array().expect("a list").clone();
        let axes = axes.iter().map(|(key, value)| (key.to_string(), values(value))).collect();
        Sweep { mode, axes, samples: 3, random_seed: 7 }
    }

    fn texts(sweep: &Sweep) -> Vec<String> {
        let line = |member: Member| {
            let sets = member.iter().map(|(key, value)| format!("{key}={}", as_text(value)));
            sets.collect::<Vec<_>>().join(" ")
        };
        members(sweep).expect("members").into_iter().map(line).collect()
    }

    #[test]
    fn members_of_each_mode() {
        let axes = [("b", json!(["x", "pass"])), ("a", json!([1, 2.5]))];
        assert_eq!(
            texts(&sweep(SweepMode::Grid, &axes)),
            ["a=1 b=x", "a=1 b=pass", "a=2.5 b=x", "a=2.5 b=pass"]
        );
        assert_eq!(texts(&sweep(SweepMode::List, &axes)), ["a=1 b=x", "a=2.5 b=pass"]);
        let drawn = texts(&sweep(SweepMode::Random, &axes));
        assert_eq!((drawn.len(), drawn.iter().collect::<BTreeSet<_>>().len()), (3, 3));
        assert_eq!(drawn, texts(&sweep(SweepMode::Random, &axes)), "the same seed");
        let few = sweep(SweepMode::Random, &[("a", json!([1]))]);
        assert_eq!(texts(&few), ["a=1"]);
    }

    #[test]
    fn what_makes_no_members_is_refused() {
        let many = json!((0..101).collect::<Vec<_>>());
        for (mode, axes, problem) in [
            (SweepMode::Grid, vec![], "the sweep has no axes"),
            (SweepMode::Grid, vec![("a", json!([]))], "the axis `a` has no values"),
            (
                SweepMode::Grid,
                vec![("a", json!([{}]))],
                "a value of the axis `a` is a table; vary its keys instead",
            ),
            (
                SweepMode::List,
                vec![("a", json!([1, 2])), ("b", json!([1]))],
                "a sweep with `mode = \"list\"` takes one value of each axis at a time, but the axes have 2 and 1 values",
            ),
            (
                SweepMode::Grid,
                vec![("a", many.clone()), ("b", many)],
                "the sweep has more than 10000 runs",
            ),
        ] {
            assert_eq!(members(&sweep(mode, &axes)), Err(Text::verbatim(problem)));
        }
    }
}
