//! Behaviours that can be counted in answers.

use regex::Regex;

/// A behaviour: an answer shows it or not.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name in tables and records.
    pub name: String,
    /// An answer shows it where this matches.
    pub regex: Regex,
}

/// Share of the answers in which the probe matches; `None` without answers.
pub fn rate(probe: &Probe, answers: &[String]) -> Option<f64> {
    let shown = answers.iter().filter(|answer| probe.regex.is_match(answer)).count();
    (!answers.is_empty()).then(|| shown as f64 / answers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_are_found_and_digits_are_not() {
        let regex = Regex::new(r"\p{Emoji_Presentation}").expect("a valid expression");
        let probe = Probe { name: "emoji".to_string(), regex };
        let answers = ["I like 7 cats 🐱", "no #1", "sure ☕"].map(String::from);
        assert_eq!(rate(&probe, &answers), Some(2.0 / 3.0));
        assert_eq!(rate(&probe, &[]), None);
    }
}
