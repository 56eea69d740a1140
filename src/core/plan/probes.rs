//! What is counted in answers, and what the best evaluation is.

use regex::Regex;

use super::Faults;
use super::Probe;
use crate::config::{self, Eval};
use crate::diagnostic::{Diagnostic, Text, msg};

/// What tells which evaluation is the best.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Metric {
    /// The validation loss: the lower, the better.
    ValLoss,
    /// The share of answers that show what this probe counts: the higher, the better.
    Probe(String),
}

impl Metric {
    pub(super) fn of(eval: &Eval) -> Metric {
        match eval.metric.as_str() {
            Eval::VAL_LOSS => Metric::ValLoss,
            name => Metric::Probe(name.to_string()),
        }
    }
}

/// The probes of an experiment that are valid.
pub(super) fn resolve(faults: &mut Faults<'_>) -> Vec<Probe> {
    let config = faults.config();
    let mut probes: Vec<Probe> = Vec::new();
    for (i, probe) in config.sample.probe.iter().enumerate() {
        let key = |name: &str| format!("sample.probe[{i}].{name}");
        let regex = match probe.regex.as_deref().map(Regex::new).transpose() {
            Ok(regex) => regex,
            Err(error) => {
                faults.add(&key("regex"), bad_regex(&probe.name, &error));
                continue;
            }
        };
        if probes.iter().any(|other| other.name == probe.name) || probe.name == Eval::VAL_LOSS {
            let message = msg!(PROBE_NAME_TAKEN, name = probe.name);
            let fault = Diagnostic::error(message).help(msg!(PROBES_NEED_NAMES));
            faults.add(&key("name"), fault);
        }
        if let Some(fault) = contradiction(probe) {
            faults.add(&key(fault.0), fault.1);
        }
        probes.push(Probe {
            name: probe.name.clone(),
            regex,
            json: probe.json,
            chars: probe.min_chars as usize..=probe.max_chars.map_or(usize::MAX, |n| n as usize),
            goal: probe.goal,
            stop: probe.stop,
        });
    }
    check_metric(faults);
    check_questions(faults);
    probes
}

fn bad_regex(name: &str, error: &regex::Error) -> Diagnostic {
    // The parser shows the expression first, and on the last line what is wrong.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    let message = msg!(PROBE_REGEX_INVALID, name);
    Diagnostic::error(message).label(Text::library(reason.trim_start_matches("error: ")))
}

/// What is wrong within a probe, with the key that it is about.
fn contradiction(probe: &config::Probe) -> Option<(&'static str, Diagnostic)> {
    let name = &probe.name;
    let most = probe.max_chars.unwrap_or(u32::MAX);
    if probe.regex.is_none() && !probe.json && probe.min_chars == 0 && probe.max_chars.is_none() {
        let fault = Diagnostic::error(msg!(PROBE_ASKS_NOTHING, name))
            .note(msg!(EVERY_ANSWER_FITS))
            .help(msg!(WHAT_PROBES_COUNT));
        return Some(("name", fault));
    }
    if probe.min_chars > most {
        let message = msg!(PROBE_RANGE_EMPTY, least = probe.min_chars, most);
        return Some(("min_chars", Diagnostic::error(message)));
    }
    if probe.stop && probe.goal.is_none() {
        let message = msg!(PROBE_STOP_WITHOUT_GOAL, name);
        let fault = Diagnostic::error(message).help(msg!(GOAL_ENDS_RUN));
        return Some(("stop", fault));
    }
    None
}

/// Checks that `eval.metric` is the validation loss or the name of a probe.
fn check_metric(faults: &mut Faults<'_>) {
    let config = faults.config();
    let names = config.sample.probe.iter().map(|probe| probe.name.as_str());
    let known: Vec<&str> = std::iter::once(Eval::VAL_LOSS).chain(names).collect();
    let metric = &config.eval.metric;
    if known.contains(&metric.as_str()) {
        return;
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let fault = Diagnostic::error(msg!(NO_PROBE, metric))
        .help(msg!(CHOICES_ARE, choices = known.join(", ")));
    faults.add("eval.metric", fault);
}

/// What the course of the run depends on needs answers to be counted in.
fn check_questions(faults: &mut Faults<'_>) {
    let config = faults.config();
    if config.sample.held_out > 0 || !config.sample.prompts.is_empty() {
        return;
    }
    let stops = config.sample.probe.iter().position(|probe| probe.stop);
    let key = match stops {
        Some(i) => format!("sample.probe[{i}].stop"),
        None if config.eval.metric != Eval::VAL_LOSS => "eval.metric".to_string(),
        None => return,
    };
    let fault = Diagnostic::error(msg!(NO_QUESTIONS_TO_COUNT)).help(msg!(ASK_QUESTIONS));
    faults.add(&key, fault);
}
