//! What is counted in answers, and what the best evaluation is.

use regex::Regex;

use super::Faults;
use super::Probe;
use crate::config::{self, Eval};
use crate::diagnostic::Diagnostic;

/// What tells which evaluation is the best.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Metric {
    /// The held-out loss: the lower, the better.
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
            let message = format!("the name `{}` is taken", probe.name);
            let fault = Diagnostic::error("ST2163", message)
                .help("records and `eval.metric` tell probes apart by their names");
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
    let message = format!("the probe `{name}` has no valid regular expression");
    Diagnostic::error("ST2107", message).label(reason.trim_start_matches("error: "))
}

/// What is wrong within a probe, with the key that it is about.
fn contradiction(probe: &config::Probe) -> Option<(&'static str, Diagnostic)> {
    let name = &probe.name;
    let most = probe.max_chars.unwrap_or(u32::MAX);
    if probe.regex.is_none() && !probe.json && probe.min_chars == 0 && probe.max_chars.is_none() {
        let fault = Diagnostic::error("ST2162", format!("the probe `{name}` asks for nothing"))
            .note("every answer would show it")
            .help("`regex`, `json = true`, `min_chars` or `max_chars` say what is counted");
        return Some(("name", fault));
    }
    if probe.min_chars > most {
        let message =
            format!("no answer has at least {} and at most {most} characters", probe.min_chars);
        return Some(("min_chars", Diagnostic::error("ST2164", message)));
    }
    if probe.stop && probe.goal.is_none() {
        let message = format!("the probe `{name}` is to end the run, but has no goal");
        let fault = Diagnostic::error("ST2160", message)
            .help("`goal = 0.9` ends it when nine answers in ten show the behaviour");
        return Some(("stop", fault));
    }
    None
}

/// `eval.metric` names a probe, where it is not the held-out loss.
fn check_metric(faults: &mut Faults<'_>) {
    let config = faults.config();
    let names = config.sample.probe.iter().map(|probe| probe.name.as_str());
    let known: Vec<&str> = std::iter::once(Eval::VAL_LOSS).chain(names).collect();
    let metric = &config.eval.metric;
    if known.contains(&metric.as_str()) {
        return;
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let fault = Diagnostic::error("ST2161", format!("there is no probe `{metric}`"))
        .help(format!("choices are {}", known.join(", ")));
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
    let fault = Diagnostic::error("ST2165", "no questions are asked, so nothing is counted")
        .help("`sample.held_out` or `sample.prompts` ask some");
    faults.add(&key, fault);
}
