//! `statetune presets`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use statetune_core::arch::Preset as Model;
use statetune_core::config::{Recipe, TemplateName};
use statetune_core::data::{Role, Template, Thinking};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::built_in_template;

use super::table::table;
use super::{Color, Format, say, show};

#[derive(Args, Debug)]
pub(super) struct PresetsArgs {
    #[command(subcommand)]
    command: PresetsCommand,
}

#[derive(Debug, Subcommand)]
enum PresetsCommand {
    /// List models, templates and recipes.
    Ls(LsArgs),
    /// Print the settings of a preset as TOML for an experiment file.
    Show(ShowArgs),
}

#[derive(Args, Debug)]
struct LsArgs {
    /// Only presets of this kind.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// Name of the preset.
    name: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// Shapes of published models, `model.preset`.
    Model,
    /// Conversation formats, `data.template`.
    Template,
    /// Sets of settings, `recipe`.
    Recipe,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Template => "template",
            Self::Recipe => "recipe",
        }
    }
}

/// A preset of any kind.
struct Preset {
    kind: Kind,
    name: String,
    /// A one-line description.
    about: String,
    /// Its settings as TOML.
    text: String,
}

/// All presets, sorted by kind.
fn presets() -> Vec<Preset> {
    let models = Model::all().map(of_model);
    let templates = TemplateName::ALL.into_iter().map(|name| of_template(&built_in_template(name)));
    models.chain(templates).chain(Recipe::ALL.into_iter().map(of_recipe)).collect()
}

fn of_model(model: Model) -> Preset {
    let Model { name, version, n_layer, n_embd } = model;
    let (vocab_size, parameters) = (Model::VOCAB_SIZE, model.parameters());
    let size = parameters as f64 / 1e9;
    Preset {
        kind: Kind::Model,
        about: format!("{version}, {n_layer} layers x {n_embd}, {size:.2} billion parameters"),
        text: format!(
            "# {version}, {parameters} parameters.\n[model]\npreset = \"{name}\"   # stands for:\n\
             # n_layer = {n_layer}\n# n_embd = {n_embd}\n# vocab_size = {vocab_size}\n"
        ),
        name: name.to_owned(),
    }
}

fn of_template(template: &Template) -> Preset {
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Tool);
    let roles = roles.filter_map(|role| Some((role.name(), template.opening(role)?)));
    let (words, keys): (Vec<String>, Vec<String>) = roles
        .map(|(role, words)| (format!("`{words}`"), format!("{role} = {}", json!(words))))
        .unzip();
    let about = if words.is_empty() { "plain text".to_owned() } else { words.join(", ") };
    let thinking = match template.thinking {
        Thinking::Absent => "",
        Thinking::Empty => "# an empty think block precedes each answer\n",
        Thinking::Shown => "# reasoning precedes each answer in a think block\n",
    };
    let text = match thinking {
        "" => String::new(),
        _ => format!("{thinking}# clean_turns = {}\n", template.clean_turns),
    };
    Preset {
        kind: Kind::Template,
        name: template.name.clone(),
        text: format!(
            "[data]\ntemplate = \"{}\"   # stands for:\n# template = {{ separator = {}, gap = {}, \
             roles = {{ {} }} }}\n{text}",
            template.name,
            json!(template.separator),
            json!(template.gap),
            keys.join(", ")
        ),
        about,
    }
}

fn of_recipe(recipe: Recipe) -> Preset {
    let text = recipe.text();
    let about = text.lines().next().unwrap_or_default();
    Preset {
        kind: Kind::Recipe,
        name: recipe.name().to_owned(),
        about: about.trim_start_matches("# ").trim_end_matches('.').to_owned(),
        text: format!(
            "{text}# One line at the top of the file has the same effect: recipe = \"{}\"\n",
            recipe.name()
        ),
    }
}

pub(super) fn presets_command(args: &PresetsArgs, color: Color) -> ExitCode {
    match &args.command {
        PresetsCommand::Ls(args) => ls(args),
        PresetsCommand::Show(args) => show_preset(&args.name, color),
    }
}

fn ls(args: &LsArgs) -> ExitCode {
    let all = presets().into_iter();
    let chosen = all.filter(|preset| args.kind.is_none_or(|kind| preset.kind == kind));
    match args.format {
        Format::Human => {
            let mut table = table(&["kind", "name", "description"]);
            for Preset { kind, name, about, .. } in chosen {
                table.add_row([kind.name(), &name, &about]);
            }
            say(table);
        }
        Format::Json => {
            let one = |one: Preset| json!({ "kind": one.kind.name(), "name": one.name, "about": one.about });
            let presets: Vec<Value> = chosen.map(one).collect();
            say(json!({ "schema": "statetune.presets/1", "presets": presets }));
        }
    }
    ExitCode::Ok
}

fn show_preset(name: &str, color: Color) -> ExitCode {
    let all = presets();
    if let Some(preset) = all.iter().find(|preset| preset.name == name) {
        say(preset.text.trim_end());
        return ExitCode::Ok;
    }
    let message = msg!(NO_PRESET, name);
    let fault = Diagnostic::error(message).help(msg!(PRESETS_LS_LISTS));
    show(&fault, color);
    ExitCode::Invalid
}
