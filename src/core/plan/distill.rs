//! Rules of `[objective]` with `type = "distill"`.

use std::path::Path;

use super::{Faults, Purpose};
use crate::data::{Role, Template};
use crate::diagnostic::{Diagnostic, msg};
use crate::objective::{AnswerSource, Distill};

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
        faults.add_missing(key, file, msg!(TEACHER_FILE_DOES_NOT_EXIST, file));
    }
}
