//! Whether the template is one that the weights were trained on.

use super::Faults;
use super::data::built_in;
use crate::config::{self, TemplateName, is_of_g1};
use crate::diagnostic::{Diagnostic, msg};

/// Warns of a template without a think block for weights of the G1 series.
pub(super) fn check(faults: &mut Faults<'_>) {
    let config = faults.config();
    let Some(weights) = &config.model.load_model else { return };
    let template = match &config.data.template {
        config::Template::Named(name) => *name,
        config::Template::Table(table) => table.extends,
    };
    let is_other = matches!(template, TemplateName::RwkvQa | TemplateName::RwkvChat);
    if !is_other || !is_of_g1(weights) || faults.loaded.place("data.template").is_none() {
        return;
    }
    let name = built_in(template).name;
    let warning = Diagnostic::warning(msg!(TEMPLATE_NOT_OF_BASE, template = name))
        .note(msg!(G1_PROMPTS_HAVE_BLOCK))
        .help(msg!(SET_G1_TEMPLATE));
    faults.add_silenceable("data.template", warning);
}
