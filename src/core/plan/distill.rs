//! Rules of `[objective]` with `type = "distill"`, and of what a run measures or keeps of the base.

use std::path::Path;

use super::{Faults, Purpose};
use crate::config::read_text;
use crate::data::{Role, Template};
use crate::diagnostic::{Diagnostic, msg};
use crate::objective::{AnswerSource, Distill};

/// Checks that there is general text where the run reads it, and a base that it is compared with.
pub(super) fn check_general(faults: &mut Faults<'_>, purpose: Purpose) {
    let config = &faults.loaded.config;
    let (eval, keep) = (&config.eval, config.objective.keep());
    let users = [("eval.forgetting", eval.forgetting), ("objective.keep", keep > 0.0)];
    for (key, _) in users.into_iter().filter(|(_, reads)| *reads) {
        if eval.general.is_none() {
            let fault =
                Diagnostic::error(msg!(NEEDS_GENERAL_TEXT, key)).help(msg!(NAME_GENERAL_TEXT));
            faults.add(key, fault);
        }
        if config.model.load_model.is_none() {
            let fault = Diagnostic::error(msg!(NEW_MODEL_HAS_NO_BASE, key));
            faults.add(key, fault.note(msg!(NOTHING_TO_FORGET)));
        }
    }
    let is_read = users.iter().any(|(_, reads)| *reads);
    if let Some(file) = eval.general.as_deref() {
        if !is_read {
            let fault = Diagnostic::error(msg!(GENERAL_TEXT_IS_UNREAD));
            faults.add("eval.general", fault.help(msg!(SET_FORGETTING)));
        }
        check_exists(faults, purpose, "eval.general", file);
    }
    if eval.max_forgetting > 0.0 && !eval.forgetting {
        let fault = Diagnostic::error(msg!(LIMIT_NEEDS_FORGETTING)).help(msg!(SET_FORGETTING));
        faults.add("eval.max_forgetting", fault);
    }
}

/// Checks who teaches, and what the teacher writes.
pub(super) fn check(faults: &mut Faults<'_>, purpose: Purpose, template: &Template) {
    let Some(distill) = faults.loaded.config.objective.distill() else { return };
    check_teacher(faults, distill);
    for (key, file) in [
        ("objective.prompt_file", &distill.prompt_file),
        ("objective.teacher", &distill.teacher),
        ("objective.teacher_model", &distill.teacher_model),
    ] {
        let Some(file) = file.as_deref() else { continue };
        check_exists(faults, purpose, key, file);
    }
    if let Some(file) = distill.prompt_file.as_deref().filter(|file| file.exists()) {
        check_prompt(faults, file);
    }
    if distill.draw > 0 && distill.answers == AnswerSource::Data {
        let fault = Diagnostic::error(msg!(DRAWN_QUESTIONS_HAVE_NO_ANSWERS))
            .help(msg!(LET_TEACHER_ANSWER))
            .help(msg!(DELETE_DRAW));
        faults.add("objective.draw", fault);
    }
    if distill.writes() && !template.has(Role::Assistant) {
        let fault = Diagnostic::error(msg!(TEACHER_NEEDS_ROLES, template = template.name))
            .help(msg!(CHOOSE_TEMPLATE_FOR_TEACHER))
            .help(msg!(USE_ANSWERS_OF_DATA));
        faults.add("objective.answers", fault);
    }
}

/// Checks that a file of a prompt has a text.
fn check_prompt(faults: &mut Faults<'_>, file: &Path) {
    let fault = match read_text(file) {
        Ok(text) if text.is_empty() => Diagnostic::error(msg!(TEXT_IS_EMPTY)),
        Ok(_) => return,
        Err(error) => Diagnostic::error(msg!(CANNOT_READ_PROMPT, file)).note(error),
    };
    faults.add("objective.prompt_file", fault);
}

fn check_teacher(faults: &mut Faults<'_>, distill: &Distill) {
    let Distill { prompt, prompt_file, teacher, teacher_model, .. } = distill;
    if prompt.as_ref().is_some_and(String::is_empty) {
        faults.add("objective.prompt", Diagnostic::error(msg!(TEXT_IS_EMPTY)));
    }
    let named = [
        ("prompt", prompt.is_some()),
        ("prompt_file", prompt_file.is_some()),
        ("teacher", teacher.is_some()),
        ("teacher_model", teacher_model.is_some()),
    ];
    if named.iter().all(|(_, is_named)| !is_named) {
        let fault = Diagnostic::error(msg!(DISTILL_NEEDS_TEACHER))
            .note(msg!(TEACHER_WOULD_BE_STUDENT))
            .help(msg!(NAME_A_TEACHER));
        return faults.add("objective.type", fault);
    }
    for (one, other) in [
        ("prompt", "prompt_file"),
        ("prompt", "teacher"),
        ("prompt_file", "teacher"),
        ("teacher", "teacher_model"),
    ] {
        let has = |key| named.contains(&(key, true));
        if has(one) && has(other) {
            let fault = Diagnostic::error(msg!(TWO_TEACHERS, one, other));
            faults.add(&format!("objective.{other}"), fault.help(msg!(DELETE_ONE_OF, one, other)));
        }
    }
}

fn check_exists(faults: &mut Faults<'_>, purpose: Purpose, key: &str, file: &Path) {
    if matches!(purpose, Purpose::Run | Purpose::Plan | Purpose::Check) && !file.exists() {
        faults.add_missing(key, file, msg!(FILE_DOES_NOT_EXIST_HERE, key, file));
    }
}
