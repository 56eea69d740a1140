//! Rules of `[data]`: the template, the mask, and how documents become samples.

use std::path::{Path, PathBuf};

use super::{Faults, sources};
use crate::config::{self, Aliases, Roles, TemplateName, TemplateTable};
use crate::data::{
    Answers, Dataload, Learn, LossMask, Mask, OnBadLine, Overlong, RecordForm, Role, Source,
    Template, Walk,
};
use crate::diagnostic::{Diagnostic, msg};

/// Which documents a run is trained on, and how they become samples.
#[derive(Clone, Debug)]
pub struct DataPlan {
    /// Where the documents come from; empty in a plan for [`super::Purpose::Generate`].
    pub sources: Vec<Source>,
    /// The token file pair that is read as it is, when the data is one pair and nothing else.
    pub pair: Option<PathBuf>,
    /// The keys of a record that hold question and answer, with a key of material for the question between them if there
    /// are three. Empty: the shape of each record tells.
    pub sft_field: Vec<String>,
    /// The keys of records that are left out on purpose.
    pub ignore_keys: Vec<String>,
    /// How conversations are written in the documents.
    pub template: Template,
    /// Whether the key `label` of a record says if the answer is good.
    pub labels: bool,
    /// Which tokens the loss is taken over.
    pub mask: Mask,
    /// What happens to a JSONL line that is not a document.
    pub on_bad_line: OnBadLine,
    /// Whether every document of text is closed by token 0.
    pub end_of_doc: bool,
    /// Share of the documents in the validation split, from 0 to below 1.
    pub val_split: f64,
    /// Chooses the validation documents.
    pub val_seed: u64,
    /// Shuffled copies of every document in one pass.
    pub repeat: u32,
    /// How documents become samples.
    pub dataload: Dataload,
    /// Which windows [`Dataload::Get`] takes.
    pub walk: Walk,
    /// What happens to a document that is longer than a sample.
    pub overlong: Overlong,
    /// Where prepared data lies.
    pub cache_dir: PathBuf,
}

impl DataPlan {
    /// How records become texts.
    pub fn form(&self) -> RecordForm<'_> {
        let DataPlan { sft_field, ignore_keys, template, .. } = self;
        RecordForm { sft_field, ignore_keys, template, labels: self.labels }
    }

    /// Whether some documents are kept for validation.
    pub fn has_val_split(&self) -> bool {
        self.pair.is_none() && self.val_split > 0.0
    }

    /// What happens to a validation document that is longer than a sample. Validation reads whole documents where training
    /// reads windows, the long ones in pieces.
    pub fn overlong_in_validation(&self) -> Overlong {
        if self.dataload == Dataload::Get { Overlong::Split } else { self.overlong }
    }
}

/// Decides how the documents of `sources` become samples. Where a fault was added, the plan is not used.
pub(super) fn resolve(
    faults: &mut Faults<'_>,
    sources: Vec<Source>,
    cache_dir: PathBuf,
) -> DataPlan {
    let template = template(faults);
    let mask = mask(faults, &template);
    check_samples(faults);
    let data = &faults.loaded.config.data;
    DataPlan {
        pair: sources::one_pair(data, &sources).map(Path::to_path_buf),
        sources,
        sft_field: data.sft_field.clone().unwrap_or_default(),
        ignore_keys: data.ignore_keys.clone(),
        template,
        labels: faults.loaded.config.objective.answers() == Answers::Labelled,
        mask,
        on_bad_line: data.on_bad_line,
        end_of_doc: data.end_of_doc,
        val_split: data.val_split,
        val_seed: data.val_seed,
        repeat: data.repeat,
        dataload: data.dataload,
        walk: data.walk,
        overlong: data.overlong,
        cache_dir,
    }
}

/// The built-in template of this name.
pub fn built_in(name: TemplateName) -> Template {
    match name {
        TemplateName::RwkvQa => Template::rwkv_qa(),
        TemplateName::RwkvChat => Template::rwkv_chat(),
        TemplateName::G1 => Template::g1(),
        TemplateName::G1Think => Template::g1_think(),
        TemplateName::Instruction => Template::instruction(),
        TemplateName::Alpaca => Template::alpaca(),
        TemplateName::Raw => Template::raw(),
    }
}

fn template(faults: &mut Faults<'_>) -> Template {
    let data = &faults.loaded.config.data;
    let mut template = match &data.template {
        config::Template::Named(name) => built_in(*name),
        config::Template::Table(table) => extended(faults, table),
    };
    template.clean_turns = data.clean_turns.unwrap_or(template.clean_turns);
    if let Some(parts) = &data.learn {
        template.learn = Learn::only(parts);
        let all = matches!(data.loss_mask, LossMask::Assistant | LossMask::Qa);
        if !all {
            let fault = Diagnostic::error(msg!(LEARN_NEEDS_ASSISTANT));
            faults.add_superfluous("data.learn", fault);
        }
    }
    template
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
        if words.ends_with(char::is_alphanumeric) {
            let warning = Diagnostic::warning(msg!(ROLE_WORDS_WITHOUT_END, words))
                .note(msg!(LONGER_WORDS_OPEN_TURNS))
                .help(msg!(WRITE_VALUE, value = format!("{words}:")));
            faults.add(&format!("data.template.roles.{}", role.name()), warning);
        }
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
        let message = msg!(NO_ROLE_FOR_WORD, template = template.name, role = role.name());
        let key = format!("data.template.roles.{}", role.name());
        let help = msg!(GIVE_ROLE_WORDS, key);
        Box::new(Diagnostic::error(message).help(help))
    })?;
    let bare = word.strip_suffix('：').unwrap_or(word);
    let is_word = bare.starts_with(char::is_alphanumeric) && bare.ends_with(char::is_alphanumeric);
    if !is_word {
        let own = template.opening(role).unwrap_or_default().trim();
        let fault = Diagnostic::error(msg!(NOT_A_ROLE_WORD, word))
            .label(msg!(ROLE_WORD_FORM))
            .note(msg!(ALIAS_REPLACES_WORD, own));
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
                let message = msg!(KEY_NEEDS_LOSS_MASK_SE, key);
                faults.add_superfluous(key, Diagnostic::error(message));
            }
            None if between => {
                let message = msg!(LOSS_MASK_SE_NEEDS, key);
                let fault = Diagnostic::error(message)
                    .note(msg!(MASK_ID_MEANING))
                    .help(msg!(FOR_EXAMPLE_MASK_ID));
                faults.add("data.loss_mask", fault);
            }
            _ => {}
        }
    }
    match data.loss_mask {
        LossMask::Pad | LossMask::None => Mask::All,
        LossMask::Assistant | LossMask::Qa => {
            if !template.has(Role::Assistant) {
                let message = msg!(TEMPLATE_NO_ROLE_ASSISTANT, template = template.name);
                let fault = Diagnostic::error(message)
                    .label(msg!(LEARNS_ASSISTANT))
                    .help(msg!(CHOOSE_TEMPLATE_WITH_ROLES));
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
        let fault = Diagnostic::error(msg!(DATALOAD_ONLY_TAKES_ONE))
            .label(msg!(MUST_BE_ONE))
            .note(msg!(ONLY_PADS_NOTHING))
            .help(msg!(SET_MICRO_BSZ_ONE))
            .help(msg!(OR_PACK));
        faults.add("train.micro_bsz", fault);
    }
    if data.walk == Walk::MagicPrime && !windows {
        let fault = Diagnostic::error(msg!(WALK_IS_FOR_WINDOWS))
            .label(msg!(NEEDS_DATALOAD_GET))
            .help(msg!(DELETE_OR_DATALOAD_GET));
        faults.add("data.walk", fault);
    }
    let all = matches!(data.loss_mask, LossMask::Pad | LossMask::None);
    if data.walk == Walk::MagicPrime && windows && !all {
        let fault = Diagnostic::error(msg!(WALK_TAKES_EVERY_WINDOW))
            .label(msg!(WINDOWS_WITHOUT_TARGETS))
            .note(msg!(RANDOM_WALK_DRAWS_AGAIN))
            .help(msg!(SET_WALK_RANDOM));
        faults.add("data.loss_mask", fault);
    }
    if windows && data.overlong != Overlong::Error {
        let fault =
            Diagnostic::error(msg!(OVERLONG_NOT_FOR_WINDOWS)).label(msg!(WINDOWS_CUT_ANYWHERE));
        faults.add_superfluous("data.overlong", fault);
    }
}
