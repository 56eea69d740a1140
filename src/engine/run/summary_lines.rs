//! The lines that a run shows before its first step.

use statetune_core::data::{Answers, Dataload, Tokenizer};
use statetune_core::forecast::WIDENED_PRODUCTS;
use statetune_core::packed::PackedWeights;
use statetune_core::plan::{ModelSource, PeftPlan, Plan, StateStart};
use statetune_core::rate_search::FoundRate;
use statetune_core::records::Fact;
use statetune_core::words::{count, grouped, size};

use super::prepare::Datasets;
use super::settings::widened_products;
use super::teacher::prompt_ids;
use crate::RunError;
use crate::kernels::device_name;
use crate::model::{ModelError, Shape, has_states};
use crate::optim::Adam;
use crate::quant;
use crate::tensors::device;
use crate::train::FitOptions;

/// The line about initial states beside the weights, where the run starts from them.
///
/// # Errors
/// Weights that cannot be read.
pub(super) fn own_states(plan: &Plan, shape: &Shape) -> Result<Option<Fact>, ModelError> {
    let ModelSource::Load(path) = &plan.model.source else { return Ok(None) };
    let has_file = match &plan.method.peft {
        PeftPlan::State(states) => matches!(states.start, StateStart::File(_)),
        PeftPlan::Weights(_) => false,
    };
    if has_file || !has_states(path)? {
        return Ok(None);
    }
    let file = path.file_name().unwrap_or_default().display();
    let text = format!("starts from the {} initial states in {file}", shape.n_layer);
    Ok(Some(Fact { label: "states".to_string(), text }))
}

/// The line about packed weights.
pub(super) fn packed_weights(packed: &PackedWeights) -> Fact {
    Fact { label: "packed".to_string(), text: packed.in_words() }
}

/// The line about a learning rate that a range test found.
pub(super) fn found_rate(found: &FoundRate) -> Fact {
    let FoundRate { lr_init, lowest, highest, .. } = found;
    let text = format!("lr_init = {lr_init}, found by a range test ({lowest} to {highest})");
    Fact { label: "rate".to_string(), text }
}

/// The line about the teacher of a distillation.
///
/// # Errors
/// A prompt that cannot be read.
pub(super) fn teacher_line(plan: &Plan, tokenizer: &Tokenizer) -> Result<Option<Fact>, RunError> {
    let Some(distill) = plan.objective.distill() else { return Ok(None) };
    let who = match (&distill.teacher, &distill.teacher_model) {
        (Some(file), _) | (None, Some(file)) => file.display().to_string(),
        (None, None) => "the same weights".to_owned(),
    };
    let text = match prompt_ids(distill, tokenizer)?.len() as u64 {
        0 => who,
        tokens => format!(
            "{who} after a prompt of {}, which every request of the tuned model saves",
            count(tokens, "token")
        ),
    };
    Ok(Some(Fact { label: "teacher".to_string(), text }))
}

/// The summary of a run before its first step.
pub(super) fn summary_lines(
    plan: &Plan,
    shape: &Shape,
    data: &Datasets<'_>,
    adam: &Adam,
    options: &FitOptions,
) -> Vec<Fact> {
    let Datasets { train: loader, skipped_lines, .. } = data;
    let survey = loader.survey();
    let trainable: usize = adam.parameters().iter().map(|p| p.tensor.numel()).sum();
    let samples = options.total_steps() * options.samples_per_step();
    let precision = plan.train.precision.name();
    let mut facts = vec![
        (
            "model",
            format!(
                "{}, {} parameters ({} layers x {}), {}",
                shape.version(),
                grouped(shape.parameters().unsigned_abs()),
                shape.n_layer,
                shape.n_embd,
                precision
            ),
        ),
        (
            "device",
            format!("{}, op {}", device_name(device(plan.train.device)), plan.train.op.name()),
        ),
        ("trains", format!("{} parameters", grouped(trainable as u64))),
        (
            "data",
            format!(
                "{}, {} tokens, {}",
                count(survey.documents, "document"),
                grouped(survey.tokens),
                count(survey.target_tokens, "target token")
            ),
        ),
        (
            "steps",
            format!(
                "{} ({} x {} in a mini-epoch), {} samples",
                grouped(options.curve.total_steps),
                grouped(options.epoch_count),
                grouped(options.epoch_steps),
                grouped(samples)
            ),
        ),
    ];
    if let Some(preference) = plan.objective.preference() {
        let rows = match plan.objective.answers() {
            Answers::Pairs => "pairs of answers",
            _ => "answers",
        };
        let reference = match preference.has_reference() {
            true => ", against the start of the run",
            false => "",
        };
        facts.push(("loss", format!("{} over {rows}{reference}", plan.objective.name())));
    }
    if let Some(format) = plan.method.quant {
        let bytes = |format| size(quant::bytes(shape, plan.train.dtype.size() as u64, format));
        let fact =
            format!("{format}: {} of weights instead of {}", bytes(Some(format)), bytes(None));
        facts.insert(1, ("quant", fact));
    }
    if let Some(template) = plan.guessed_template() {
        facts.push(("template", template));
    }
    if widened_products(plan).is_some() {
        facts.push(("products", WIDENED_PRODUCTS.to_string()));
    }
    if plan.train.tf32() && !plan.train.device.is_gpu() {
        facts.push(("tf32", "not available on CPUs: matrix products use float32".to_string()));
    }
    if *skipped_lines > 0 {
        let lines = count(*skipped_lines, "line");
        facts.push(("skipped", format!("{lines} without a valid document")));
    }
    if plan.data.dataload == Dataload::Pack {
        let (rows, fill) = (loader.samples_per_pass(), loader.fill() * 100.0);
        facts.push((
            "pack",
            format!("{} rows of ctx_len per pass, {fill:.1} % full", grouped(rows)),
        ));
    }
    for (n, label, what) in [
        (survey.truncated, "cut", "the end of {} longer than ctx_len"),
        (survey.split, "split", "{} longer than ctx_len into several samples"),
        (survey.dropped, "drop", "{} longer than ctx_len"),
    ] {
        if n > 0 {
            facts.push((label, what.replace("{}", &count(n, "document"))));
        }
    }
    facts.into_iter().map(|(label, text)| Fact { label: label.to_string(), text }).collect()
}
