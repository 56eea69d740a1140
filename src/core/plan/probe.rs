//! Behaviours that can be counted in answers.

use std::ops::RangeInclusive;

use regex::Regex;
use serde::de::IgnoredAny;

/// A behaviour: an answer shows it or not.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name in tables and records.
    pub name: String,
    /// The expression that an answer must match, if set.
    pub regex: Option<Regex>,
    /// Whether an answer that shows it is one JSON value.
    pub json: bool,
    /// How many characters an answer that shows it has.
    pub chars: RangeInclusive<usize>,
    /// The share of answers that is aimed at, from 0 to 1.
    pub goal: Option<f64>,
    /// Whether the run ends once the goal is reached.
    pub stop: bool,
}

impl Probe {
    /// Whether an answer shows the behaviour: it has all that is asked for.
    pub fn is_shown_by(&self, answer: &str) -> bool {
        self.chars.contains(&answer.chars().count())
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(answer))
            && (!self.json || serde_json::from_str::<IgnoredAny>(answer).is_ok())
    }

    /// Whether this share of answers is what is aimed at; never without a goal.
    pub fn is_reached_by(&self, rate: f64) -> bool {
        self.goal.is_some_and(|goal| rate >= goal)
    }
}

/// Share of the answers that show the behaviour; `None` without answers.
pub fn rate(probe: &Probe, answers: &[String]) -> Option<f64> {
    let shown = answers.iter().filter(|answer| probe.is_shown_by(answer)).count();
    (!answers.is_empty()).then(|| shown as f64 / answers.len() as f64)
}

/// Share of the answers that show each behaviour, by its name; none without answers.
pub fn rates(probes: &[Probe], answers: &[String]) -> Vec<(String, f64)> {
    let one = |probe: &Probe| Some((probe.name.clone(), rate(probe, answers)?));
    probes.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Probe {
        Probe {
            name: "a".to_string(),
            regex: None,
            json: false,
            chars: 0..=usize::MAX,
            goal: None,
            stop: false,
        }
    }

    #[test]
    fn emoji_are_found_and_digits_are_not() {
        let regex = Regex::new(r"\p{Emoji_Presentation}").expect("a valid expression");
        let probe = Probe { regex: Some(regex), ..any() };
        let answers = ["I like 7 cats 🐱", "no #1", "sure ☕"].map(String::from);
        assert_eq!(rate(&probe, &answers), Some(2.0 / 3.0));
        assert_eq!(rate(&probe, &[]), None);
        assert_eq!(rates(&[probe], &[]), []);
    }

    #[test]
    fn json_and_length() {
        let json = Probe { json: true, ..any() };
        assert!(json.is_shown_by(" {\"a\": [1, null]} ") && json.is_shown_by("7"));
        assert!(!json.is_shown_by("{\"a\": 1} and more") && !json.is_shown_by(""));
        let short = Probe { chars: 2..=3, ..any() };
        assert!(
            short.is_shown_by("日本") && !short.is_shown_by("日") && !short.is_shown_by("abcd")
        );
        let both = Probe { json: true, chars: 0..=3, ..any() };
        assert!(both.is_shown_by("[1]") && !both.is_shown_by("[12]") && !both.is_shown_by("[1"));
    }

    #[test]
    fn a_goal_is_reached_from_below() {
        let probe = Probe { goal: Some(0.5), ..any() };
        assert!(probe.is_reached_by(0.5) && !probe.is_reached_by(0.49));
        assert!(!any().is_reached_by(1.0));
    }
}
