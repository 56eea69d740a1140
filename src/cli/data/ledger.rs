//! `statetune data show --worst N --run RUN`: documents by their loss under the trained model of a run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use statetune_core::digest::sha256_of_file;
use statetune_core::exit::ExitCode;
use statetune_core::look::inspect::{Item, read};
use statetune_core::plan::{Plan, Purpose};
use statetune_core::records::{Ledger, LedgerLine};
use statetune_core::tensorfile::WeightsError;
use statetune_engine::RunError;
use statetune_engine::inference::{LoadedModel, document_losses, ledger_of_documents};

use super::sample_text::{Style, print_sample};
use crate::subject::{Found, Part, SubjectArgs, fail};
use crate::{Color, MovedFiles, say, tell};

/// Shows the `count` documents with the highest loss, highest first.
pub(super) fn show(
    run: &str,
    count: usize,
    runs_dir: Option<&Path>,
    moved: &MovedFiles,
    color: Color,
) -> ExitCode {
    let runs_dir = runs_dir.map_or_else(|| PathBuf::from("runs"), Path::to_path_buf);
    let subject = SubjectArgs::of_runs(runs_dir, moved.clone());
    let find = |part| subject.find_run(run, part, Purpose::Run, color);
    let tuned = match find(Part::Tuned) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let base = match tuned.has_base(false) {
        true => find(Part::Base).map(Some),
        false => Ok(None), // a model that was trained from scratch
    };
    let base = match base {
        Ok(base) => base,
        Err(code) => return code,
    };
    match print(&tuned, base.as_ref(), count, color.for_stdout()) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

fn print(tuned: &Found, base: Option<&Found>, count: usize, colored: bool) -> Result<(), RunError> {
    let (run, plan) = tuned.run.as_ref().expect("a run was asked for");
    let loaded = tuned.subject.load()?;
    let ledger = ledger(run, plan, tuned, base, &loaded)?;
    let (style, tokenizer) = (Style { colored }, &loaded.tokenizer);
    let worst = ledger.worst(count);
    let places: HashMap<usize, usize> = worst.iter().copied().zip(0..).collect();
    let mut samples = vec![None; worst.len()];
    let mut number = 0;
    read(plan, tokenizer, &mut |item| {
        let Item::Sample(sample) = item else { return };
        if let Some(&place) = places.get(&number) {
            samples[place] = Some(sample);
        }
        number += 1;
    })?;
    for (number, sample) in worst.into_iter().zip(samples) {
        say(style.heading(&heading(&ledger.lines[number])));
        if let Some(sample) = sample {
            print_sample(&sample, plan, tokenizer, &style);
        }
    }
    tell(format_args!("all losses: {}", run.join(Ledger::FILE).display()));
    Ok(())
}

fn heading(line: &LedgerLine) -> String {
    let loss = |loss: Option<f64>| loss.map_or("-".to_string(), |loss| format!("{loss:.4}"));
    format!("mean loss {} after training, {} before", loss(line.after), loss(line.before))
}

/// The losses stored in the run if they match its documents and exported file; otherwise computes and stores the
/// losses.
fn ledger(
    run: &Path,
    plan: &Plan,
    tuned: &Found,
    base: Option<&Found>,
    loaded: &LoadedModel,
) -> Result<Ledger, RunError> {
    let exported = tuned.subject.trained_file();
    let learned = sha256_of_file(exported)
        .map_err(|source| WeightsError::Read { path: exported.to_path_buf(), source })?;
    let mut ledger = ledger_of_documents(plan, &loaded.tokenizer, learned)?;
    if let Some(kept) = Ledger::load(run).filter(|kept| kept.is_of(&ledger)) {
        return Ok(kept);
    }
    tell(format_args!("scoring {} documents before and after training", ledger.lines.len()));
    let after = document_losses(plan, &loaded.tokenizer, loaded)?;
    for (line, loss) in ledger.lines.iter_mut().zip(after) {
        line.after = loss.filter(|loss| loss.is_finite());
    }
    if let Some(base) = base {
        let loaded = base.subject.load()?;
        let before = document_losses(plan, &loaded.tokenizer, &loaded)?;
        for (line, loss) in ledger.lines.iter_mut().zip(before) {
            line.before = loss.filter(|loss| loss.is_finite());
        }
    }
    ledger.save(run)?;
    Ok(ledger)
}
