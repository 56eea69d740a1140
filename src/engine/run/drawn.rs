//! Documents that a teacher writes before the first step: its answers to the questions of the data, and to questions of its
//! own. The cache keeps them as a file of documents, named by everything that they depend on; the run directory has a copy.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::data::{Binidx, DataType, PrepareSpec, Role, Source, Tokenizer, prepare};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::digest::{sha256_hex, sha256_of_file};
use statetune_core::objective::Distill;
use statetune_core::plan::{GenerateOptions, ModelSource, Plan};
use statetune_core::records::{Lock, RunDirError};
use statetune_core::tensorfile::{WeightsError, write_atomically};
use statetune_core::work::Work;

use super::teacher::{file_of, teacher};
use crate::RunError;
use crate::inference::generate_from;
use crate::model::Shape;
use crate::train::Teacher;

/// The folder in the cache.
const FOLDER: &str = "drawn";
/// The name in a run directory.
pub(super) const DRAWN: &str = "drawn.jsonl";
/// Texts that are written at a time.
const ROWS: usize = 64;

/// The plan on the documents that its teacher writes, which are written now unless the cache has them; the plan itself where
/// no teacher writes.
///
/// # Errors
/// Questions or a teacher that cannot be used, or a file that cannot be written.
pub(super) fn with_drawn<'a>(
    plan: &'a Plan,
    tokenizer: &Tokenizer,
    shape: &Shape,
) -> Result<Cow<'a, Plan>, RunError> {
    let Some(distill) = plan.objective.distill().filter(|distill| distill.writes()) else {
        return Ok(Cow::Borrowed(plan));
    };
    let questions = questions(plan, tokenizer)?;
    let key = key(plan, distill, tokenizer, &questions)?;
    let file = plan.data.cache_dir.join(FOLDER).join(format!("{key:.16}.jsonl"));
    if !file.exists() {
        if questions.is_empty() && distill.draw == 0 {
            let fault = Diagnostic::error(msg!(TEACHER_WROTE_NOTHING))
                .note(msg!(QUESTIONS_NEED_ASSISTANT))
                .help(msg!(DRAW_QUESTIONS));
            let fault = plan.experiment.at("objective.answers", fault);
            return Err(RunError::Contradiction(Box::new(fault)));
        }
        let teacher = teacher(plan, distill, tokenizer, shape, None)?;
        let writer = Writer { plan, distill, tokenizer, teacher };
        write(&file, &writer.documents(questions)?)?;
    }
    let mut plan = plan.clone();
    plan.data.sources =
        vec![Source { data_type: DataType::Jsonl, files: vec![file], weight: 1.0, limit: None }];
    (plan.data.pair, plan.data.sft_field, plan.data.ignore_keys) = (None, Vec::new(), Vec::new());
    Ok(Cow::Owned(plan))
}

/// The prompts for the first answers in the documents of a plan, each once, in an order that depends on the documents alone.
fn questions(plan: &Plan, tokenizer: &Tokenizer) -> Result<Vec<String>, RunError> {
    if plan.data.sources.is_empty() {
        return Ok(Vec::new());
    }
    let prepared = match &plan.data.pair {
        Some(_) => None,
        None => {
            let spec = plan.prepare_spec(tokenizer);
            Some(prepare(&PrepareSpec { val_split: 0.0, repeat: 1, ..spec })?)
        }
    };
    let pair = plan.data.pair.as_deref().or(prepared.as_ref().map(|prepared| &*prepared.train));
    let documents = Binidx::open(pair.expect("one of the two"))?;
    let mut questions = Vec::new();
    for i in 0..documents.len() {
        let text = tokenizer.decode(&documents.doc(i)?)?;
        if let Some(start) = plan.data.template.first_answer(&text) {
            questions.push(String::from_utf8_lossy(&text[..start]).into_owned());
        }
    }
    questions.sort();
    questions.dedup();
    Ok(questions)
}

/// Identifies everything that the documents depend on.
fn key(
    plan: &Plan,
    distill: &Distill,
    tokenizer: &Tokenizer,
    questions: &[String],
) -> Result<String, RunError> {
    let digest = |path: &Path| -> Result<String, RunError> {
        let found = sha256_of_file(path);
        Ok(found.map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?)
    };
    let of = |path: &Option<PathBuf>| path.as_deref().map(digest).transpose();
    let teacher = distill.teacher.as_deref().map(file_of).transpose()?;
    let weights = match &plan.model.source {
        ModelSource::Load(path) => Some(digest(path)?),
        ModelSource::Scratch { .. } => None,
    };
    let Distill { prompt, draw, draw_tokens, draw_temperature, draw_top_p, draw_seed, .. } =
        distill;
    let key = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernels": Lock::kernels_sha256(),
        "op": plan.train.op.name(),
        "precision": plan.train.precision.name(),
        "quant": plan.method.quant_table,
        "weights": weights,
        "tokenizer": tokenizer.fingerprint(),
        "prompt": prompt,
        "files": [of(&distill.prompt_file)?, of(&teacher)?, of(&distill.teacher_model)?],
        "draw": [json!(draw), json!(draw_tokens), json!(draw_temperature), json!(draw_top_p), json!(draw_seed)],
        "template": plan.data.template.name,
        "stops": plan.sample.generate.stops,
        "questions": questions,
    });
    Ok(sha256_hex(key.to_string()))
}

fn write(file: &Path, documents: &[String]) -> Result<(), RunError> {
    let lines: String =
        documents.iter().map(|text| json!({ "text": text }).to_string() + "\n").collect();
    let write = || {
        fs::create_dir_all(file.parent().expect("the path has a folder"))?;
        write_atomically(file, |new| new.write_all(lines.as_bytes()))
    };
    Ok(write().map_err(|source| RunDirError { path: file.to_path_buf(), source })?)
}

/// A teacher who writes.
struct Writer<'a> {
    plan: &'a Plan,
    distill: &'a Distill,
    tokenizer: &'a Tokenizer,
    teacher: Teacher,
}

impl Writer<'_> {
    /// The documents with answers to `questions` and to drawn ones.
    fn documents(&self, mut questions: Vec<String>) -> Result<Vec<String>, RunError> {
        let template = &self.plan.data.template;
        if self.distill.draw > 0 {
            let opening = template.opening(Role::User).unwrap_or_default().to_owned();
            let asked = vec![opening; self.distill.draw as usize];
            let stops =
                template.openings.iter().map(|(_, words)| format!("{}{words}", template.separator));
            let drawn = self.continued("questions of the teacher", &asked, stops.collect(), 0)?;
            let prompts = drawn.iter().filter(|text| !text.is_empty());
            questions.extend(prompts.filter_map(|text| template.prompt(text).ok()));
        }
        let stops = self.plan.sample.generate.stops.clone();
        let answers =
            self.continued("answers of the teacher", &questions, stops, questions.len() as u64)?;
        let pairs = questions.iter().zip(&answers).filter(|(_, answer)| !answer.is_empty());
        Ok(pairs
            .map(|(question, answer)| format!("{question}{}{answer}", template.join(question)))
            .collect())
    }

    /// What the teacher writes after each prompt. The random numbers of a prompt depend on its place, from `first` on.
    fn continued(
        &self,
        what: &'static str,
        prompts: &[String],
        stops: Vec<String>,
        first: u64,
    ) -> Result<Vec<String>, RunError> {
        let Distill { draw_tokens, draw_temperature, draw_top_p, draw_seed, .. } = *self.distill;
        let mut work = Work::begin(what, prompts.len() as u64);
        let mut written = Vec::with_capacity(prompts.len());
        for (i, group) in prompts.chunks(ROWS).enumerate() {
            let options = GenerateOptions {
                max_tokens: draw_tokens as usize,
                temperature: draw_temperature,
                top_p: draw_top_p,
                seed: draw_seed.wrapping_add(first).wrapping_add((i * ROWS) as u64),
                stops: stops.clone(),
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                penalty_decay: 1.0,
            };
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            let Teacher { model, start, .. } = &self.teacher;
            let mut look = |_| ControlFlow::Continue(());
            let found =
                generate_from(model, start, self.tokenizer, &group, &options, true, &mut look)?;
            written.extend(found.into_iter().flatten());
            work.advance(group.len() as u64);
        }
        Ok(written)
    }
}

/// The documents that the teacher of a plan with drawn documents wrote.
pub(super) fn drawn_file(plan: &Plan) -> Option<&Path> {
    plan.objective.distill().filter(|distill| distill.writes())?;
    plan.data.sources.first()?.files.first().map(PathBuf::as_path)
}
