//! What is known of a run before its first step, as its first lines say it.

use super::data::Datasets;
use crate::kernels::device_name;
use crate::model::Shape;
use crate::optim::Adam;
use crate::quant;
use crate::tensors::device;
use crate::train::FitOptions;
use statetune_core::config::Dataload;
use statetune_core::plan::Plan;

/// What is known before the first step.
pub(super) fn facts(
    plan: &Plan,
    shape: &Shape,
    data: &Datasets<'_>,
    adam: &Adam,
    options: &FitOptions,
) -> Vec<(&'static str, String)> {
    let Datasets { train: loader, skipped_lines, .. } = data;
    let survey = loader.survey();
    let learning: usize = adam.parameters().iter().map(|p| p.tensor.numel()).sum();
    let samples = options.total_steps() * options.samples_per_step();
    let precision = plan.train.precision.name();
    let mut facts = vec![
        (
            "model",
            format!(
                "{}, {} parameters ({} layers x {}), {}",
                shape.version(),
                shape.parameters(),
                shape.n_layer,
                shape.n_embd,
                precision
            ),
        ),
        (
            "device",
            format!("{}, op {}", device_name(device(plan.train.device)), plan.train.op.name()),
        ),
        ("trains", format!("{learning} numbers")),
        (
            "data",
            format!(
                "{}, {} tokens, {} of them learned",
                documents(survey.documents),
                survey.tokens,
                survey.learned
            ),
        ),
        (
            "steps",
            format!(
                "{} ({} x {} in a mini-epoch), {samples} samples",
                options.curve.total_steps, options.epoch_count, options.epoch_steps
            ),
        ),
    ];
    if let Some(format) = plan.method.quant {
        let megabytes =
            |format| quant::bytes(shape, plan.train.dtype.size() as u64, format) as f64 / 1e6;
        let (packed, dense) = (megabytes(Some(format)), megabytes(None));
        let fact = format!("{format}: {packed:.1} MB of weights instead of {dense:.1} MB");
        facts.insert(1, ("quant", fact));
    }
    if plan.train.tf32() && !plan.train.device.is_gpu() {
        facts.push(("tf32", "processors have none: all products are float32".to_string()));
    }
    if *skipped_lines > 0 {
        let plural = if *skipped_lines == 1 { "" } else { "s" };
        facts.push(("skipped", format!("{skipped_lines} line{plural} that are no documents")));
    }
    if plan.data.dataload == Dataload::Pack {
        let (rows, fill) = (loader.samples_per_pass(), loader.fill() * 100.0);
        facts.push(("pack", format!("{rows} rows of ctx_len a pass, {fill:.1} % full")));
    }
    for (count, label, what) in [
        (survey.truncated, "cut", "the end of {}, longer than ctx_len"),
        (survey.split, "split", "{}, longer than ctx_len, into several samples"),
        (survey.dropped, "drop", "{}, longer than ctx_len"),
    ] {
        if count > 0 {
            facts.push((label, what.replace("{}", &documents(count))));
        }
    }
    facts
}

fn documents(count: u64) -> String {
    format!("{count} document{}", if count == 1 { "" } else { "s" })
}
