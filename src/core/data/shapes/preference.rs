//! Preference pairs: a chosen and a rejected answer to the same question.

use crate::data::conversation::{Role, Template};

use super::beside::Beside;
use super::columns::{joined, question, side};
use super::fields::{Fields, Ledger};
use super::messages;
use super::said::{Said, ShapeFault};

/// Keys of the question alone.
const QUESTIONS: [&str; 3] = ["prompt", "question", "query"];
/// Lists of messages that hold the question.
const LISTS: [&str; 3] = ["messages", "conversations", "conversation"];

/// The conversations with the chosen and with the rejected answer. Without a question, both are whole conversations.
pub(super) fn read(
    record: &mut Fields,
    template: &Template,
    ledger: &mut Ledger<'_>,
) -> Result<[Vec<Said>; 2], ShapeFault> {
    let asked = asked(record, template, ledger)?;
    let chosen = side(record, "chosen", Role::Assistant, ledger)?;
    let rejected = side(record, "rejected", Role::Assistant, ledger)?;
    let beside = Beside::take(record, ledger)?;
    let mut both = [joined(asked.clone(), chosen), joined(asked, rejected)];
    both.iter_mut().for_each(|said| beside.put(said));
    Ok(both)
}

/// The conversation with the chosen answer, where there is no rejected one.
pub(super) fn chosen(
    record: &mut Fields,
    template: &Template,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    let asked = asked(record, template, ledger)?;
    let mut said = joined(asked, side(record, "chosen", Role::Assistant, ledger)?);
    Beside::take(record, ledger)?.put(&mut said);
    Ok(said)
}

/// Whether a record has the question of a pair as a key of its own.
pub(super) fn has_question(record: &Fields) -> bool {
    record.has("instruction") || QUESTIONS.iter().any(|key| record.has(key))
}

fn asked(
    record: &mut Fields,
    template: &Template,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Said>, ShapeFault> {
    if record.has("instruction") {
        return question(record, "instruction", "input", template);
    }
    for key in QUESTIONS {
        if record.has(key) {
            return side(record, key, Role::User, ledger);
        }
    }
    for key in LISTS {
        if let Some(value) = record.take(key) {
            let said = messages::read(key, value, ledger);
            return said.map_err(|fault| ShapeFault::at(key, fault));
        }
    }
    Ok(Vec::new())
}
