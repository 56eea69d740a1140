//! Rules of `[data]`: the template, the mask, and how documents become samples.

use super::Faults;
use crate::config::{self, Aliases, Roles, TemplateName, TemplateTable};
use crate::data::{Dataload, LossMask, Overlong, Walk};
use crate::data::{Mask, Role, Template};
use crate::diagnostic::Diagnostic;

/// The template that the settings stand for, and what of a document is learned with it.
pub(super) fn resolve(faults: &mut Faults<'_>) -> (Template, Mask) {
    let template = template(faults);
    let mask = mask(faults, &template);
    check_samples(faults);
    (template, mask)
}

/// The built-in template of this name.
pub fn built_in(name: TemplateName) -> Template {
    match name {
        TemplateName::RwkvQa => Template::rwkv_qa(),
        TemplateName::RwkvChat => Template::rwkv_chat(),
        TemplateName::Instruction => Template::instruction(),
        TemplateName::Alpaca => Template::alpaca(),
        TemplateName::Raw => Template::raw(),
    }
}

fn template(faults: &mut Faults<'_>) -> Template {
    match &faults.loaded.config.data.template {
        config::Template::Named(name) => built_in(*name),
        config::Template::Table(table) => extended(faults, table),
    }
}

/// The template of a table: its own words take the place of those of the one it extends.
fn extended(faults: &mut Faults<'_>, table: &TemplateTable) -> Template {
    let mut template = built_in(table.extends);
    template.separator = table.separator.clone().unwrap_or(template.separator);
    template.gap = table.gap.clone().unwrap_or(template.gap);
    if table.roles != Roles::default() {
        template.name = "data.template".to_owned();
    }
    let Roles { system, user, input, assistant } = &table.roles;
    let own = [
        (Role::System, system),
        (Role::User, user),
        (Role::Input, input),
        (Role::Assistant, assistant),
    ];
    for (role, words) in own.into_iter().filter_map(|(role, words)| Some((role, words.as_ref()?))) {
        template.openings.retain(|(other, _)| *other != role);
        template.openings.push((role, words.clone()));
    }
    let Aliases { system, user, input, assistant } = &table.aliases;
    let aliases = [
        (Role::System, system),
        (Role::User, user),
        (Role::Input, input),
        (Role::Assistant, assistant),
    ];
    for (role, words) in aliases {
        for (index, word) in words.iter().enumerate() {
            let key = format!("data.template.aliases.{}[{index}]", role.name());
            match alias(&template, role, word) {
                Ok(opening) => template.openings.push((role, opening)),
                Err(fault) => faults.add(&key, *fault),
            }
        }
    }
    template
}

/// The words that open a turn of `role` by another word.
fn alias(template: &Template, role: Role, word: &str) -> Result<String, Box<Diagnostic>> {
    let opening = template.alias(role, word).ok_or_else(|| {
        let message = format!("`{}` has no role `{}` to add a word to", template.name, role.name());
        let key = format!("data.template.roles.{}", role.name());
        let help = format!("give the role its words in `{key}`");
        Box::new(Diagnostic::error("ST2140", message).help(help))
    })?;
    let is_word = word.starts_with(char::is_alphanumeric) && word.ends_with(char::is_alphanumeric);
    if !is_word {
        let own = template.opening(role).unwrap_or_default().trim();
        let fault = Diagnostic::error("ST2141", format!("`{word}` is not a word for a role"))
            .label("must begin and end with a letter or digit")
            .note(format!("the word takes the place of the one in `{own}`, with all around it"));
        return Err(Box::new(fault));
    }
    Ok(opening)
}

fn mask(faults: &mut Faults<'_>, template: &Template) -> Mask {
    let data = &faults.loaded.config.data;
    let (on, off) = (&data.mask_id.mask1, &data.mask_id.mask0);
    let between = data.loss_mask == LossMask::Se;
    for (key, text) in [("data.mask_id.mask0", off), ("data.mask_id.mask1", on)] {
        match text {
            Some(_) if !between => {
                let message = format!("`{key}` has no meaning without `loss_mask = \"se\"`");
                faults.add_superfluous(key, Diagnostic::error("ST2142", message));
            }
            None if between => {
                let message = format!("`loss_mask = \"se\"` needs `{key}`");
                let fault = Diagnostic::error("ST2143", message)
                    .note(
                        "learning begins behind the text `mask1` and ends before the text `mask0`",
                    )
                    .help("for example `mask_id = { mask0 = \"<user>\", mask1 = \"<answer>\" }`");
                faults.add("data.loss_mask", fault);
            }
            _ => {}
        }
    }
    match data.loss_mask {
        LossMask::Pad | LossMask::None => Mask::All,
        LossMask::Assistant | LossMask::Qa => {
            if !template.has(Role::Assistant) {
                let message = format!("the template `{}` has no role `assistant`", template.name);
                let fault = Diagnostic::error("ST2144", message)
                    .label("learns what the assistant says")
                    .help("choose a `data.template` with roles, or `loss_mask = \"pad\"`");
                faults.add("data.loss_mask", fault);
            }
            Mask::Assistant(template.clone())
        }
        LossMask::Se => Mask::Between {
            on: on.clone().unwrap_or_default(),
            off: off.clone().unwrap_or_default(),
        },
    }
}

/// How documents become samples.
fn check_samples(faults: &mut Faults<'_>) {
    let (data, train) = (&faults.loaded.config.data, &faults.loaded.config.train);
    let windows = data.dataload == Dataload::Get;
    if data.dataload == Dataload::Only && train.micro_bsz != 1 {
        let fault =
            Diagnostic::error("ST2145", "`dataload = \"only\"` takes one document at a time")
                .label("must be 1")
                .note("it pads nothing, and documents of different lengths need padding to stand side by side")
                .help("set `train.micro_bsz = 1`, and `train.accumulate_grad_batches` for more in a step")
                .help("or `data.dataload = \"pack\"`, which pads little");
        faults.add("train.micro_bsz", fault);
    }
    if data.walk == Walk::MagicPrime && !windows {
        let fault = Diagnostic::error("ST2146", "`data.walk` is for windows alone")
            .label("has no meaning without `dataload = \"get\"`")
            .help("delete the line, or set `data.dataload = \"get\"`");
        faults.add("data.walk", fault);
    }
    let all = matches!(data.loss_mask, LossMask::Pad | LossMask::None);
    if data.walk == Walk::MagicPrime && windows && !all {
        let fault = Diagnostic::error("ST2104", "the magic-prime walk takes every window")
            .label("in some windows nothing of this is said")
            .note("random windows are drawn again until something in them is learned")
            .help("set `data.walk = \"random\"`, or `data.loss_mask = \"pad\"`");
        faults.add("data.loss_mask", fault);
    }
    if windows && data.overlong != Overlong::Error {
        let fault = Diagnostic::error("ST2147", "`data.overlong` has no meaning for windows")
            .label("windows cut documents anywhere, and no token is left out");
        faults.add_superfluous("data.overlong", fault);
    }
}
